//! How many calls of a connection ended before they were answered, and how fast.
//!
//! Invariant: short deadlines of one caller end no call of others on its connection; a connection that
//! does nothing but begin calls and take them back is closed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// So many at once are taken.
const BURST: f64 = 20_000.0;
/// So many a second are forgotten.
const PER_SECOND: f64 = 2_000.0;

/// The calls of one connection that ended before they were answered.
#[derive(Debug, Default)]
pub(super) struct Resets {
    /// How many are not forgotten yet, at a moment.
    recent: Mutex<Option<(f64, Instant)>>,
    is_flood: AtomicBool,
}

impl Resets {
    /// One more.
    pub(super) fn add(&self) {
        self.add_at(Instant::now());
    }

    fn add_at(&self, now: Instant) {
        let mut recent = self.recent.lock().expect("nothing panics under it");
        let (before, since) = recent.unwrap_or((0.0, now));
        let forgotten = now.duration_since(since).as_secs_f64() * PER_SECOND;
        let n = (before - forgotten).max(0.0) + 1.0;
        *recent = Some((n, now));
        if n > BURST {
            self.is_flood.store(true, Relaxed);
        }
    }

    /// True if the connection is to be closed.
    pub(super) fn is_flood(&self) -> bool {
        self.is_flood.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `n` calls, evenly over a time.
    fn flood_of(n: u32, over: Duration) -> bool {
        let resets = Resets::default();
        let start = Instant::now();
        for place in 0..n {
            resets.add_at(start + over * place / n);
        }
        resets.is_flood()
    }

    #[test]
    fn p8_short_deadlines_are_no_flood_of_resets() {
        let second = Duration::from_secs(1);
        assert!(!flood_of(20_000, Duration::ZERO), "a burst");
        assert!(
            !flood_of(60_000, 30 * second),
            "all there is, for half a minute"
        );
        assert!(flood_of(22_500, second));
        assert!(flood_of(20_001, Duration::ZERO));
    }
}
