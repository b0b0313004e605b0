//! RETRACT: derive the state without the feedback beside live traffic, journal the order once
//! that has caught up, let the learner become it, and erase the feedback where that is asked.
//!
//! Invariant: the order takes effect exactly where it stands in the journal. The state derived
//! before that is only a head start: a restart that finds the order derives the same again. A
//! caller may leave at any time: until the order is journaled nothing has happened then, and from
//! there on all of it will.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::compute::stages::Stage;
use crate::engine::compute::threads::block_on;
use crate::engine::error::Error;
use crate::engine::history::error as history;
use crate::engine::history::orders::RecordedFacts;
use crate::engine::history::rebuild::Rebuild;
use crate::engine::history::selection::FeedbackSelection;
use crate::engine::host::retractions::TURNS_MAX;
use crate::engine::host::room::EntryClass;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::served_model::ServedModel;
use crate::event::{Command, Disposal, Order, Reason, Retraction, Selector};
use crate::learn::{ChampionChange, MovedAlias, TaintedVersions};
use crate::model::PublishPolicy;

/// Entries that a rebuild applies between two looks at how far the journal is.
const STRIDE: usize = 4096;
/// Entries that the learner is left to catch up with.
const LEFT_MAX: u64 = 256;
/// The number of times a rebuild begins that meets orders on its way; then the learner does the rest.
const BEGUN_MAX: u64 = 8;

const NOBODY_WAITS: &str = "nobody waits for the retraction any more";

/// The sender of the outcome of a retraction.
type RetractReply = oneshot::Sender<Result<Certificate, Error>>;

/// The extent of a retraction, before or after it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetractionPlan {
    /// Feedback events that are left out.
    pub excluded: u64,
    /// The position of the first of them.
    pub first_position: u64,
    /// The last of them.
    pub last_position: u64,
    /// The position of the state that the other history starts from.
    pub base: u64,
    /// Entries that are applied again from there; 0 where only feedback that was taken back before
    /// was erased, of which neither is known any more.
    pub entries: u64,
    /// Versions that would be other ones without it, rising; they can no longer be restored.
    /// A plan names all that were made since, whether it changed them or not.
    pub tainted: Vec<u64>,
    /// The effect on the champion and the incidents; the new champion has no version in a plan. A plan
    /// has it where the policy is gated or manual.
    pub champion: Option<ChampionChange>,
    /// Aliases of versions that are tainted; in a plan they name no version yet.
    pub aliases: Vec<MovedAlias>,
}

/// The certificate of a retraction: enough to check it by applying the journal again. Where only
/// feedback that was taken back before is erased, it is of that earlier retraction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Certificate {
    /// The feedback that was taken back.
    pub plan: RetractionPlan,
    /// The version that never saw it, and the position of the order.
    pub version: u64,
    /// The position of the order.
    pub position: u64,
    /// BLAKE3 of the learned state, in hexadecimal digits.
    pub digest: String,
    /// The numeric profile that it was computed under.
    pub profile: String,
    /// Entries whose content was overwritten, of this and earlier retractions of the same events.
    pub erased: u64,
}

/// A request to retract feedback, with its sender and the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct RetractionRequest {
    /// The events to retract.
    pub selector: Selector,
    /// The person who asks.
    pub actor: String,
    /// The reason.
    pub note: String,
    /// The fate of their content: kept, or overwritten as well.
    pub disposal: Disposal,
}

impl RetractionRequest {
    fn order(&self, first_position: u64) -> Order {
        retraction(&self.selector, first_position, self.disposal)
    }

    fn command(self, order: Order) -> Command {
        Command {
            order,
            actor: self.actor,
            note: self.note,
        }
    }
}

impl ServedModel {
    /// The plan of a retraction. It reads the journal, so it may take a while.
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing is chosen, all of it is taken back already, or the journal
    /// does not reach back far enough.
    pub fn plan_retraction(&self, selector: &Selector) -> Result<RetractionPlan, Error> {
        let runtime = self.get()?;
        let selection = runtime.select(selector, Disposal::Keep)?;
        let planned = runtime.plan(&selection, selector, Disposal::Keep)?;
        let (mut plan, rebuild) = planned.ok_or_else(|| nothing_new(selector))?;
        plan.champion = runtime.planned_champion(rebuild, selection.last_position())?;
        Ok(plan)
    }

