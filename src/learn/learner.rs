//! The learner: state, entry -> state.
//!
//! Invariant: [`Learner::apply`] is the only way in which state changes, it takes entries in the
//! order of their positions, and its result depends on nothing but state and entry.

mod feedback;
mod state;

use std::sync::Arc;

use super::evaluate::Evaluation;
use super::join::{Found, Joins};
use super::learned::Learned;
use super::ledger::{Fate, Ledger};
use super::seen::Seen;
use super::signals;
use crate::event::{
    Command, Description, Entry, Event, Feedback, Order, Prediction, PredictionId, Reason, Signal,
    Subject, Time, Version,
};
use crate::model::weights::{self, Tensors};
use crate::model::{Model, Spec, SpecError};

/// Windows that one tick closes at most; the next tick closes more.
const TICK_MAX: usize = 256;

/// An entry that cannot be applied to this state: state or journal is not what it should be.
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
    /// The engine did not bring what [`Learner::needs`] asked for.
    #[error("entry {0} came without what it needs")]
    Supply(u64),
    /// The description does not parse or would change the state's shape.
    #[error("the description at entry {position}: {error}")]
    Description {
        /// Where it stands.
        position: u64,
        /// What is wrong with it.
        error: SpecError,
    },
    /// The state of a version is not of this description.
    #[error("version {version}: {error}")]
    Version {
        /// Which.
        version: u64,
        /// What does not fit.
        error: weights::Error,
    },
    /// A record says otherwise: this state is not the one that the journal describes.
    #[error("entry {position} records {recorded}, but applying the journal gave {derived}")]
    Diverged {
        /// Where the record stands.
        position: u64,
        /// What it says.
        recorded: String,
        /// What was derived.
        derived: String,
    },
}

/// What an event needs besides itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The prediction entry at this position.
    Prediction(u64),
    /// The prediction entries at these positions.
    Predictions(Vec<u64>),
    /// The state saved at this version.
    Version(u64),
}

/// What the engine brought.
#[derive(Debug)]
pub enum Supply<'a> {
    /// Nothing.
    Nothing,
    /// The prediction that was asked for.
    Prediction(&'a Prediction),
    /// The predictions that were asked for, in that order.
    Predictions(&'a [Prediction]),
    /// Weights and learner state of the version that was asked for.
    Version(Tensors, Tensors),
}

/// What applying an entry led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What became of a feedback event.
    pub fate: Option<Fate>,
    /// Whether the function answers differently from here on.
    pub changed: bool,
    /// A version that is due: to be saved and recorded.
    pub version: Option<Version>,
}

/// The whole state.
#[derive(Clone, Debug, PartialEq)]
pub struct Learner {
    spec: Arc<Spec>,
    description: Description,
    learned: Learned,
    world: World,
}

/// What is true of the world, whatever was learned: it goes on through restores.
#[derive(Clone, Debug, Default, PartialEq)]
struct World {
    position: u64,
    time: Time,
    /// The newest version that what was learned descends from, and the newest ever made.
    version: u64,
    newest_version: u64,
    joins: Joins,
    seen: Seen,
    ledger: Ledger,
    evaluation: Evaluation,
    /// Versions made whose records have not come yet.
    unrecorded: Vec<Version>,
}

impl Learner {
    /// The state before the first entry, which is to hold this description.
    pub fn new(spec: Arc<Spec>) -> Learner {
        Learner {
            learned: Learned::new(&spec),
            description: Description::default(),
            world: World::default(),
            spec,
        }
    }

    /// The description in force.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The same as it stands in the journal; empty before the first entry.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What has been learned.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// The function as it is now, for good.
    pub fn model(&self) -> Model {
        self.learned.model(&self.spec)
    }

    /// The position of the last entry applied.
    pub fn position(&self) -> u64 {
        self.world.position
    }

    /// The newest version that this state descends from.
    pub fn version(&self) -> u64 {
        self.world.version
    }

    /// Scores so far.
    pub fn evaluation(&self) -> &Evaluation {
        &self.world.evaluation
    }

    /// Events by fate.
    pub fn ledger(&self) -> &Ledger {
        &self.world.ledger
    }

    /// Predictions that wait.
    pub fn joins(&self) -> &Joins {
        &self.world.joins
    }

    /// Feedback ids of the last day.
    pub fn seen(&self) -> &Seen {
        &self.world.seen
    }

    /// Versions made whose records have not been applied yet.
    pub fn unrecorded(&self) -> &[Version] {
        &self.world.unrecorded
    }

    /// When the next tick is due: a window closes then, and silence has its reward.
    pub fn next_tick(&self) -> Option<Time> {
        self.spec.rewards.default?;
        self.world.joins.next_deadline()
    }

