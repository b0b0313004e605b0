//! The durations of calls.
//!
//! Invariant: memory is fixed; a quantile is at most 3 % above the true one.

use std::time::Duration;

/// Buckets for each factor e of microseconds.
const BUCKETS_PER_E: f64 = 40.0;
/// The buckets of durations of up to an hour.
const N_BUCKETS: usize = 900;

/// Counts of durations, in buckets whose widths grow with them.
pub(crate) struct Latencies {
    counts: Vec<u64>,
}

impl Latencies {
    /// Counts of no durations yet.
    pub(crate) fn new() -> Latencies {
        Latencies {
            counts: vec![0; N_BUCKETS],
        }
    }

    /// Takes in how long a call took.
    pub(crate) fn add(&mut self, duration: Duration) {
        let micros = duration.as_micros().max(1) as f64;
        let bucket = (micros.ln() * BUCKETS_PER_E) as usize;
        self.counts[bucket.min(N_BUCKETS - 1)] += 1;
    }

    /// The duration that this share of the calls stayed below, if there was any.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let n: u64 = self.counts.iter().sum();
        let rank = ((n as f64 * share).ceil() as u64).clamp(1, n.max(1));
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        let micros = ((bucket + 1) as f64 / BUCKETS_PER_E).exp();
        Some(Duration::from_secs_f64(micros * 1e-6))
    }

    /// One line: the median and the slowest hundredth.
    pub(crate) fn line(&self, name: &str) -> String {
        let shown = |share| match self.quantile(share) {
            Some(duration) => format!("{:.2}", duration.as_secs_f64() * 1e3),
            None => "-".to_owned(),
        };
        format!("{name:<28} p50 {} ms, p99 {} ms", shown(0.5), shown(0.99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_and_never_too_small() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.quantile(0.5), None);
        (1..=1000).for_each(|ms| latencies.add(Duration::from_millis(ms)));
        let check = |share: f64, expected_ms: f64| {
            let ms = latencies.quantile(share).unwrap().as_secs_f64() * 1e3;
            assert!(
                (expected_ms..expected_ms * 1.03).contains(&ms),
                "{share}: {ms}"
            );
        };
        check(0.5, 500.0);
        check(0.99, 990.0);
        check(1.0, 1000.0);
    }

    #[test]
    fn extremes_have_a_bucket() {
        let mut latencies = Latencies::new();
        latencies.add(Duration::ZERO);
        latencies.add(Duration::from_secs(1 << 30));
        assert!(latencies.quantile(0.0).unwrap() < Duration::from_micros(2));
        assert!(latencies.quantile(1.0).unwrap() > Duration::from_secs(3600));
    }
}