    /// Takes feedback back: afterwards the learner is the one that never saw it. Retractions of a
    /// model take turns.
    ///
    /// # Errors
    /// As [`ServedModel::plan_retraction`] and [`ServedModel::command`]; [`Error::Full`] while as many wait
    /// for their turn as may.
    pub async fn retract(&self, request: RetractionRequest) -> Result<Certificate, Error> {
        let runtime = self.get()?.clone();
        let turn = runtime.retractions().take_turn().await;
        let turn = turn.ok_or_else(|| Error::Full {
            model: runtime.name().to_owned(),
            what: format!("{TURNS_MAX} retractions wait for their turn"),
        })?;
        runtime.check_room(EntryClass::Order)?;
        let (asked, done) = oneshot::channel();
        let (retractions, retracting) = (runtime.retractions().clone(), runtime.clone());
        let spawned = retractions.run(move || {
            // A person waits for it: this thread does not stand back.
            let outcome = retracting.take_back(request, &asked);
            drop(turn);
            let _ = asked.send(outcome);
        });
        spawned
            .map_err(|error| runtime.unavailable(&format!("no thread to derive on: {error}")))?;
        let ended = done.await;
        ended.map_err(|_| runtime.unavailable("its thread has panicked"))?
    }
}

/// The order; one that erases names no source.
fn retraction(selector: &Selector, first_position: u64, disposal: Disposal) -> Order {
    Order::Retract(Retraction {
        selector: match disposal {
            Disposal::Keep => selector.clone(),
            Disposal::Erase => selector.hashed(),
        },
        first_position,
        disposal,
    })
}

fn nothing_new(selector: &Selector) -> Error {
    Error::Refused {
        field: "selector",
        what: format!("no feedback of {selector} is there that was not retracted already"),
    }
}

impl ModelRuntime {
    /// The whole of a retraction, on its own thread.
    fn take_back(
        self: &Arc<ModelRuntime>,
        request: RetractionRequest,
        asked: &RetractReply,
    ) -> Result<Certificate, Error> {
        self.settle_trims()?;
        let mut selection = self.select(&request.selector, request.disposal)?;
        let Some(mut plan) = self.derive(&selection, &request, asked)? else {
            return match request.disposal {
                Disposal::Keep => Err(nothing_new(&request.selector)),
                Disposal::Erase => self.erase_earlier(request, selection),
            };
        };
        self.stages().pass(Stage::HandedOver);
        if asked.is_closed() {
            return Err(self.unavailable(NOBODY_WAITS));
        }
        let order = request.order(plan.first_position);
        let disposal = request.disposal;
        let (position, urgent) = block_on(self.journal(request.command(order), None))?;
        self.await_applied(position)?;
        drop(urgent);
        let done = self.outcome(position)?;
        plan.excluded = done.excluded.len() as u64;
        plan.last_position = done.excluded.last().copied().unwrap_or(0);
        plan.entries = position - 1 - plan.base;
        plan.champion = done.champion;
        plan.aliases = done.aliases;
        plan.tainted = self.tainted_by(done.version);
        let manifest = self.versions().find(done.version)?;
        let manifest = manifest.ok_or_else(|| self.unavailable("its version is gone"))?;
        Ok(Certificate {
            erased: match disposal {
                Disposal::Keep => 0,
                Disposal::Erase => {
                    selection.end_at(position);
                    selection.read_on(position)?;
                    self.finish_erasures(Some((position, selection)))?
                }
            },
            plan,
            version: done.version,
            position,
            digest: manifest.digest,
            profile: manifest.profile,
        })
    }

