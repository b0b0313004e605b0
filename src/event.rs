//! Events as values: everything that a journal can hold and a learner can apply.
//!
//! Invariant: a value here is already validated. It knows no wire format, no disk format, no
//! clock and no file; two equal values are the same fact.

mod alarm;
mod batch;
mod names;
mod order;
mod records;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

pub use alarm::{Alarm, Change, WatchedStream};
pub use batch::{Batch, Column};
pub use names::{MalformedAlias, MalformedId, MalformedName, ModelName, PredictionId, check_alias};
pub use order::{Command, Order};
pub use records::{Erasure, Judgement, OrderRefusal, Reason, Verdict, Version};

/// A moment in UTC, in microseconds since the Unix epoch. Within a journal it never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl fmt::Display for Time {
    /// RFC 3339, as 2026-01-31T12:00:00Z; moments beyond the year 9999 in microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

/// The outputs of a model, for every row of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Outputs {
    /// `[rows, classes]`, each row sums to one. The answer is the likeliest class.
    Probabilities(Vec<f32>),
    /// The same where costs decide, and the answer may be another class than the likeliest.
    Decisions {
        /// `[rows, classes]`.
        probabilities: Vec<f32>,
        /// `[rows]`, the place of the class that is answered.
        chosen: Vec<u32>,
    },
    /// `[rows]`; of a description whose values are FP32, each is one.
    Values(Vec<f64>),
    /// A bandit's answer: the served action, its propensity, and the estimate of every action.
    Actions {
        /// `[rows]`, index of the served action.
        chosen: Vec<u32>,
        /// `[rows]`, in (0, 1].
        propensities: Vec<f32>,
        /// `[rows, actions]`, the estimated rewards.
        scores: Vec<f32>,
    },
}

impl Outputs {
    /// The probabilities of the classes, `[rows, classes]`; none of other tasks.
    pub fn probabilities(&self) -> Option<&[f32]> {
        match self {
            Outputs::Probabilities(probabilities) | Outputs::Decisions { probabilities, .. } => {
                Some(probabilities)
            }
            Outputs::Values(_) | Outputs::Actions { .. } => None,
        }
    }

    /// Adds the outputs of further rows by the same model.
    ///
    /// # Panics
    /// When they are of another task.
    pub fn append(&mut self, more: Outputs) {
        match (self, more) {
            (Outputs::Probabilities(all), Outputs::Probabilities(more)) => all.extend(more),
            (
                Outputs::Decisions {
                    probabilities,
                    chosen,
                },
                Outputs::Decisions {
                    probabilities: more,
                    chosen: more_chosen,
                },
            ) => {
                probabilities.extend(more);
                chosen.extend(more_chosen);
            }
            (Outputs::Values(all), Outputs::Values(more)) => all.extend(more),
            (
                Outputs::Actions {
                    chosen,
                    propensities,
                    scores,
                },
                Outputs::Actions {
                    chosen: more_chosen,
                    propensities: more_propensities,
                    scores: more_scores,
                },
            ) => {
                chosen.extend(more_chosen);
                propensities.extend(more_propensities);
                scores.extend(more_scores);
            }
            _ => panic!("the outputs of one model are of one kind"),
        }
    }
}

/// A value of an answer as text: the shortest that reads back as it, a value of 32 bits as one of them.
pub fn value_text(value: f64) -> String {
    if is_single(value) {
        (value as f32).to_string()
    } else {
        value.to_string()
    }
}

/// True if 32 bits hold a value to the bit.
pub fn is_single(value: f64) -> bool {
    f64::from(value as f32).to_bits() == value.to_bits()
}

/// An answer that was served: one entry for a request with all its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// One id for each row.
    pub ids: Vec<PredictionId>,
    /// The rows as validated, before any hashing or scaling.
    pub batch: Batch,
    /// The outputs.
    pub outputs: Outputs,
    /// The answered labels, by the places of their classes, where new classes are allowed: after a
    /// restore a place may belong to another label. Empty where the description names every class.
    pub labels: BTreeMap<u32, String>,
    /// The newest version that the answering state descends from.
    pub version: u64,
    /// The position of the state that answered.
    pub position: u64,
}

