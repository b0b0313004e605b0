//! The conduct of a connection: the calls that it takes back, and the answers that it leaves unread.
//!
//! Invariant: short deadlines of one caller end no call of others on its connection; a connection that
//! does nothing but begin calls and take them back is closed, and so is one that does not read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The number of cancelled calls that are let pass at once.
const BURST: f64 = 20_000.0;
/// The number of cancelled calls that are forgotten in a second.
const PER_SECOND: f64 = 2_000.0;
/// Answers are counted by the periods in which they began: one that is unread for two whole periods is late.
const PERIOD: Duration = Duration::from_secs(30);
/// Periods that are counted apart: a late answer is seen for two minutes and a half, in which a connection is
/// asked at least twice whether it lives.
const PERIODS: usize = 8;
/// Periods, besides the current one, in which an answer that is not read yet may have begun.
const IN_TIME: usize = 2;

/// The conduct of one connection.
#[derive(Debug)]
pub(super) struct Conduct {
    begun: Instant,
    /// The cancelled calls that are not forgotten yet, at a moment.
    taken_back: Mutex<Option<(f64, Instant)>>,
    is_flood: AtomicBool,
    leaves_unread: AtomicBool,
    /// Answers that are not read whole, by the period in which they began.
    unread: [AtomicUsize; PERIODS],
    n_calls: AtomicUsize,
    /// True if a call has begun since this was looked at.
    is_used: AtomicBool,
}

/// The reason why a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConductFault {
    Flood,
    Unread,
}

impl Default for Conduct {
    fn default() -> Conduct {
        Conduct {
            begun: Instant::now(),
            taken_back: Mutex::default(),
            is_flood: AtomicBool::new(false),
            leaves_unread: AtomicBool::new(false),
            unread: Default::default(),
            n_calls: AtomicUsize::new(0),
            is_used: AtomicBool::new(false),
        }
    }
}

impl Conduct {
    /// The reason why the connection is to be closed, if it is.
    pub(super) fn fault(&self) -> Option<ConductFault> {
        if self.is_flood.load(Relaxed) {
            return Some(ConductFault::Flood);
        }
        let has_unread = self.unread.iter().any(|n| n.load(Relaxed) > 0);
        let is_late =
            self.leaves_unread.load(Relaxed) || has_unread && self.is_late(Instant::now());
        is_late.then_some(ConductFault::Unread)
    }

    fn period(&self, now: Instant) -> usize {
        let periods = now.duration_since(self.begun).as_secs() / PERIOD.as_secs();
        periods as usize % PERIODS
    }

    fn is_late(&self, now: Instant) -> bool {
        let now = self.period(now);
        let mut late = (IN_TIME + 1..PERIODS).map(|before| (now + PERIODS - before) % PERIODS);
        late.any(|period| self.unread[period].load(Relaxed) > 0)
    }

    /// An answer begins; it ends by [`Conduct::end_call`] with the returned period.
    pub(super) fn begin_answer(&self) -> usize {
        self.begin_answer_at(Instant::now())
    }

    fn begin_answer_at(&self, now: Instant) -> usize {
        let period = self.period(now);
        self.unread[period].fetch_add(1, Relaxed);
        period
    }

    /// A call begins.
    pub(super) fn begin_call(&self) {
        self.n_calls.fetch_add(1, Relaxed);
        self.is_used.store(true, Relaxed);
    }

    /// A call ends, with an answer that began in this period, if it had one.
    pub(super) fn end_call(&self, answered: Option<usize>) {
        self.n_calls.fetch_sub(1, Relaxed);
        if let Some(period) = answered {
            self.unread[period].fetch_sub(1, Relaxed);
        }
    }

    /// True if there is no call, and none has begun since this was asked before.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_used.swap(false, Relaxed) && self.n_calls.load(Relaxed) == 0
    }

    /// A stream leaves the replies to its messages unread.
    pub(super) fn leave_unread(&self) {
        self.leaves_unread.store(true, Relaxed);
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
        conduct.fault() == Some(ConductFault::Flood)
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
    fn p8_an_answer_is_read_within_a_minute_or_two_periods() {
        let conduct = Conduct::default();
        let at = |seconds: u64| conduct.begun + Duration::from_secs(seconds);
        let answer = |seconds: u64| {
            conduct.begin_call();
            conduct.begin_answer_at(at(seconds))
        };
        let (first, second, third) = (answer(0), answer(29), answer(45));
        assert!(!conduct.is_late(at(89)));
        assert!(conduct.is_late(at(90)));
        assert!(conduct.is_late(at(239)));
        conduct.end_call(Some(first));
        assert!(conduct.is_late(at(90)));
        conduct.end_call(Some(second));
        assert!(!conduct.is_late(at(119)));
        assert!(conduct.is_late(at(120)));
        assert!(!conduct.is_idle());
        assert!(!conduct.is_idle(), "one is open");
        conduct.end_call(Some(third));
        assert!(!conduct.is_late(at(10_000)));
        assert_eq!(conduct.fault(), None);
        assert!(conduct.is_idle());
        conduct.leave_unread();
        assert_eq!(conduct.fault(), Some(ConductFault::Unread));
    }
}