    /// Erases feedback of earlier retractions, where nothing is left to be retracted.
    fn erase_earlier(
        self: &Arc<ModelRuntime>,
        request: RetractionRequest,
        mut earlier: FeedbackSelection,
    ) -> Result<Certificate, Error> {
        if earlier.retracted.is_empty() {
            return Err(nothing_new(&request.selector));
        }
        let (order, retracted) = (earlier.order(), earlier.retracted.clone());
        let erase = Order::Erase(request.selector.hashed());
        let (position, urgent) = block_on(self.journal(request.command(erase), None))?;
        self.await_applied(position)?;
        drop(urgent);
        self.outcome(position)?;
        earlier.end_at(position);
        earlier.read_on(position)?;
        Ok(Certificate {
            erased: self.finish_erasures(Some((position, earlier)))?,
            ..self.certified(order, &retracted)?
        })
    }

    /// The certificate of the retraction that took the last of these events back: its order,
    /// and the version that it made.
    fn certified(&self, order: u64, retracted: &BTreeMap<u64, u64>) -> Result<Certificate, Error> {
        let made = self.versions().list()?.into_iter();
        let made = made.filter_map(|one| one.manifest.ok());
        let mut by_order = made.filter(|manifest| {
            manifest.position == order && manifest.reason == Reason::Retract.word()
        });
        let manifest = by_order.next().unwrap_or_default();
        let first = |position: Option<&u64>| position.copied().unwrap_or(0);
        Ok(Certificate {
            plan: RetractionPlan {
                excluded: retracted.len() as u64,
                first_position: first(retracted.keys().next()),
                last_position: first(retracted.keys().next_back()),
                tainted: self.tainted_by(manifest.version),
                ..RetractionPlan::default()
            },
            version: manifest.version,
            position: order,
            digest: manifest.digest,
            profile: manifest.profile,
            erased: 0,
        })
    }

    /// Refuses a version that holds feedback which was taken back, or of which that is no longer
    /// known.
    pub(crate) fn check_untainted(&self, version: u64) -> Result<(), Error> {
        check_untainted(&self.retractions().tainted(), self.name(), version)
    }

    fn tainted_by(&self, successor: u64) -> Vec<u64> {
        self.retractions().tainted().by(successor)
    }

    /// The feedback that a selector chooses, up to the last entry on disk; the facts of the journal
    /// that this gives are the learner's as well.
    fn select(&self, selector: &Selector, disposal: Disposal) -> Result<FeedbackSelection, Error> {
        let last = self.progress().synced();
        let known = {
            let follower = self.lock_follower()?;
            follower.lookup.facts.clone()
        };
        let mut selection = FeedbackSelection::begin(self.versions(), selector, disposal, known)?;
        selection.read_on(last)?;
        let mut follower = self.lock_follower()?;
        follower.lookup.facts.join(&selection.facts);
        Ok(selection)
    }

    /// The plan of a retraction and the rebuild that carries it out, with nothing applied; none
    /// where nothing is chosen that was not retracted before.
    fn plan(
        &self,
        selection: &FeedbackSelection,
        selector: &Selector,
        disposal: Disposal,
    ) -> Result<Option<(RetractionPlan, Rebuild)>, Error> {
        let positions = &selection.new;
        let (Some(&first_position), Some(&last_position)) = (positions.first(), positions.last())
        else {
            return Ok(None);
        };
        let last = selection.last_position();
        let order = retraction(selector, first_position, disposal);
        let known = RecordedFacts::new(selection.facts.clone());
        let rebuild = Rebuild::begin(self.versions(), &order, last, &known);
        let rebuild = rebuild.map_err(|error| self.refused(error))?;
        let (known, unrecorded, aliases) = {
            let follower = self.lock_follower()?;
            let learner = &follower.learner;
            (
                learner.tainted().clone(),
                learner.unrecorded_versions().to_vec(),
                learner.aliases().clone(),
            )
        };
        let mut lineage = selection.lineage.clone();
        unrecorded.iter().for_each(|version| lineage.add(version));
        let mut tainted = lineage.since(first_position);
        tainted.retain(|version| known.refusal(*version).is_none());
        let aliases = aliases
            .iter()
            .filter(|(_, version)| tainted.contains(version));
        let aliases = aliases.map(|(alias, version)| MovedAlias {
            alias: alias.clone(),
            before: *version,
            after: 0,
        });
        let plan = RetractionPlan {
            aliases: aliases.collect(),
            excluded: positions.len() as u64,
            first_position,
            last_position,
            base: rebuild.base,
            entries: last - rebuild.base,
            tainted,
            champion: None,
        };
        Ok(Some((plan, rebuild)))
    }

