//! RETRACT: derive the state without the feedback beside live traffic, journal the order once
//! that has caught up, and let the learner become it.
//!
//! Invariant: the order takes effect exactly where it stands in the journal. What was derived
//! before is only a head start: a restart that finds the order derives the same again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use tokio::sync::oneshot;

use super::derivation::Derivation;
use super::error::Error;
use super::hosted::{Hosted, Running};
use super::versions::Versions;
use crate::event::{Command, Entry, Event, Feedback, Order, Reason, Retraction, Selector, Time};
use crate::learn::{Learner, tainted};
use crate::store::checkpoint::UNNAMED;
use crate::store::{Reader, checkpoint, erase};

/// Entries that a derivation applies between two looks at how far the journal is.
const STRIDE: usize = 4096;
/// Entries that the learner is left to catch up with.
const LEFT_MAX: u64 = 256;

/// What a retraction would take back, or has taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Feedback events that are left out.
    pub excluded: u64,
    /// Where the first and the last of them stand.
    pub first_position: u64,
    /// The last of them.
    pub last_position: u64,
    /// The position of the state that the other history starts from.
    pub base: u64,
    /// Entries that are applied again from there; 0 where only what had been taken back before
    /// was erased, of which neither is known any more.
    pub entries: u64,
    /// Versions that would be other ones without it, rising; they can no longer be restored.
    /// A plan names all that were made since, whether it changed them or not.
    pub tainted: Vec<u64>,
}

/// What has become of a retraction: enough to check it by applying the journal again. Where only
/// what had been taken back before is erased, it is of that earlier retraction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// What was taken back.
    pub plan: Plan,
    /// The version that never saw it, and the position of the order.
    pub version: u64,
    /// The position of the order.
    pub position: u64,
    /// BLAKE3 of what is learned now, in hexadecimal digits.
    pub digest: String,
    /// The numeric profile that it was computed under.
    pub profile: String,
    /// Entries whose content was overwritten, of this and earlier retractions of the same events.
    pub erased: u64,
}

/// Which feedback to take back, who asks and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which events.
    pub selector: Selector,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub note: String,
    /// Whether what was sent is overwritten as well.
    pub disposal: Disposal,
}

/// What becomes of the content of feedback that is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// It stays in the journal, where an audit finds it.
    Keep,
    /// It is overwritten, and the checkpoints that learned from it are deleted.
    Erase,
}

impl Hosted {
    /// What a retraction would do. Reads the journal, so it may take a while.
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing is chosen, all of it is taken back already, or the journal
    /// does not reach back far enough.
    pub fn plan_retraction(&self, selector: &Selector) -> Result<Plan, Error> {
        let planned = self.get()?.plan(selector)?;
        planned
            .map(|(plan, _)| plan)
            .ok_or_else(|| nothing_new(selector))
    }

    /// Takes feedback back: afterwards the learner is the one that never saw it.
    ///
    /// # Errors
    /// As [`Hosted::plan_retraction`] and [`Hosted::command`]; [`Error::Refused`] while another
    /// retraction is under way.
    pub async fn retract(&self, request: Request) -> Result<Certificate, Error> {
        let running = self.get()?.clone();
        running.check_room()?;
        let under_way = running.begin_retracting()?;
        let prepared = running.prepare(request.selector.clone(), under_way).await?;
        let Some((mut plan, _under_way)) = prepared else {
            let nothing = nothing_new(&request.selector);
            return match request.disposal {
                Disposal::Keep => Err(nothing),
                Disposal::Erase => {
                    tokio::task::block_in_place(|| running.erase_alone(&request.selector, nothing))
                }
            };
        };
        let command = Command {
            order: Order::Retract(Retraction {
                selector: request.selector.clone(),
                first_position: plan.first_position,
            }),
            actor: request.actor,
            note: request.note,
        };
        let (position, done) = self.carry_out(command).await?;
        plan.excluded = done.left_out.len() as u64;
        plan.last_position = done.left_out.last().copied().unwrap_or(0);
        plan.entries = position - 1 - plan.base;
        plan.tainted = running.tainted_by(done.version);
        let manifest = running.versions.find(done.version)?;
        let manifest = manifest.ok_or_else(|| running.unavailable("its version is gone"))?;
        let erased = match request.disposal {
            Disposal::Keep => 0,
            Disposal::Erase => tokio::task::block_in_place(|| {
                let chosen = chosen(&running.versions.journal, &request.selector, position)?;
                running.erase(&chosen)
            })?,
        };
        Ok(Certificate {
            erased,
            plan,
            version: done.version,
            position,
            digest: manifest.digest,
            profile: manifest.profile,
        })
    }
}

fn nothing_new(selector: &Selector) -> Error {
    Error::Refused {
        field: "selector",
        what: format!("no feedback of {selector} is there that was not retracted already"),
    }
}

