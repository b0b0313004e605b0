//! The learner: state, entry -> state.
//!
//! Invariant: [`Learner::apply`] is the only way in which state changes, it takes entries in the
//! order of their positions, and its result depends on nothing but state and entry.

mod accounts;
mod answering;
mod budget;
mod counterfactual;
mod drift;
mod feedback;
#[cfg(test)]
mod fixture;
mod gap;
mod gate;
mod labels;
mod monitors;
mod quarantine;
mod relabel;
mod retrain;
mod rewards;
mod silence;
mod state;
mod stream;
mod versions;
mod veto;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::join::{HeldExamples, PendingPredictions};
use super::lookup::{Lookup, LookupError};
use super::rewards::Windows;
use crate::event::{
    Alarm, Description, Entry, ErasedKind, Event, Feedback, Prediction, Reason, Selector, Time,
    Verdict, Version,
};
use crate::learn::algorithms::learned::Learned;
use crate::learn::drift::Detectors;
use crate::learn::gate::ChampionChange;
use crate::learn::records::evaluate::Evaluation;
use crate::learn::records::feedback_ids::FeedbackIds;
use crate::learn::records::ledger::{Fate, Ledger};
use crate::learn::records::quarantine::QuarantineCause;
use crate::learn::records::sources::Sources;
use crate::learn::training::scratch::Scratch;
use crate::learn::versions::aliases::MovedAlias;
use crate::learn::versions::newest::Newest;
use crate::learn::versions::revised_tallies::RevisedTallies;
use crate::learn::versions::tainted::TaintedVersions;
use crate::learn::versions::tallies::Tallies;
use crate::model::weights;
use crate::model::{Model, Spec, SpecError, TextEncoder};
use accounts::Accounts;
pub(crate) use answering::{AnsweringState, RowAnswer};
pub use counterfactual::{Counterfactual, CounterfactualLookup};
use gap::Gap;
pub(crate) use relabel::LastWord;
pub use retrain::{RetrainCause, Retraining};
use stream::Stream;

/// An entry that cannot be applied to this state: state or journal is damaged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// An entry was left out or came twice.
    #[error("entry {got} cannot follow entry {last}")]
    Order {
        /// The position of the last entry applied.
        last: u64,
        /// The position of this one.
        got: u64,
    },
    /// A lookup that the entry needs has failed.
    #[error("entry {position}: {cause}")]
    Lookup {
        /// The position of the entry.
        position: u64,
        /// The reason why it failed.
        cause: LookupError,
    },
    /// The description does not parse or would change the state's shape.
    #[error("the description at entry {position}: {error}")]
    Description {
        /// The position of the entry.
        position: u64,
        /// The mistake in it.
        error: SpecError,
    },
    /// The state of a version is not of this description.
    #[error("version {version}: {error}")]
    Version {
        /// The version.
        version: u64,
        /// The tensor that does not fit.
        error: weights::Error,
    },
    /// The device that learns failed: this state cannot be gone on with.
    #[error("entry {position}: {what}")]
    Device {
        /// The position of the entry.
        position: u64,
        /// The error of the device.
        what: String,
    },
    /// A record differs: this state is not the one that the journal describes.
    #[error("entry {position} records {recorded}, but applying the journal gave {derived}")]
    Diverged {
        /// The position of the record.
        position: u64,
        /// Its content.
        recorded: String,
        /// The derived content.
        derived: String,
    },
}

/// The effect of applying an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The fate of a feedback event.
    pub fate: Option<Fate>,
    /// True if the function answers differently from here on.
    pub changed: bool,
    /// A version that is due: to be saved and recorded.
    pub version: Option<Version>,
    /// Versions of champion and contender that are due as well, each to be saved before that version, and
    /// recorded behind it.
    pub frozen: Vec<Version>,
    /// Decisions of the gate: to be recorded.
    pub verdicts: Vec<Verdict>,
    /// The reason why an order was not carried out.
    pub refused: Option<String>,
    /// The positions of the feedback that was taken back, rising.
    pub excluded: Vec<u64>,
    /// The effect on the champion of an order that brought another history.
    pub champion: Option<ChampionChange>,
    /// Aliases that follow their versions to the first ones without the retracted feedback.
    pub moved_aliases: Vec<MovedAlias>,
    /// Alarms that it raised: to be recorded.
    pub alarms: Vec<Alarm>,
    /// The feedback id of the event that this one contradicts, without the right to supersede it.
    pub contradicts: Option<String>,
    /// The reason why this event waits for a person, if it is not a contradiction.
    pub held_back: Option<QuarantineCause>,
    /// Why the oldest event waited that made room for this one: it is discarded.
    pub pushed_out: Option<QuarantineCause>,
}

