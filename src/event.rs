//! Events as values: everything that a journal can hold and a learner can apply.
//!
//! Invariant: a value here is already validated. It knows no wire format, no disk format, no
//! clock and no file; two equal values are the same fact.

mod alarm;
mod batch;
mod feedback;
mod names;
mod order;
mod prediction;
mod records;
mod time;

pub use alarm::{Alarm, Change, WatchedStream};
pub use batch::{Batch, Column};
pub use feedback::{
    BACKFILL_TAG, Decision, Duplicate, ErasedKind, Feedback, Signal, Subject, Tombstone,
};
pub use names::{MalformedAlias, MalformedId, MalformedName, ModelName, PredictionId};
pub use order::{Command, Description, Disposal, NameHash, Order, Retraction, Selector};
pub use prediction::{Outputs, Prediction, value_text};
pub use records::{Erasure, Judgement, OrderRefusal, Reason, Verdict, Version};
pub use time::Time;

pub(crate) use feedback::WEIGHTS;
pub(crate) use names::check_alias;
pub(crate) use prediction::is_single;

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