/// As long as it lives no other retraction begins, and nothing is removed that it may start from.
struct UnderWay(Arc<Running>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Ok(mut prepared) = self.0.prepared.lock() {
            *prepared = None;
        }
        self.0.retracting.store(false, Release);
    }
}

impl Running {
    fn begin_retracting(self: &Arc<Running>) -> Result<UnderWay, Error> {
        match self.retracting.swap(true, AcqRel) {
            true => Err(self.unavailable("a retraction is under way; try again once it is done")),
            false => Ok(UnderWay(self.clone())),
        }
    }

    /// Where nothing is left to be retracted, there may be something left to be erased.
    fn erase_alone(&self, selector: &Selector, refused: Error) -> Result<Certificate, Error> {
        let last = self.synced.load(Relaxed);
        let earlier = chosen(&self.versions.journal, selector, last)?;
        match self.erase(&earlier)? {
            0 => Err(refused),
            erased => Ok(Certificate {
                erased,
                ..self.certified(&earlier)?
            }),
        }
    }

    /// What is still known of the retraction that took the last of these events back: its order,
    /// and the version that it made.
    fn certified(&self, earlier: &Chosen) -> Result<Certificate, Error> {
        let made = self.versions.list()?.into_iter();
        let made = made.filter_map(|one| one.manifest.ok());
        let mut by_order = made.filter(|manifest| {
            manifest.position == earlier.order && manifest.reason == Reason::Retract.word()
        });
        let manifest = by_order.next().unwrap_or_default();
        Ok(Certificate {
            plan: Plan {
                excluded: earlier.retracted.len() as u64,
                first_position: earlier.retracted.first().copied().unwrap_or(0),
                last_position: earlier.retracted.last().copied().unwrap_or(0),
                tainted: self.tainted_by(manifest.version),
                ..Plan::default()
            },
            version: manifest.version,
            position: earlier.order,
            digest: manifest.digest,
            profile: manifest.profile,
            erased: 0,
        })
    }

    /// Overwrites what was retracted, and deletes the checkpoints that learned from it.
    fn erase(&self, chosen: &Chosen) -> Result<u64, Error> {
        let (Some(&first), order) = (chosen.retracted.first(), chosen.order) else {
            return Ok(0);
        };
        self.save_behind(order)?;
        let tainted = self
            .tainted
            .lock()
            .expect("nothing panics under it")
            .clone();
        let between = first..order;
        for one in self.versions.checkpoints()? {
            let holds = match &one.manifest {
                // What is no version holds all up to its position.
                Ok(manifest) if UNNAMED.contains(&manifest.reason.as_str()) => {
                    between.contains(&one.position)
                }
                Ok(manifest) => tainted.contains_key(&manifest.version),
                Err(_) => between.contains(&one.position),
            };
            if holds {
                checkpoint::remove(&self.versions.disk, &self.versions.folder, one.position)?;
            }
        }
        let Versions { disk, journal, .. } = &self.versions;
        Ok(erase(disk, journal, &chosen.retracted)?)
    }

    /// Sees to it that a state stands on disk which needs nothing before the order: what is erased
    /// can never be applied again.
    fn save_behind(&self, order: u64) -> Result<(), Error> {
        let listed = self.versions.checkpoints()?;
        let mut behind = listed.iter().filter(|one| one.position >= order);
        if behind.any(|one| self.versions.is_whole(one.position)) {
            return Ok(());
        }
        let learning = self.learning.lock();
        let learning = learning.map_err(|_| self.unavailable("a learner thread has panicked"))?;
        let chain = learning.shelf.reader.chain();
        Ok(self.versions.save_stop(&learning.learner, chain)?)
    }

    /// Refuses a version that holds feedback which was taken back.
    pub fn check_untainted(&self, version: u64) -> Result<(), Error> {
        let all = self.tainted.lock().expect("nothing panics under it");
        match all.get(&version) {
            Some(successor) => Err(Error::Refused {
                field: "version",
                what: tainted(version, *successor),
            }),
            None => Ok(()),
        }
    }

    /// Takes over which versions are tainted.
    pub fn note_tainted(&self, learner: &Learner) {
        let mut all = self.tainted.lock().expect("nothing panics under it");
        all.clone_from(learner.tainted());
    }

    fn tainted_by(&self, successor: u64) -> Vec<u64> {
        let all = self.tainted.lock().expect("nothing panics under it");
        let by = |(version, next): (&u64, &u64)| (*next == successor).then_some(*version);
        all.iter().filter_map(by).collect()
    }

