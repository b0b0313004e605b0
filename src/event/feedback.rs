//! Feedback as it was accepted, and the tombstone of feedback whose content was erased.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::batch::Batch;
use super::names::PredictionId;
use super::time::Time;

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
    /// The tags, for slices of metrics.
    pub tags: BTreeMap<String, String>,
    /// The sender: without authentication, the address of the client.
    pub actor: String,
    /// The weight of its example beside one of weight 1: 0.001 to 1,000.
    pub weight: f64,
    /// The sender's own words, which nothing reads; may be empty.
    pub comment: String,
    /// True if its sender has the right to review: its labels supersede those of every source.
    pub may_correct: bool,
}

/// The weights that an event can have; a description may allow less.
pub(crate) const WEIGHTS: RangeInclusive<f64> = 0.001..=1000.0;

/// The age of an event that is of the present at most, in microseconds.
const PRESENT_US: i64 = 24 * 3600 * 1_000_000;

/// The tag that holds the name of the backfill which an event belongs to.
pub const BACKFILL_TAG: &str = "backfill";

impl Feedback {
    /// The name of the declared backfill that it belongs to: its id is known for as long as its entry
    /// is retained.
    pub fn backfill(&self) -> Option<&str> {
        self.tags.get(BACKFILL_TAG).map(String::as_str)
    }

    /// True if the event happened more than a day before it was accepted: it is no evidence about the
    /// present, and only a backfill may bring it.
    pub(crate) fn is_past(&self, accepted: Time) -> bool {
        let happened = self.event_time.unwrap_or(accepted);
        accepted.0.saturating_sub(happened.0) > PRESENT_US
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