    /// The champion that a rebuild leads to, where it serves; none where an order on its way may still be
    /// refused.
    fn planned_champion(
        &self,
        rebuild: Rebuild,
        last: u64,
    ) -> Result<Option<ChampionChange>, Error> {
        let policy = self.lock_follower()?.learner.spec().publish.policy;
        if policy == PublishPolicy::Live || rebuild.undecided().is_some() {
            return Ok(None);
        }
        let other = rebuild.finish(last).map_err(|error| self.refused(error))?;
        let follower = self.lock_follower()?;
        Ok(follower.learner.champion_change(&other.learner))
    }

    /// The reason why a history cannot be rebuilt without the feedback that was chosen.
    fn refused(&self, error: history::Error) -> Error {
        error.of_request(self.name(), "selector")
    }

    /// Derives beside the learner until little is left to catch up with, and hands the rebuild
    /// over. It ends early when no caller waits for it any more.
    fn derive(
        self: &Arc<ModelRuntime>,
        selection: &FeedbackSelection,
        request: &RetractionRequest,
        asked: &RetractReply,
    ) -> Result<Option<RetractionPlan>, Error> {
        let planned = self.plan(selection, &request.selector, request.disposal)?;
        self.stages().pass(Stage::Surveyed);
        let Some((mut plan, mut rebuild)) = planned else {
            return Ok(None);
        };
        let (mut left_before, mut n_begun) = (u64::MAX, 1);
        loop {
            let last = self.progress().synced();
            let left = last - rebuild.position();
            if n_begun < rebuild.n_begun() && n_begun < BEGUN_MAX {
                (left_before, n_begun) = (u64::MAX, rebuild.n_begun());
            }
            // Where feedback comes faster than it is derived, the learner does the rest.
            let caught_up = left <= LEFT_MAX && rebuild.undecided().is_none();
            if caught_up || left >= left_before {
                break;
            }
            left_before = left;
            self.advance(&mut rebuild, last, asked)?;
        }
        plan.base = rebuild.base;
        self.retractions().prepare(rebuild);
        Ok(Some(plan))
    }

    fn advance(
        self: &Arc<ModelRuntime>,
        rebuild: &mut Rebuild,
        last: u64,
        asked: &RetractReply,
    ) -> Result<(), Error> {
        while rebuild.position() < last {
            if let Some(reason) = self.health().closed() {
                return Err(self.unavailable(&reason));
            }
            if asked.is_closed() {
                return Err(self.unavailable(NOBODY_WAITS));
            }
            let advanced = rebuild.advance(last, STRIDE);
            advanced.map_err(|error| self.refused(error))?;
            if let Some(order) = rebuild.undecided()
                && rebuild.position() + 1 == order
            {
                // Once it is applied and its outcome is journaled, that is known.
                self.await_applied(order)?;
                self.settle_trims()?;
                let last = self.progress().synced();
                let begun = rebuild.begin_again(last);
                return begun.map_err(|error| self.refused(error));
            }
        }
        Ok(())
    }
}

/// Refuses a version that is not restored.
pub(crate) fn check_untainted(
    tainted: &TaintedVersions,
    model: &str,
    version: u64,
) -> Result<(), Error> {
    match tainted.refusal(version) {
        Some(what) if tainted.has_left(version) => Err(Error::NoLongerKept {
            model: model.to_owned(),
            what,
        }),
        Some(what) => Err(Error::Refused {
            field: "version",
            what,
        }),
        None => Ok(()),
    }
}