/// Feedback that another history excludes.
#[derive(Clone, Debug, PartialEq)]
pub struct Exclusion {
    /// The excluded events.
    pub selector: Selector,
    /// The position before which the excluded events stand.
    pub before: u64,
}

impl Exclusion {
    /// True if it excludes the event at a position, which was accepted at `time`.
    pub fn excludes(&self, position: u64, time: Time, feedback: &Feedback) -> bool {
        position < self.before && self.selector.chooses(feedback, time)
    }
}

/// The whole state.
#[derive(Clone, Debug, PartialEq)]
pub struct Learner {
    spec: Arc<Spec>,
    description: Description,
    /// A restore brings it back.
    learned: Learned,
    /// A retraction derives them again, with the learned state.
    accounts: Accounts,
    /// Goes on through restores and retractions.
    stream: Stream,
    history: History,
    /// The encoders whose adapters learn, by the place of their input; brought when they are needed.
    encoders: Scratch<Vec<Option<Arc<TextEncoder>>>>,
    /// The request of several rows that was last read back: the next feedback may speak of it, too.
    request: Scratch<Option<(u64, Arc<Prediction>)>>,
    /// Windows that close within an entry at most: only tests choose another bound.
    windows_max: usize,
    /// True if it comes of entries that were written under another numeric profile than the one that
    /// computes here, under a description that is no longer in force.
    has_moved: bool,
    /// The reason why the device that learns has failed, while the entry is applied that it failed at.
    failed: Option<String>,
    /// The stretch of erased feedback that is being passed.
    gap: Option<Gap>,
    /// The position of the quarantined event that is being released.
    released: Option<u64>,
    /// True of a learner that began behind the first entry: orders for others to do so are nothing to it.
    begun_anew: bool,
}

/// The history that a state is of.
#[derive(Clone, Debug, Default, PartialEq)]
enum History {
    /// The one that the journal describes.
    #[default]
    Recorded,
    /// One without this feedback: it makes no versions, and no record speaks of it.
    Other(Vec<Exclusion>),
}

impl Learner {
    /// The state before the first entry, which is to hold this description.
    ///
    /// # Panics
    /// When the description names weights to start with, which only [`Learner::starting`] brings.
    pub fn new(spec: Arc<Spec>) -> Learner {
        assert_eq!(spec.weights(), None, "these weights are brought by nobody");
        Learner {
            learned: Learned::new(&spec),
            description: Description::default(),
            accounts: Accounts::default(),
            stream: Stream::default(),
            history: History::default(),
            encoders: Scratch::default(),
            request: Scratch::default(),
            windows_max: windows::PER_ENTRY_MAX,
            has_moved: false,
            failed: None,
            gap: None,
            released: None,
            begun_anew: false,
            spec,
        }
    }

    /// A learner of a description whose network arrives trained: `file` holds the tensors that its
    /// weights are pinned to.
    ///
    /// # Errors
    /// Names the first tensor that does not fit the description.
    pub fn starting(spec: Arc<Spec>, file: &weights::Foreign) -> Result<Learner, weights::Error> {
        Ok(Learner {
            learned: Learned::starting(&spec, file)?,
            description: Description::default(),
            accounts: Accounts::default(),
            stream: Stream::default(),
            history: History::default(),
            encoders: Scratch::default(),
            request: Scratch::default(),
            windows_max: windows::PER_ENTRY_MAX,
            has_moved: false,
            failed: None,
            gap: None,
            released: None,
            begun_anew: false,
            spec,
        })
    }

    /// This state, to go on in a history without the excluded feedback. It has to be older than all
    /// of that feedback.
    pub fn rederive(self, exclusions: Vec<Exclusion>) -> Learner {
        Learner {
            history: History::Other(exclusions),
            ..self
        }
    }

    /// This state before the first entry, to go on in a history that begins behind `position`, under a
    /// description that is in force there.
    pub fn begin_behind(mut self, position: u64, description: Description) -> Learner {
        self.description = description;
        self.begun_anew = true;
        self.stream.position = position;
        self.crown();
        self
    }

    /// The description in force.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The description as it stands in the journal; empty before the first entry.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The learned state.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// The function as it is now, for good.
    pub fn model(&self) -> Model {
        self.learned.model(&self.spec)
    }

    /// The position of the last entry applied.
    pub fn position(&self) -> u64 {
        self.stream.position
    }

    /// The journal time of the last entry applied.
    pub fn time(&self) -> Time {
        self.stream.time
    }

    /// The newest version that this state descends from.
    pub fn version(&self) -> u64 {
        self.stream.version
    }

    /// The newest version that was ever made.
    pub fn newest_version(&self) -> u64 {
        self.stream.newest_version
    }

    /// Scores so far.
    pub fn evaluation(&self) -> &Evaluation {
        &self.accounts.evaluation
    }

