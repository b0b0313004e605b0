//! The number and the format version of each kind of entry.
//!
//! Invariant: a number that a released version wrote is never given to another kind.

use crate::event::{
    ErasedKind, Event, Feedback, Order, Outputs, Prediction, Reason, Version, is_single,
};

/// The newest format version of a kind.
pub(super) fn newest_format(kind: u8) -> u8 {
    match kind {
        2 | 16 => 4,
        5 => 4,
        3 => 3,
        _ => 1,
    }
}

/// The format version in which [`encode`](super::encode()) writes an event: the oldest that can.
pub(in crate::store) fn format(event: &Event) -> u8 {
    match event {
        Event::Prediction(prediction) => format_of_prediction(prediction),
        Event::Feedback(feedback) => format_of_feedback(feedback),
        Event::Command(command) => format_of_order(&command.order),
        Event::Version(version) => format_of_version(version),
        _ => 1,
    }
}

/// The format version of a prediction: 2 has labels, 3 an answer that costs decide and 4 values of 64 bits,
/// with labels or none.
pub(super) fn format_of_prediction(prediction: &Prediction) -> u8 {
    match &prediction.outputs {
        Outputs::Decisions { .. } => 3,
        Outputs::Values(values) if !are_single(values) => 4,
        _ if !prediction.labels.is_empty() => 2,
        _ => 1,
    }
}

/// The format version of feedback: 2 has a weight and a comment, 3 is of a sender who may correct others as
/// well.
pub(super) fn format_of_feedback(feedback: &Feedback) -> u8 {
    match (feedback.weight == 1.0, feedback.comment.is_empty()) {
        _ if feedback.may_correct => 3,
        (true, true) => 1,
        _ => 2,
    }
}

/// True if 32 bits hold every value to the bit.
pub(super) fn are_single(values: &[f64]) -> bool {
    values.iter().all(|value| is_single(*value))
}

/// The format version of a command: 2 may be of the gate, 3 of retraining, 4 of quarantine and of aliases.
fn format_of_order(order: &Order) -> u8 {
    match order {
        _ if order.is_of_quarantine() || order.is_of_aliases() => 4,
        Order::Retrain { .. } => 3,
        _ if order.is_note_of_retraining() => 3,
        _ if order.is_of_gate() => 2,
        _ => 1,
    }
}

/// The format version of a version: 2 has the digest of its tallies, 3 may be made by the gate, 4 by
/// retraining or as a champion.
pub(super) fn format_of_version(version: &Version) -> u8 {
    match version.reason {
        Reason::Retrain | Reason::Champion => 4,
        Reason::Contender | Reason::Rewind => 3,
        _ if version.tallies.is_some() => 2,
        _ => 1,
    }
}

/// The number of an event's kind.
pub(in crate::store) fn kind(event: &Event) -> u8 {
    match event {
        Event::Description(_) => 1,
        Event::Prediction(_) => 2,
        Event::Feedback(_) => 3,
        Event::Duplicate(_) => 4,
        Event::Command(_) => 5,
        Event::Tick(_) => 6,
        Event::Version(_) => 16,
        Event::Verdict(_) => 17,
        Event::Drift(_) => 18,
        Event::Refusal(_) => 20,
        Event::Erasure(_) => 21,
        Event::Erased(ErasedKind::Prediction) => 2,
        Event::Erased(ErasedKind::Feedback(_)) => 3,
        Event::Erased(ErasedKind::Duplicate) => 4,
    }
}
