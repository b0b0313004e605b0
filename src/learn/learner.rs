//! The learner: state, entry -> state.
//!
//! Invariant: [`Learner::apply`] is the only way in which state changes, it takes entries in the
//! order of their positions, and its result depends on nothing but state and entry.

use std::sync::Arc;

use super::evaluate::Evaluation;
use super::gradient::Outcome;
use super::join::{Found, Joins, Waiting};
use super::learned::Learned;
use super::ledger::{Fate, Ledger};
use super::seen::Seen;
use crate::event::{
    Batch, Command, Description, Entry, Event, Feedback, Order, Outputs, Prediction, Reason,
    Signal, Subject, Time, Version,
};
use crate::model::weights::{self, Tensors};
use crate::model::{Model, Spec, SpecError, Target, Task};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The prediction entry at this position.
    Prediction(u64),
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

    /// What [`Learner::apply`] needs besides the event.
    pub fn needs(&self, event: &Event) -> Need {
        match event {
            Event::Feedback(Feedback {
                subject: Subject::Prediction(id),
                ..
            }) => match self.world.joins.find(*id) {
                Found::Waiting(waiting) => Need::Prediction(waiting.position),
                Found::Expired | Found::Unknown => Need::Nothing,
            },
            Event::Command(Command {
                order: Order::Restore { version },
                ..
            }) => Need::Version(*version),
            _ => Need::Nothing,
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
            Event::Feedback(feedback) => self.take(feedback, supply),
            Event::Duplicate(_) => Ok(self.end(Fate::Duplicate)),
            Event::Command(command) => self.obey(command, supply),
            Event::Version(version) => self.check(version),
        }
    }

    fn describe(&mut self, description: &Description) -> Result<Step, Error> {
        let position = self.world.position;
        let refuse = |error| Error::Description { position, error };
        let spec = Spec::parse(&description.toml).map_err(refuse)?;
        self.spec.check_change(&spec).map_err(refuse)?;
        self.learned.reconfigure(&spec);
        self.spec = Arc::new(spec);
        self.description = description.clone();
        Ok(Step {
            changed: true,
            version: (self.world.newest_version == 0).then(|| self.make(Reason::Initial)),
            ..Step::default()
        })
    }

    fn wait(&mut self, prediction: &Prediction) {
        let window_us = self.spec.window_s as i64 * 1_000_000;
        let deadline = Time(self.world.time.0 + window_us);
        let (position, max) = (self.world.position, self.spec.waiting_max);
        self.world.joins.wait(prediction, position, deadline, max);
    }

    /// One feedback event: join, score, learn.
    fn take(&mut self, feedback: &Feedback, supply: Supply<'_>) -> Result<Step, Error> {
        let (position, time) = (self.world.position, self.world.time);
        self.world.seen.forget(time);
        if self.world.seen.position(&feedback.feedback_id).is_some() {
            return Ok(self.end(Fate::Duplicate));
        }
        self.world
            .seen
            .insert(&feedback.feedback_id, position, time);
        match &feedback.subject {
            Subject::Inputs { batch, decision } => {
                let action = decision
                    .as_ref()
                    .and_then(|d| self.spec.task.index(&d.action));
                match self.target(&feedback.signal, action) {
                    Some(target) => Ok(self.learn(batch, 0, target)),
                    None => Ok(self.end(Fate::Unmatched)),
                }
            }
            Subject::Prediction(id) => {
                let waiting = match self.world.joins.find(*id) {
                    Found::Waiting(waiting) => waiting,
                    Found::Expired => return Ok(self.end(Fate::Expired)),
                    Found::Unknown => return Ok(self.end(Fate::Unmatched)),
                };
                if let Some(fate) = self.refuses(&feedback.signal, waiting) {
                    return Ok(self.end(fate));
                }
                let Supply::Prediction(prediction) = supply else {
                    return Err(Error::Supply(position));
                };
                let row = waiting.row as usize;
                let action = match &prediction.outputs {
                    Outputs::Actions { chosen, .. } => Some(chosen[row]),
                    Outputs::Probabilities(_) | Outputs::Values(_) => None,
                };
                let Some(target) = self.target(&feedback.signal, action) else {
                    return Ok(self.end(Fate::Unmatched));
                };
                let judged = waiting.told || waiting.rewarded;
                if let Some(waiting) = self.world.joins.get_mut(*id) {
                    match feedback.signal {
                        Signal::Reward(_) | Signal::Named { .. } => waiting.rewarded = true,
                        Signal::Label(_) | Signal::Value(_) => waiting.told = true,
                    }
                }
                let evaluation = &mut self.world.evaluation;
                if !judged {
                    evaluation.judge(&prediction.outputs, row, prediction.batch.n_rows, target);
                }
                Ok(self.learn(&prediction.batch, row, target))
            }
        }
    }

    /// Why a waiting prediction does not take this signal.
    fn refuses(&self, signal: &Signal, waiting: Waiting) -> Option<Fate> {
        match signal {
            Signal::Label(_) | Signal::Value(_) => waiting.told.then_some(Fate::Duplicate),
            Signal::Reward(_) | Signal::Named { .. } if waiting.rewarded => Some(Fate::Duplicate),
            Signal::Reward(_) | Signal::Named { .. } => {
                (self.world.time > waiting.deadline).then_some(Fate::Late)
            }
        }
    }

    /// What a signal says in this task; none where it says nothing.
    fn target(&self, signal: &Signal, action: Option<u32>) -> Option<Target> {
        match (&self.spec.task, signal) {
            (Task::Classification { .. }, Signal::Label(label)) => {
                self.spec.task.index(label).map(Target::Class)
            }
            (Task::Bandit { .. }, Signal::Label(label)) => {
                self.spec.task.index(label).map(Target::BestAction)
            }
            (Task::Bandit { .. }, Signal::Reward(reward)) => Some(Target::Reward {
                action: action?,
                reward: *reward,
            }),
            (Task::Regression, Signal::Value(value)) => Some(Target::Value(*value)),
            _ => None,
        }
    }

    fn learn(&mut self, batch: &Batch, row: usize, target: Target) -> Step {
        let world = &mut self.world;
        world.evaluation.follow(target);
        let n_before = self.learned.n_examples();
        let mut scores = Vec::new();
        let outcome = self.learned.observe(batch, row, target, &mut scores);
        let names = || self.learned.shares().into_iter().map(|(name, _)| name);
        world
            .evaluation
            .score_members(|| names().collect(), &scores);
        world.ledger.add(Fate::Pending, 1);
        let (fate, n_events) = match outcome {
            Outcome::Waits => (Fate::Pending, 0),
            Outcome::Updated(n_events) => (Fate::Applied, n_events),
            Outcome::Rejected(n_events) => (Fate::Quarantined, n_events),
        };
        world.ledger.shift(Fate::Pending, fate, n_events);
        let every = self.spec.cadence.examples;
        let due = n_before / every < self.learned.n_examples() / every;
        Step {
            fate: Some(fate),
            // Also while it waits for an update: the encoder has seen the row.
            changed: true,
            version: due.then(|| self.make(Reason::Cadence)),
        }
    }

    fn end(&mut self, fate: Fate) -> Step {
        self.world.ledger.add(fate, 1);
        Step {
            fate: Some(fate),
            ..Step::default()
        }
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

    /// Everything besides the weights: `learned.*` and `world.*`.
    pub fn state(&self) -> Tensors {
        let world = &self.world;
        let mut tensors = Tensors::default();
        let numbers = vec![
            world.position,
            world.time.0 as u64,
            world.version,
            world.newest_version,
        ];
        tensors.put_u64("numbers", &[4], numbers);
        world.joins.save(&mut tensors);
        world.seen.save(&mut tensors);
        world.ledger.save(&mut tensors);
        world.evaluation.save(&mut tensors);
        let (mut numbers, mut digests) = (Vec::new(), Vec::new());
        for version in &world.unrecorded {
            numbers.extend([version.version, version.parent, version.position]);
            numbers.push(version.reason as u64);
            digests.extend(version.digest);
        }
        let n_unrecorded = world.unrecorded.len();
        tensors.put_u64("unrecorded", &[n_unrecorded, 4], numbers);
        tensors.put_u8("unrecorded.digests", &[n_unrecorded, 32], digests);
        let mut all = Tensors::default();
        all.nest("world", tensors);
        all.nest("learned", self.learned.state());
        let Description {
            toml,
            build,
            profile,
        } = &self.description;
        for (name, text) in [("toml", toml), ("build", build), ("profile", profile)] {
            let bytes = text.clone().into_bytes();
            all.put_u8(format!("description.{name}"), &[bytes.len()], bytes);
        }
        all
    }

    /// The state that [`Learned::weights`] and [`Learner::state`] were taken of.
    ///
    /// # Errors
    /// When the tensors are not of this description.
    pub fn load(mut weights: Tensors, mut state: Tensors) -> Result<Learner, weights::Error> {
        let mut text = |part| {
            let bytes = state.take_u8(&format!("description.{part}"), &[None])?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let description = Description {
            toml: text("toml")?,
            build: text("build")?,
            profile: text("profile")?,
        };
        let spec = Spec::parse(&description.toml).map_err(|error| weights::Error::Value {
            name: "description.toml".to_owned(),
            what: error.to_string(),
        })?;
        let spec = Arc::new(spec);
        let mut world = state.unnest("world");
        let numbers = world.take_u64("numbers", &[Some(4)])?;
        let learned = Learned::load(&spec, &mut weights, &mut state.unnest("learned"))?;
        Ok(Learner {
            spec,
            description,
            learned,
            world: World {
                position: numbers[0],
                time: Time(numbers[1] as i64),
                version: numbers[2],
                newest_version: numbers[3],
                joins: Joins::load(&mut world)?,
                seen: Seen::load(&mut world)?,
                ledger: Ledger::load(&mut world)?,
                evaluation: Evaluation::load(&mut world)?,
                unrecorded: load_unrecorded(&mut world)?,
            },
        })
    }
}

fn load_unrecorded(world: &mut Tensors) -> Result<Vec<Version>, weights::Error> {
    let numbers = world.take_u64("unrecorded", &[None, Some(4)])?;
    let n_versions = Some(numbers.len() / 4);
    let digests = world.take_u8("unrecorded.digests", &[n_versions, Some(32)])?;
    let version = |(numbers, digest): (&[u64], &[u8])| {
        let reasons = [
            Reason::Initial,
            Reason::Checkpoint,
            Reason::Cadence,
            Reason::Restore,
        ];
        let reason = reasons.into_iter().find(|r| *r as u64 == numbers[3]);
        Ok(Version {
            version: numbers[0],
            parent: numbers[1],
            position: numbers[2],
            reason: reason.ok_or_else(|| weights::Error::Value {
                name: "unrecorded".to_owned(),
                what: format!("reason {}", numbers[3]),
            })?,
            digest: digest.try_into().expect("thirty-two bytes"),
        })
    };
    let rows = numbers.chunks_exact(4).zip(digests.chunks_exact(32));
    rows.map(version).collect()
}