    /// Events by fate.
    pub fn ledger(&self) -> &Ledger {
        &self.accounts.ledger
    }

    /// Examples learned, by source.
    pub fn sources(&self) -> &Sources {
        &self.accounts.sources
    }

    /// Predictions that wait.
    pub fn joins(&self) -> &PendingPredictions {
        &self.accounts.pending
    }

    /// Feedback ids of the last day, under the first revision of the rules.
    pub fn feedback_ids(&self) -> &FeedbackIds {
        &self.stream.feedback_ids
    }

    /// The tests for drift; none before their first row, and where nothing is watched.
    pub fn detectors(&self) -> Option<&Detectors> {
        self.accounts.detectors.as_ref()
    }

    /// Records of versions, verdicts, alarms and refusals that have not been applied yet.
    pub fn unrecorded(&self) -> Vec<Event> {
        let versions = self.stream.unrecorded.iter().cloned().map(Event::Version);
        let verdicts = self.stream.verdicts.iter().copied().map(Event::Verdict);
        let refusals = self.stream.refusals.iter().copied().map(Event::Refusal);
        let alarms = self.stream.alarms.iter().cloned().map(Event::Drift);
        let records = versions.chain(verdicts).chain(alarms);
        records.chain(refusals).collect()
    }

    /// The positions of orders to erase without a record that it is done, rising.
    pub fn erasures(&self) -> &[u64] {
        &self.stream.erasures
    }

    /// Versions whose records have not been applied yet, in the order in which they were made.
    pub(crate) fn unrecorded_versions(&self) -> &[Version] {
        &self.stream.unrecorded
    }

    /// The origin of the newest version of each reason.
    pub fn newest(&self) -> &Newest {
        &self.stream.newest
    }

    /// The aliases of an operator, with the versions that they name.
    pub fn aliases(&self) -> &Arc<BTreeMap<String, u64>> {
        self.stream.aliases.all()
    }

    /// Versions that hold feedback which was taken back, each with the version made by that.
    pub fn tainted(&self) -> &TaintedVersions {
        &self.stream.tainted
    }

    /// The tallies by now of versions whose learned state a retraction left the same.
    pub fn revised_tallies(&self) -> &RevisedTallies {
        &self.stream.revised_tallies
    }

    /// The tallies of a version of this state.
    pub fn tallies(&self) -> Tallies {
        let holds = self.spec.revision >= 2;
        Tallies {
            held: holds.then(|| HeldExamples::of(&self.accounts.pending)),
            ..self.accounts.tallies()
        }
    }

    /// BLAKE3 of the tallies.
    pub fn counted(&self) -> blake3::Hash {
        self.accounts.tallies_digest(self.spec.revision)
    }