    /// What [`Learner::apply`] needs besides the event.
    pub fn needs(&self, event: &Event) -> Need {
        match event {
            Event::Feedback(Feedback {
                subject: Subject::Prediction(id),
                signal: Signal::PreferredOver(other),
                ..
            }) => match (self.position_of(*id), self.position_of(*other)) {
                (Some(one), Some(other)) => Need::Predictions(vec![one, other]),
                _ => Need::Nothing,
            },
            Event::Feedback(Feedback {
                subject: Subject::Prediction(id),
                ..
            }) => match self.position_of(*id) {
                Some(position) => Need::Prediction(position),
                None => Need::Nothing,
            },
            Event::Tick(until) => {
                let due = self.due(*until).into_iter();
                Need::Predictions(due.filter_map(|id| self.position_of(id)).collect())
            }
            Event::Command(Command {
                order: Order::Restore { version },
                ..
            }) => Need::Version(*version),
            _ => Need::Nothing,
        }
    }

    fn position_of(&self, id: PredictionId) -> Option<u64> {
        match self.world.joins.find(id) {
            Found::Waiting(waiting) => Some(waiting.position),
            Found::Expired | Found::Unknown => None,
        }
    }

    /// The predictions whose windows a tick closes.
    fn due(&self, until: Time) -> Vec<PredictionId> {
        match self.spec.rewards.default {
            Some(_) => self.world.joins.due(until, TICK_MAX),
            None => Vec::new(),
        }
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// Every error means that state and journal do not belong together; the state is then not to
    /// be used further.
    pub fn apply(&mut self, entry: &Entry, supply: Supply<'_>) -> Result<Step, Error> {
        if entry.position != self.world.position + 1 {
            return Err(Error::Order {
                last: self.world.position,
                got: entry.position,
            });
        }
        self.world.position = entry.position;
        self.world.time = entry.time;
        match &entry.event {
            Event::Description(description) => self.describe(description),
            Event::Prediction(prediction) => {
                self.wait(prediction);
                Ok(Step::default())
            }
            Event::Feedback(feedback) => self.take(feedback, &supply),
            Event::Duplicate(_) => Ok(self.end(Fate::Duplicate)),
            Event::Command(command) => self.obey(command, supply),
            Event::Tick(until) => self.close(*until, &supply),
            Event::Version(version) => self.check(version),
            Event::Erased(_) => Ok(Step::default()),
        }
    }

    fn describe(&mut self, description: &Description) -> Result<Step, Error> {
        let position = self.world.position;
        let refuse = |error| Error::Description { position, error };
        let spec = Spec::parse(&description.toml).map_err(refuse)?;
        self.spec.check_change(&spec).map_err(refuse)?;
        self.learned.reconfigure(&spec);
        for waiting in self.world.joins.all_mut() {
            let (old, new) = (&self.spec.rewards, &spec.rewards);
            waiting.signals = signals::carry(waiting.signals, old, new);
        }
        self.spec = Arc::new(spec);
        self.description = description.clone();
        Ok(Step {
            changed: true,
            version: (self.world.newest_version == 0).then(|| self.make(Reason::Initial)),
            ..Step::default()
        })
    }

    fn wait(&mut self, prediction: &Prediction) {
        let window_us = self.spec.rewards.window_s as i64 * 1_000_000;
        let deadline = Time(self.world.time.0 + window_us);
        let (position, max) = (self.world.position, self.spec.waiting_max);
        self.world.joins.wait(prediction, position, deadline, max);
    }

    fn obey(&mut self, command: &Command, supply: Supply<'_>) -> Result<Step, Error> {
        match (&command.order, supply) {
            (Order::Checkpoint, _) => Ok(Step {
                version: Some(self.make(Reason::Checkpoint)),
                ..Step::default()
            }),
            (Order::Restore { version }, Supply::Version(mut weights, mut state)) => {
                let refuse = |error| Error::Version {
                    version: *version,
                    error,
                };
                let mut learned = state.unnest("learned");
                let learned =
                    Learned::load(&self.spec, &mut weights, &mut learned).map_err(refuse)?;
                let then = Ledger::load(&mut state.unnest("world")).map_err(refuse)?;
                self.learned = learned;
                self.learned.reconfigure(&self.spec);
                self.world.ledger.undo_since(&then);
                self.world.version = *version;
                Ok(Step {
                    changed: true,
                    version: Some(self.make(Reason::Restore)),
                    ..Step::default()
                })
            }
            (Order::Restore { .. }, _) => Err(Error::Supply(self.world.position)),
        }
    }

    /// Makes a version of the state as it is.
    fn make(&mut self, reason: Reason) -> Version {
        let world = &mut self.world;
        world.newest_version += 1;
        let version = Version {
            version: world.newest_version,
            parent: world.version,
            position: world.position,
            reason,
            digest: self.learned.digest(),
        };
        world.version = version.version;
        world.unrecorded.push(version.clone());
        version
    }

    /// Compares a record with what was derived.
    fn check(&mut self, recorded: &Version) -> Result<Step, Error> {
        let derived = self.world.unrecorded.first();
        if derived != Some(recorded) {
            let position = self.world.position;
            let name = |version: &Version| {
                let digest = blake3::Hash::from_bytes(version.digest);
                format!("version {} with digest {digest}", version.version)
            };
            return Err(Error::Diverged {
                position,
                recorded: name(recorded),
                derived: derived.map_or("no version".to_owned(), name),
            });
        }
        self.world.unrecorded.remove(0);
        Ok(Step::default())
    }
}
