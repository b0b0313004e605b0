//! Histograms: counts of values by size, for metrics of the journal.
//!
//! Invariant: bounds double, so that a few numbers show both the usual value and the rare one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bounds at most; the last counts everything larger.
const BOUNDS: usize = 26;

/// Values counted by size, by any number of threads.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS],
    sum: AtomicU64,
}

/// Counts of values of at most 1, 2, 4, ... 2^24, and larger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramCounts {
    /// The counts of each bound; not summed up.
    pub counts: [u64; BOUNDS],
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Counts a value.
    pub(crate) fn add(&self, value: u64) {
        let bound = value.max(1).next_power_of_two().trailing_zeros() as usize;
        self.counts[bound.min(BOUNDS - 1)].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> HistogramCounts {
        HistogramCounts {
            counts: std::array::from_fn(|bound| self.counts[bound].load(Relaxed)),
            sum: self.sum.load(Relaxed),
        }
    }
}

impl HistogramCounts {
    /// The number of counted values.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Bounds, each with the number of values up to it; the last bound is left out.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut passed = 0;
        let bounds = self.counts[..BOUNDS - 1].iter().enumerate();
        bounds.map(move |(bound, count)| {
            passed += count;
            (1 << bound, passed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_their_next_power_of_two() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 5, 1 << 40] {
            histogram.add(value);
        }
        let counts = histogram.counts();
        assert_eq!(counts.counts[..4], [2, 1, 2, 1]);
        assert_eq!(counts.counts[BOUNDS - 1], 1);
        assert_eq!((counts.total(), counts.sum), (7, 15 + (1 << 40)));
        let cumulative: Vec<_> = counts.cumulative().take(4).collect();
        assert_eq!(cumulative, [(1, 2), (2, 3), (4, 5), (8, 6)]);
    }
}