    /// The first moment at which a window has closed, and silence has its reward, at which a learner is to begin
    /// anew, or at which feedback or examples have not come for as long as the description allows.
    pub fn next_tick(&self) -> Option<Time> {
        let rewards = self.spec.rewards.default;
        let deadline = rewards.and_then(|_| self.accounts.pending.next_deadline());
        let closed = deadline.map(|deadline| Time(deadline.0 + 1));
        let times = [closed, self.next_retraining(), self.next_silence()];
        times.into_iter().flatten().min()
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// [`Error::Device`] where it fails; every other error means that state and journal
    /// do not belong together. The state is then not to be used further.
    ///
    /// # Panics
    /// When the fates of feedback do not add up to the events that have come: a bug.
    pub fn apply(
        &mut self,
        entry: &Entry,
        lookup: &mut dyn CounterfactualLookup,
    ) -> Result<Step, Error> {
        if entry.position != self.stream.position + 1 {
            return Err(Error::Order {
                last: self.stream.position,
                got: entry.position,
            });
        }
        self.stream.position = entry.position;
        self.stream.time = entry.time;
        if self.is_in_gap(entry, lookup)? {
            return self.pass(entry, lookup);
        }
        self.bring_encoders(lookup)?;
        self.learned.move_to(lookup.device(self.spec.device));
        let n_before = self.learned.n_examples();
        // The order that ends a gap brings the windows that are open.
        let closed = self.may_close(entry) && self.close_windows(self.windows_max, lookup)?;
        self.expire();
        let mut step = match &entry.event {
            Event::Description(description) => self.describe(description, lookup)?,
            Event::Prediction(prediction) => self.wait(prediction, lookup)?,
            Event::Feedback(feedback) => self.take(feedback, lookup)?,
            Event::Duplicate(_) => self.end(Fate::Duplicate),
            Event::Command(command) => self.carry_out(command, lookup)?,
            Event::Tick(_) => Step::default(),
            Event::Version(version) => self.check(version, lookup)?,
            Event::Verdict(verdict) => self.check_verdict(verdict, lookup)?,
            Event::Drift(alarm) => self.check_alarm(alarm)?,
            Event::Refusal(refusal) => self.check_refusal(*refusal)?,
            Event::Erasure(erasure) => {
                self.end_erasure(*erasure);
                Step::default()
            }
            Event::Erased(kind) => self.pass_over(*kind)?,
        };
        self.monitor_examples(n_before, &entry.event);
        if let Some(what) = self.failed.take() {
            let position = entry.position;
            return Err(Error::Device { position, what });
        }
        step.changed |= closed && self.serves_what_comes();
        step.alarms = self.alarms_of(entry.position);
        let counted = matches!(
            entry.event,
            Event::Feedback(_) | Event::Duplicate(_) | Event::Erased(_)
        );
        self.stream.n_events += u64::from(counted);
        let n_fates = self.accounts.ledger.total();
        assert_eq!(n_fates, self.stream.n_events, "an event has one fate");
        self.decide(&mut step);
        let every = self.spec.cadence.examples;
        if step.version.is_none() && n_before / every < self.learned.n_examples() / every {
            step.version = self.make(Reason::Cadence);
        }
        Ok(step)
    }

    /// True if windows close before an entry: not in a gap, and not at one that this history does not have,
    /// since decisions fall at the ends of entries.
    fn may_close(&self, entry: &Entry) -> bool {
        let is_passed_over = match &entry.event {
            Event::Feedback(feedback) => self.excludes(feedback),
            Event::Erased(ErasedKind::Feedback(_)) => matches!(self.history, History::Other(_)),
            _ => false,
        };
        self.gap.is_none() && !(self.spec.has_gate() && is_passed_over)
    }

    /// Sees to it that the encoders are there whose adapters learn.
    fn bring_encoders(&mut self, lookup: &mut dyn Lookup) -> Result<(), Error> {
        if !self.encoders.0.is_empty() || self.spec.adapted_encoders().next().is_none() {
            return Ok(());
        }
        let mut encoders = vec![None; self.spec.inputs.len()];
        for (place, pinned, _) in self.spec.adapted_encoders() {
            let encoder = lookup.encoder(pinned);
            encoders[place] = Some(encoder.map_err(|what| self.missing(what))?);
        }
        self.encoders.0 = encoders;
        Ok(())
    }

    fn describe(
        &mut self,
        description: &Description,
        lookup: &mut dyn Lookup,
    ) -> Result<Step, Error> {
        let position = self.stream.position;
        let refuse = |error| Error::Description { position, error };
        let spec = Spec::journaled(&description.toml).map_err(refuse)?;
        self.spec.check_change(&spec).map_err(refuse)?;
        if spec.rewards.default != self.spec.rewards.default {
            // A window that is due by now earns the reward that silence had until now.
            self.close_windows(usize::MAX, lookup)?;
        }
        self.learned.reconfigure(&spec);
        let joins = &mut self.accounts.pending;
        if self.spec.revision < 2 && spec.revision >= 2 {
            joins.hold_credited(self.learned.n_examples());
        }
        Windows::revise(joins, position, &self.spec, &spec);
        self.has_moved = self.has_other_bits(lookup);
        let earlier = std::mem::replace(&mut self.spec, Arc::new(spec));
        self.forget_ids();
        self.description = description.clone();
        self.note_revised(&earlier);
        self.watch_as(&earlier);
        self.budget_as(&earlier);
        self.await_retraining();
        let first = self.stream.newest_version == 0;
        let version = first.then(|| self.make(Reason::Initial)).flatten();
        match &mut self.accounts.gate {
            Some(gate) if self.spec.has_gate() => gate.reconfigure(&self.spec),
            _ => self.crown(),
        }
        let kept = self.keep_serving(earlier.publish.policy);
        Ok(Step {
            changed: true,
            version: version.or(kept),
            ..Step::default()
        })
    }

    /// Under later revisions than the first the journal records which events are new.
    pub(super) fn forget_ids(&mut self) {
        if self.spec.revision > 1 {
            self.stream.feedback_ids = FeedbackIds::default();
        }
    }

    /// Passes over an erased entry. Its feedback had been retracted before, so only a history that
    /// excludes it can go on; an erased duplicate has nothing that is needed.
    fn pass_over(&mut self, kind: ErasedKind) -> Result<Step, Error> {
        match (&self.history, kind) {
            (_, ErasedKind::Duplicate) => Ok(self.end(Fate::Duplicate)),
            (History::Other(_), ErasedKind::Feedback(_)) => Ok(self.end(Fate::Retracted)),
            _ => {
                let what = "it was erased, and what it led to cannot be derived again";
                Err(self.missing(LookupError::NotRetained(what.to_owned())))
            }
        }
    }

    pub(super) fn missing(&self, cause: LookupError) -> Error {
        Error::Lookup {
            position: self.stream.position,
            cause,
        }
    }
}
