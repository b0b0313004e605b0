//! Counts and ids of the stream: fates, sources, feedback ids, scores and older labels.

pub(crate) mod budgets;
pub(crate) mod evaluate;
pub(crate) mod feedback_ids;
pub(crate) mod ledger;
pub(crate) mod places;
pub(crate) mod quarantine;
mod robust_range;
pub(in crate::learn) mod saved;
pub(crate) mod sources;