    /// What would be done, and the derivation that does it, with nothing applied; none where
    /// nothing is chosen that was not retracted before.
    fn plan(&self, selector: &Selector) -> Result<Option<(Plan, Derivation)>, Error> {
        let last = self.synced.load(Relaxed);
        let positions = chosen(&self.versions.journal, selector, last)?.new;
        let (Some(&first_position), Some(&last_position)) = (positions.first(), positions.last())
        else {
            return Ok(None);
        };
        let order = Order::Retract(Retraction {
            selector: selector.clone(),
            first_position,
        });
        let derivation = Derivation::begin(&self.versions, &order, last, &[]).map_err(|what| {
            Error::Refused {
                field: "selector",
                what,
            }
        })?;
        let learning = self.learning.lock();
        let learning = learning.map_err(|_| self.unavailable("a learner thread has panicked"))?;
        let known = learning.learner.tainted();
        let mut tainted = learning.learner.lineage().since(first_position);
        tainted.retain(|version| !known.contains_key(version));
        let plan = Plan {
            excluded: positions.len() as u64,
            first_position,
            last_position,
            base: derivation.base,
            entries: last - derivation.base,
            tainted,
        };
        Ok(Some((plan, derivation)))
    }

    /// Derives beside the learner, on a thread of its own, until little is left to catch up with,
    /// and hands the derivation over. The thread ends early when nobody waits for it any more.
    async fn prepare(
        self: &Arc<Running>,
        selector: Selector,
        under_way: UnderWay,
    ) -> Result<Option<(Plan, UnderWay)>, Error> {
        let (done, prepared) = oneshot::channel();
        let running = self.clone();
        let work = move || {
            // A person waits for it: this thread does not stand back.
            let plan = running.derive(&selector, &done);
            let _ = done.send(plan.map(|plan| Some((plan?, under_way))));
        };
        let thread = std::thread::Builder::new().name("retract".to_owned());
        thread
            .spawn(work)
            .map_err(|error| self.unavailable(&format!("no thread to derive on: {error}")))?;
        let ended = prepared.await;
        ended.map_err(|_| self.unavailable("the derivation has panicked"))?
    }

    fn derive<T>(
        &self,
        selector: &Selector,
        done: &oneshot::Sender<T>,
    ) -> Result<Option<Plan>, Error> {
        let Some((mut plan, mut derivation)) = self.plan(selector)? else {
            return Ok(None);
        };
        let refused = |what| Error::Refused {
            field: "selector",
            what,
        };
        let mut left_before = u64::MAX;
        loop {
            let last = self.synced.load(Relaxed);
            let left = last - derivation.position();
            // Where feedback comes faster than it is derived, the learner does the rest.
            if left <= LEFT_MAX || left >= left_before {
                break;
            }
            left_before = left;
            while derivation.position() < last {
                if let Some(reason) = self.closed.get() {
                    return Err(self.unavailable(reason));
                }
                if done.is_closed() {
                    return Err(self.unavailable("nobody waits for the retraction any more"));
                }
                derivation.advance(last, STRIDE).map_err(refused)?;
            }
        }
        plan.base = derivation.base;
        let mut prepared = self.prepared.lock().expect("nothing panics under it");
        *prepared = Some(derivation);
        Ok(Some(plan))
    }
}

/// The positions of feedback that a selector chooses, rising.
#[derive(Default)]
struct Chosen {
    /// What was not taken back before.
    new: Vec<u64>,
    /// What was, and was not erased.
    retracted: Vec<u64>,
    /// The position of the newest order that took any of those back.
    order: u64,
}

fn chosen(journal: &Path, selector: &Selector, last: u64) -> Result<Chosen, Error> {
    let earlier = retractions(journal, last)?;
    let mut all = Chosen::default();
    let mut reader = Reader::from_start(journal, last)?;
    while let Some(Entry {
        position,
        time,
        event,
    }) = reader.next(last)?
    {
        let Event::Feedback(feedback) = event else {
            continue;
        };
        if !selector.chooses(&feedback, time) {
            continue;
        }
        match earlier.order(position, &feedback, time) {
            None => all.new.push(position),
            Some(order) => {
                all.retracted.push(position);
                all.order = all.order.max(order);
            }
        }
    }
    Ok(all)
}

/// What was taken back, with the positions of the orders.
pub(super) struct Retractions(Vec<(u64, Selector)>);

impl Retractions {
    /// Whether an event, which stands at `position` since `time`, was taken back.
    pub fn hold(&self, position: u64, feedback: &Feedback, time: Time) -> bool {
        self.order(position, feedback, time).is_some()
    }

    /// The position of the first order that took the event back.
    fn order(&self, position: u64, feedback: &Feedback, time: Time) -> Option<u64> {
        let mut orders = self.0.iter();
        let (order, _) = orders
            .find(|(before, selector)| position < *before && selector.chooses(feedback, time))?;
        Some(*order)
    }
}

/// All that was taken back up to `last`.
pub(super) fn retractions(journal: &Path, last: u64) -> Result<Retractions, Error> {
    let mut retractions = Vec::new();
    let mut reader = Reader::from_start(journal, last)?;
    while let Some(entry) = reader.next(last)? {
        if let Event::Command(Command {
            order: Order::Retract(retraction),
            ..
        }) = entry.event
        {
            retractions.push((entry.position, retraction.selector));
        }
    }
    Ok(Retractions(retractions))
}