/// The subject of a feedback event.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A row that was predicted here.
    Prediction(PredictionId),
    /// A row that the feedback itself carries.
    Inputs {
        /// One row.
        batch: Batch,
        /// A bandit's decision: the action taken, and its propensity.
        decision: Option<Decision>,
    },
}

/// An action that another system took.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The action's name.
    pub action: String,
    /// The probability with which it was chosen, in (0, 1].
    pub propensity: f64,
}

/// The signal of a feedback event: a label, a value, a reward or a named signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// The true class, or the action that would have been right.
    Label(String),
    /// The true value.
    Value(f64),
    /// The reward of the served action: larger is better.
    Reward(f64),
    /// An implicit signal, turned into a reward by the description.
    Named {
        /// Its name in the description.
        name: String,
        /// Its value, in its own unit.
        value: f64,
    },
    /// The subject was preferred over this prediction: it earns one, the other nothing.
    PreferredOver(PredictionId),
}

/// One feedback event as it was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    /// The sender's idempotency key, 1 to 128 bytes.
    pub feedback_id: String,
    /// The prediction or the inputs that it concerns.
    pub subject: Subject,
    /// Exactly one signal.
    pub signal: Signal,
    /// Its source, for retraction by source; may be empty.
    pub source: String,
    /// The event time, as the sender states it.
    pub event_time: Option<Time>,
    /// For slices of metrics.
    pub tags: BTreeMap<String, String>,
    /// The sender: while nobody is authenticated, the address of the client.
    pub actor: String,
    /// How much its example counts beside one of weight 1: one of [`WEIGHTS`].
    pub weight: f64,
    /// The sender's own words, which nothing reads; may be empty.
    pub comment: String,
    /// True if its sender has the right to review: its labels supersede those of every source.
    pub may_correct: bool,
}

/// The weights that an event can have; a description may allow less.
pub const WEIGHTS: RangeInclusive<f64> = 0.001..=1000.0;

/// The tag that holds the name of the backfill which an event belongs to.
pub const BACKFILL_TAG: &str = "backfill";

impl Feedback {
    /// The name of the declared backfill that it belongs to: its id is known for as long as its entry
    /// is retained.
    pub fn backfill(&self) -> Option<&str> {
        self.tags.get(BACKFILL_TAG).map(String::as_str)
    }
}

/// A resent event: only its key, so that its fate survives a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Duplicate {
    /// Its key; empty where the first event was retracted, whose key may be erased.
    pub feedback_id: String,
    /// The position of the first event with the key.
    pub first_position: u64,
}

/// A retraction: feedback to be retracted, out of all that was accepted before the order.
#[derive(Clone, Debug, PartialEq)]
pub struct Retraction {
    /// The selection of events.
    pub selector: Selector,
    /// The position of the first of them: nothing before it is touched.
    pub first_position: u64,
    /// The fate of its content: kept, or overwritten as well.
    pub disposal: Disposal,
}

/// The disposal of the content of retracted feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// The content stays in the journal, where an audit finds it.
    Keep,
    /// The content is overwritten, the checkpoints that learned from it are deleted, and those that
    /// only hold it keep their learned state alone. The order names nobody.
    Erase,
}

/// A selection of feedback events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All events of this source.
    Source(String),
    /// The event with this key.
    FeedbackId(String),
    /// The events accepted from `since` on, up to and including `until`.
    Accepted {
        /// The first moment.
        since: Time,
        /// The last moment.
        until: Time,
    },
    /// All events of the source with this hash.
    SourceHash(NameHash),
    /// The event whose key has this hash.
    FeedbackIdHash(NameHash),
}

/// The first half of the BLAKE3 of a name that is not to be journaled.
pub type NameHash = [u8; 16];

fn name_hash(name: &str) -> NameHash {
    let hash = blake3::hash(name.as_bytes());
    *hash.as_bytes().first_chunk().expect("it has 32 bytes")
}

