//! The bounds of a model, and the refusals counted at each.
//!
//! Invariant: a bound at which anything was refused between two checks is reached at the later one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::model::JournalLimits;
use crate::store::ids;

/// Messages of a group at most: the entries between two syncs of a journal.
pub(crate) const GROUP_MAX: usize = 4096;

/// How near a bound is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Far away.
    #[default]
    Ample,
    /// The bound will be reached at this rate.
    Near,
    /// Something gives way, or is refused.
    Reached,
}

impl Level {
    const ALL: [Level; 3] = [Level::Ample, Level::Near, Level::Reached];

    /// The word for it, on the wire and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Level::Ample => "ample",
            Level::Near => "near",
            Level::Reached => "reached",
        }
    }
}

/// One bound of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bound {
    /// Its name.
    pub name: &'static str,
    /// The used part, as a fraction.
    pub used: f64,
    /// The level of the used part.
    pub level: Level,
    /// The consequence of reaching it, and the remedy.
    pub advice: String,
}

/// The bounds, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoundKind {
    /// Bytes of the journal that predictions may fill.
    PredictionBytes,
    /// Bytes of the journal that feedback may fill.
    FeedbackBytes,
    /// Bytes of the journal that are kept for orders.
    OrderBytes,
    /// Feedback ids that are known for a day.
    FeedbackIds,
    /// Ids of declared backfills, which are known for as long as their entries are retained.
    BackfillIds,
    /// Entries that the learner is behind.
    Lag,
    /// Predictions that wait for feedback.
    WaitingPredictions,
    /// The writer's queue.
    WriteQueue,
    /// The distance of the machine's clock from that of the journal, in days.
    Clock,
    /// Descriptors and room that the learner reads with and the next segment of the journal needs.
    Descriptors,
    /// The budget of the source that has spent the most of its own.
    SourceBudget,
    /// Feedback that waits for a person.
    Quarantine,
}

impl BoundKind {
    pub(crate) const ALL: [BoundKind; 12] = [
        BoundKind::PredictionBytes,
        BoundKind::FeedbackBytes,
        BoundKind::OrderBytes,
        BoundKind::FeedbackIds,
        BoundKind::BackfillIds,
        BoundKind::Lag,
        BoundKind::WaitingPredictions,
        BoundKind::WriteQueue,
        BoundKind::Clock,
        BoundKind::Descriptors,
        BoundKind::SourceBudget,
        BoundKind::Quarantine,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            BoundKind::PredictionBytes => "prediction_bytes",
            BoundKind::FeedbackBytes => "feedback_bytes",
            BoundKind::OrderBytes => "order_bytes",
            BoundKind::FeedbackIds => "feedback_ids",
            BoundKind::BackfillIds => "backfill_ids",
            BoundKind::Lag => "lag",
            BoundKind::WaitingPredictions => "waiting_predictions",
            BoundKind::WriteQueue => "write_queue",
            BoundKind::Clock => "clock",
            BoundKind::Descriptors => "descriptors",
            BoundKind::SourceBudget => "source_budget",
            BoundKind::Quarantine => "quarantine",
        }
    }

    /// The level of a bound of which this fraction is used.
    pub(crate) fn level(self, used: f64) -> Level {
        match used {
            used if used >= 1.0 => Level::Reached,
            used if used >= self.near() => Level::Near,
            _ => Level::Ample,
        }
    }

    /// The fraction from which on the bound is near. A journal that is shortened for room stays close to it;
    /// of ids one source alone takes half.
    fn near(self) -> f64 {
        match self {
            BoundKind::PredictionBytes | BoundKind::FeedbackBytes => 0.97,
            BoundKind::FeedbackIds => 0.4,
            BoundKind::WaitingPredictions
            | BoundKind::BackfillIds
            | BoundKind::SourceBudget
            | BoundKind::Quarantine => 0.9,
            BoundKind::OrderBytes
            | BoundKind::Lag
            | BoundKind::WriteQueue
            | BoundKind::Clock
            | BoundKind::Descriptors => 0.5,
        }
    }
}

/// The refusals at each bound, and its level at the newest check.
#[derive(Default)]
pub(crate) struct BoundCounts {
    refused: [AtomicU64; BoundKind::ALL.len()],
    /// The refusals that the newest check has seen.
    checked: [AtomicU64; BoundKind::ALL.len()],
    levels: [AtomicUsize; BoundKind::ALL.len()],
}

impl BoundCounts {
    /// Something was refused, or gave way, at a bound.
    pub(crate) fn count(&self, kind: BoundKind) {
        self.refused[kind as usize].fetch_add(1, Relaxed);
    }

    /// The level at the newest check.
    pub(crate) fn level(&self, kind: BoundKind) -> Level {
        Level::ALL[self.levels[kind as usize].load(Relaxed)]
    }

    /// Checks a bound of which this fraction is used: gives its level before, and now.
    pub(crate) fn check(&self, kind: BoundKind, used: f64) -> (Level, Level) {
        let refused = self.refused[kind as usize].load(Relaxed);
        let now = if refused > self.checked[kind as usize].swap(refused, Relaxed) {
            Level::Reached
        } else {
            kind.level(used)
        };
        let before = self.levels[kind as usize].swap(now as usize, Relaxed);
        (Level::ALL[before], now)
    }
}

/// The bounds of a journal's feedback ids.
pub(crate) fn ids_bounds(limits: &JournalLimits) -> ids::IdBounds {
    ids::IdBounds {
        memory_max: limits.ids_max,
        bytes_max: limits.ids_bytes_max,
        group_max: GROUP_MAX,
    }
}

/// The sentence about ids that the disk refuses, with its error.
pub(crate) fn unwritten_ids(n_ids: usize, why: &str) -> String {
    format!(
        "{n_ids} feedback ids are not written: {why}; it is tried again: see to room on the disk"
    )
}
