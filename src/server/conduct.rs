//! How a connection behaves: the calls that it takes back, and the answers that it leaves unread.
//!
//! Invariant: short deadlines of one caller end no call of others on its connection; a connection that
//! does nothing but begin calls and take them back is closed, and so is one that does not read.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// So many calls that are taken back at once are let pass.
const BURST: f64 = 20_000.0;
/// So many a second are forgotten.
const PER_SECOND: f64 = 2_000.0;
/// How long a large answer may take to be read.
const UNREAD_MAX: Duration = Duration::from_secs(60);

/// The conduct of one connection.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// How many calls that were taken back are not forgotten yet, at a moment.
    taken_back: Mutex<Option<(f64, Instant)>>,
    is_flood: AtomicBool,
    /// When each large answer that is not read whole was given, with its number.
    unread: Mutex<BTreeSet<(Instant, u64)>>,
    n_unread: AtomicUsize,
    n_answers: AtomicU64,
}

impl Conduct {
    /// True if the connection is to be closed.
    pub(super) fn is_bad(&self) -> bool {
        self.is_flood.load(Relaxed)
            || self.n_unread.load(Relaxed) > 0 && self.is_late(Instant::now())
    }

    fn is_late(&self, now: Instant) -> bool {
        let unread = self.unread.lock().expect("nothing panics under it");
        let oldest = unread.first();
        oldest.is_some_and(|(since, _)| now.duration_since(*since) > UNREAD_MAX)
    }

    /// A large answer begins; it is read once the returned value is dropped.
    pub(super) fn answer(self: &Arc<Conduct>) -> Unread {
        self.answer_at(Instant::now())
    }

    fn answer_at(self: &Arc<Conduct>, now: Instant) -> Unread {
        let key = (now, self.n_answers.fetch_add(1, Relaxed));
        let mut unread = self.unread.lock().expect("nothing panics under it");
        unread.insert(key);
        self.n_unread.store(unread.len(), Relaxed);
        drop(unread);
        let conduct = self.clone();
        Unread { conduct, key }
    }

    /// A call was taken back before it was answered.
    pub(super) fn take_back(&self) {
        self.take_back_at(Instant::now());
    }

    fn take_back_at(&self, now: Instant) {
        let mut recent = self.taken_back.lock().expect("nothing panics under it");
        let (before, since) = recent.unwrap_or((0.0, now));
        let forgotten = now.duration_since(since).as_secs_f64() * PER_SECOND;
        let n = (before - forgotten).max(0.0) + 1.0;
        *recent = Some((n, now));
        if n > BURST {
            self.is_flood.store(true, Relaxed);
        }
    }
}

/// A large answer, for as long as it is not read whole.
#[derive(Debug)]
pub(super) struct Unread {
    conduct: Arc<Conduct>,
    key: (Instant, u64),
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Ok(mut unread) = self.conduct.unread.lock() {
            unread.remove(&self.key);
            self.conduct.n_unread.store(unread.len(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` calls, evenly over a time.
    fn flood_of(n: u32, over: Duration) -> bool {
        let conduct = Conduct::default();
        let start = Instant::now();
        for place in 0..n {
            conduct.take_back_at(start + over * place / n);
        }
        conduct.is_bad()
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

    #[test]
    fn p8_an_answer_is_read_within_a_minute() {
        let conduct = Arc::new(Conduct::default());
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let (first, second) = (conduct.answer_at(at(0)), conduct.answer_at(at(0)));
        let third = conduct.answer_at(at(30));
        assert!(!conduct.is_late(at(60)));
        assert!(conduct.is_late(at(61)));
        drop((first, second));
        assert!(!conduct.is_late(at(90)));
        assert!(conduct.is_late(at(91)));
        drop(third);
        assert!(!conduct.is_late(at(10_000)));
        assert!(!conduct.is_bad());
    }
}
