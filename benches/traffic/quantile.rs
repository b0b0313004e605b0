//! Quantiles of measured durations.

use std::time::Duration;

/// The duration that this share of the rising ones does not exceed: the nearest rank.
pub(crate) fn quantile(rising: &[Duration], share: f64) -> Duration {
    let rank = (rising.len() as f64 * share).ceil() as usize;
    rising[rank.clamp(1, rising.len()) - 1]
}
