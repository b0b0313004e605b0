//! The rate of a line of the log that strangers can cause.
//!
//! Invariant: one line a minute at most.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The time between two lines.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The time at which a line was logged last.
#[derive(Debug, Default)]
pub(super) struct LogRate(Mutex<Option<Instant>>);

impl LogRate {
    /// True if it is time for the next line, which then counts as logged.
    pub(super) fn is_time(&self) -> bool {
        self.is_time_at(Instant::now())
    }

    fn is_time_at(&self, now: Instant) -> bool {
        let mut logged = self.0.lock().expect("nothing panics under it");
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
    fn p8_a_line_is_logged_once_a_minute() {
        let rate = LogRate::default();
        let start = Instant::now();
        let is_time = |seconds: u64| rate.is_time_at(start + Duration::from_secs(seconds));
        let logged = [0, 1, 59, 60, 61, 119, 120].map(is_time);
        assert_eq!(logged, [true, false, false, true, false, false, true]);
    }
}
