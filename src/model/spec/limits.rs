//! The cadence of versions, and the bounds of a journal.
//!
//! Invariant: predictions stop to be journaled before feedback is refused, and feedback before
//! orders.

use serde::Deserialize;

/// The cadence of versions that are made without an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Cadence {
    /// A version each time so many examples were learned.
    pub examples: u64,
    /// The number of kept versions of this cadence; the oldest go first.
    pub keep: usize,
}

/// The bounds of a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalLimits {
    /// The size that nothing but ticks and records of versions may pass.
    pub bytes_max: u64,
    /// Bytes of it that are kept for feedback: predictions are not journaled in them.
    pub reserve: u64,
    /// Predictions older than this take no feedback any more, and the segments that hold nothing
    /// younger go.
    pub age_max_s: u64,
    /// The time for which the journal keeps the entries that retractions need.
    pub retract_within_s: u64,
    /// Entries that the learner may be behind before feedback is refused.
    pub lag_max: u64,
    /// Feedback ids that lie in memory, of those that are known for a day to recognise a resent
    /// event; the others lie on disk. Under the first revision of the rules there are no others.
    pub ids_max: usize,
    /// Bytes of feedback ids on disk; a source may take at most as much as is free.
    pub ids_bytes_max: u64,
    /// Bytes of ids of declared backfills, which are known for as long as their entries are retained.
    pub backfill_bytes_max: u64,
}

impl JournalLimits {
    /// Bytes that are kept for orders, ticks and records of versions.
    fn orders_reserve(&self) -> u64 {
        (self.bytes_max / 64).min(16 << 20)
    }

    /// At this size orders are refused, but those that change these limits.
    pub(crate) fn order_bytes_max(&self) -> u64 {
        self.bytes_max - self.orders_reserve() / 4
    }

    /// At this size feedback is refused.
    pub(crate) fn feedback_bytes_max(&self) -> u64 {
        self.bytes_max - self.orders_reserve()
    }

    /// The size at which predictions are answered without an id.
    pub(crate) fn prediction_bytes_max(&self) -> u64 {
        self.feedback_bytes_max() - self.reserve
    }

    /// The entries behind the learner beyond which predictions are answered without an id: further ones are
    /// kept for feedback.
    pub(crate) fn prediction_lag_max(&self) -> u64 {
        (self.lag_max - self.lag_max / 4).max(1)
    }

    /// The length of a segment: room is given back by whole segments.
    pub fn segment_bytes(&self) -> u64 {
        (self.bytes_max / 16).min(64 << 20)
    }
}

/// The limits that were ordered; the others are those of `[journal]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderedLimits {
    /// The value in place of `journal.bytes_max`, with its unit.
    pub bytes_max: Option<String>,
    /// The value in place of `journal.retract_within`, with its unit.
    pub retract_within: Option<String>,
}