impl Selector {
    /// The same selection, by hash.
    pub fn hashed(&self) -> Selector {
        match self {
            Selector::Source(source) => Selector::SourceHash(name_hash(source)),
            Selector::FeedbackId(id) => Selector::FeedbackIdHash(name_hash(id)),
            other => other.clone(),
        }
    }

    /// True if it selects this event, which was accepted at `time`.
    pub fn chooses(&self, feedback: &Feedback, time: Time) -> bool {
        match self {
            Selector::SourceHash(hash) => name_hash(&feedback.source) == *hash,
            Selector::FeedbackIdHash(hash) => name_hash(&feedback.feedback_id) == *hash,
            Selector::Source(source) => feedback.source == *source,
            Selector::FeedbackId(feedback_id) => feedback.feedback_id == *feedback_id,
            Selector::Accepted { since, until } => (*since..=*until).contains(&time),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Source(source) => write!(f, "source {source:?}"),
            Selector::FeedbackId(feedback_id) => write!(f, "the id {feedback_id:?}"),
            Selector::SourceHash(hash) => {
                write!(f, "the source of hash {:032x}", u128::from_be_bytes(*hash))
            }
            Selector::FeedbackIdHash(hash) => {
                write!(f, "the id of hash {:032x}", u128::from_be_bytes(*hash))
            }
            Selector::Accepted { since, until } => match (since.0, until.0) {
                (i64::MIN, _) => write!(f, "the time up to {until}"),
                (_, i64::MAX) => write!(f, "the time since {since}"),
                _ => write!(f, "the time from {since} to {until}"),
            },
        }
    }
}

/// The model description in force from here on, with the program and its numeric profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// The text of model.toml.
    pub toml: String,
    /// Name and version of the program.
    pub build: String,
    /// The numeric profile: the settings, besides the journal, on which the bits of a result depend.
    pub profile: String,
}

/// An entry of a journal. Causes decide the state; records are derived from it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Cause: the description in force.
    Description(Description),
    /// Cause: an answer that was served.
    Prediction(Prediction),
    /// Cause: feedback.
    Feedback(Feedback),
    /// Cause: feedback that was resent.
    Duplicate(Duplicate),
    /// Cause: an operator's command.
    Command(Command),
    /// Cause: the journal time reaches this moment, which closes windows.
    Tick(Time),
    /// Record: a version was made.
    Version(Version),
    /// Record: the gate decided.
    Verdict(Verdict),
    /// Record: a watched stream has changed.
    Drift(Alarm),
    /// Record: an order was refused.
    Refusal(OrderRefusal),
    /// Record: an erasure is done.
    Erasure(Erasure),
    /// An entry whose content was erased since it was written.
    Erased(ErasedKind),
}

/// The kind of an erased entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasedKind {
    /// An answer that was served.
    Prediction,
    /// The signal of a feedback event: a label, a value, a reward or a named signal.
    Feedback(Tombstone),
    /// Feedback that was resent.
    Duplicate,
}

/// The tombstone of erased feedback: none of its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tombstone {
    /// The position of the order that retracted it; 0 where an older program erased it.
    pub order: u64,
    /// The predictions that it concerned: its subject, and the one that it was preferred over.
    pub predictions: [Option<PredictionId>; 2],
}

impl Tombstone {
    /// The tombstone of feedback that the order at this position retracted.
    pub fn new(order: u64, feedback: &Feedback) -> Tombstone {
        let subject = match feedback.subject {
            Subject::Prediction(id) => Some(id),
            Subject::Inputs { .. } => None,
        };
        let other = match feedback.signal {
            Signal::PreferredOver(other) => Some(other),
            _ => None,
        };
        Tombstone {
            order,
            predictions: [subject, other],
        }
    }
}

/// An event at its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The 1-based number of the entry in its journal.
    pub position: u64,
    /// The journal time of its acceptance.
    pub time: Time,
    /// The event.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_can_be_shown() {
        let check = |us, expected: &str| assert_eq!(Time(us).to_string(), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(1_769_860_800_500_000, "2026-01-31T12:00:00.5Z");
        check(253_402_300_800_000_000, "253402300800000000 us");
        check(i64::MIN, "-9223372036854775808 us");
    }
}
