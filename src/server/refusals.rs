//! The refusals of one flow: counted, and logged.
//!
//! Invariant: one line a minute at most, and it holds nothing of what was sent.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::wire::Refusal;

/// Between two lines of one flow.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The refusals of one flow.
#[derive(Debug)]
pub(super) struct Refusals {
    /// The name of the flow in metrics and in the log.
    pub flow: &'static str,
    n: AtomicU64,
    logged: Mutex<Option<Instant>>,
}

impl Refusals {
    pub(super) fn new(flow: &'static str) -> Refusals {
        Refusals {
            flow,
            n: AtomicU64::new(0),
            logged: Mutex::new(None),
        }
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.n.load(Relaxed)
    }

    /// One more.
    pub(super) fn add(&self, refusal: &Refusal) {
        let total = self.n.fetch_add(1, Relaxed) + 1;
        if self.is_time(Instant::now()) {
            let (flow, code, field) = (self.flow, refusal.code, refusal.field);
            tracing::warn!(
                flow,
                ?code,
                field,
                total,
                "refused; this is logged once a minute"
            );
        }
    }

    fn is_time(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().expect("nothing panics under it");
        let is_time = logged.is_none_or(|logged| now.duration_since(logged) >= LOG_EVERY);
        if is_time {
            *logged = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_a_flow_logs_one_refusal_a_minute() {
        let refusals = Refusals::new("feedback");
        let start = Instant::now();
        let is_time = |seconds: u64| refusals.is_time(start + Duration::from_secs(seconds));
        let logged = [0, 1, 59, 60, 61, 119, 120].map(is_time);
        assert_eq!(logged, [true, false, false, true, false, false, true]);
        for _ in 0..3 {
            refusals.add(&Refusal::invalid("label", "so"));
        }
        assert_eq!(refusals.count(), 3);
    }
}
