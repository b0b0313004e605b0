//! RETRACT: derive the state without the feedback beside live traffic, journal the order once
//! that has caught up, and let the learner become it.
//!
//! Invariant: the order takes effect exactly where it stands in the journal. What was derived
//! before is only a head start: a restart that finds the order derives the same again.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use tokio::sync::oneshot;

use super::derivation::Derivation;
use super::error::Error;
use super::hosted::{Hosted, Running};
use super::learning::stand_back;
use crate::event::{Command, Entry, Event, Order, Retraction, Selector};
use crate::learn::{Learner, tainted};

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
    /// Entries that are applied again from there.
    pub entries: u64,
    /// Versions that hold some of it, rising; they can no longer be restored.
    pub tainted: Vec<u64>,
}

/// What has become of a retraction: enough to check it by applying the journal again.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Hosted {
    /// What a retraction would do. Reads the journal, so it may take a while.
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing is chosen, all of it is taken back already, or the journal
    /// does not reach back far enough.
    pub fn plan_retraction(&self, selector: &Selector) -> Result<Plan, Error> {
        self.get()?.plan(selector).map(|(plan, _)| plan)
    }

    /// Takes feedback back: afterwards the learner is the one that never saw it.
    ///
    /// # Errors
    /// As [`Hosted::plan_retraction`] and [`Hosted::command`]; [`Error::Refused`] while another
    /// retraction is under way.
    pub async fn retract(&self, request: Request) -> Result<Certificate, Error> {
        let running = self.get()?.clone();
        running.check_room()?;
        running.refuse_while_retracting()?;
        running.retracting.store(true, Release);
        let _under_way = UnderWay(running.clone());
        let mut plan = running.prepare(request.selector.clone()).await?;
        let command = Command {
            order: Order::Retract(Retraction {
                selector: request.selector,
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
        Ok(Certificate {
            plan,
            version: done.version,
            position,
            digest: manifest.digest,
            profile: manifest.profile,
        })
    }
}

/// As long as it lives, no other retraction and no restore begins.
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
    /// Refuses what a retraction under way could not take into account.
    pub fn refuse_while_retracting(&self) -> Result<(), Error> {
        match self.retracting.load(Relaxed) {
            true => Err(self.unavailable("a retraction is under way; try again once it is done")),
            false => Ok(()),
        }
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

    /// What would be done, and the derivation that does it, with nothing applied.
    fn plan(&self, selector: &Selector) -> Result<(Plan, Derivation), Error> {
        let last = self.synced.load(Relaxed);
        let positions = self.chosen(selector, last)?;
        let (Some(&first_position), Some(&last_position)) = (positions.first(), positions.last())
        else {
            return Err(Error::Refused {
                field: "selector",
                what: format!("no feedback of {selector} is there that was not retracted already"),
            });
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
        let mut tainted = learning.learner.lineage().holding(&positions);
        tainted.retain(|version| !known.contains_key(version));
        let plan = Plan {
            excluded: positions.len() as u64,
            first_position,
            last_position,
            base: derivation.base,
            entries: last - derivation.base,
            tainted,
        };
        Ok((plan, derivation))
    }

    /// The positions up to `last` of the feedback that a selector chooses and that was not taken
    /// back before.
    fn chosen(&self, selector: &Selector, last: u64) -> Result<Vec<u64>, Error> {
        let earlier = self.retractions(last)?;
        let mut positions = Vec::new();
        let mut reader = self.versions.reader(last)?;
        while let Some(Entry {
            position,
            time,
            event,
        }) = reader.next(last)?
        {
            let Event::Feedback(feedback) = event else {
                continue;
            };
            let chosen = |selector: &Selector| selector.chooses(&feedback, time);
            if chosen(selector) && !earlier.iter().any(|(p, s)| position < *p && chosen(s)) {
                positions.push(position);
            }
        }
        Ok(positions)
    }

    /// What was taken back before, with the positions of the orders.
    fn retractions(&self, last: u64) -> Result<Vec<(u64, Selector)>, Error> {
        let mut retractions = Vec::new();
        let mut reader = self.versions.reader(last)?;
        while let Some(entry) = reader.next(last)? {
            if let Event::Command(Command {
                order: Order::Retract(retraction),
                ..
            }) = entry.event
            {
                retractions.push((entry.position, retraction.selector));
            }
        }
        Ok(retractions)
    }

    /// Derives beside the learner, on a thread of its own, until little is left to catch up with,
    /// and hands the derivation over.
    async fn prepare(self: &Arc<Running>, selector: Selector) -> Result<Plan, Error> {
        let (done, prepared) = oneshot::channel();
        let running = self.clone();
        let work = move || {
            stand_back();
            drop(done.send(running.derive(&selector)));
        };
        let thread = std::thread::Builder::new().name("retract".to_owned());
        thread
            .spawn(work)
            .map_err(|error| self.unavailable(&format!("no thread to derive on: {error}")))?;
        let ended = prepared.await;
        ended.map_err(|_| self.unavailable("the derivation has panicked"))?
    }

    fn derive(&self, selector: &Selector) -> Result<Plan, Error> {
        let (plan, mut derivation) = self.plan(selector)?;
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
                derivation.advance(last, STRIDE).map_err(refused)?;
            }
        }
        let mut prepared = self.prepared.lock().expect("nothing panics under it");
        *prepared = Some(derivation);
        Ok(plan)
    }
}
