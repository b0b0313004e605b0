//! Journal time: the time that the entries of one journal carry, and the ids of its predictions.
//!
//! Invariant: it never goes back, and no reading of the wall clock moves it far. It advances by
//! the monotonic clock, a tenth faster while the wall clock is ahead of it and at half speed while
//! the wall clock is behind, until both agree. Only a start takes over the wall clock at once: up
//! to a day ahead of the last entry, further after an hour in which it stays there, or by order.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::Time;

/// The largest lead of a believed wall clock over the last entry at a start, in microseconds.
const BELIEVED_US: i64 = 24 * 3600 * 1_000_000;
/// The time for which a clock that is further ahead has to stay there, in microseconds.
const DOUBT_US: i64 = 3600 * 1_000_000;
/// Journal time is kept in parts of a microsecond, so that slow corrections add up exactly.
const PARTS: i128 = 20;

/// Both clocks of a machine, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall clock of the machine; it may jump either way.
    pub wall: Time,
    /// Microseconds since some moment; it never goes back, and goes on while the machine sleeps.
    pub monotonic_us: i64,
}

impl ClockReading {
    /// Two clocks that agree, for tests.
    pub fn agreed(us: i64) -> ClockReading {
        ClockReading {
            wall: Time(us),
            monotonic_us: us,
        }
    }
}

type Simulation = dyn Fn() -> ClockReading + Send + Sync;

/// The clocks of this machine, or simulated ones.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Simulation>>);

impl Clock {
    /// The clocks of this machine.
    pub(crate) const SYSTEM: Clock = Clock(None);

    /// Clocks for tests.
    pub fn simulated(read: impl Fn() -> ClockReading + Send + Sync + 'static) -> Clock {
        Clock(Some(Arc::new(read)))
    }

    pub(crate) fn read(&self) -> ClockReading {
        if let Some(read) = &self.0 {
            return read();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        ClockReading {
            wall: Time(since.map_or(0, |since| since.as_micros() as i64)),
            monotonic_us: monotonic_us(),
        }
    }
}

#[cfg(target_os = "linux")]
fn monotonic_us() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live value.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    debug_assert_eq!(status, 0, "it fails only for a bad pointer or clock");
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

#[cfg(not(target_os = "linux"))]
fn monotonic_us() -> i64 {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as i64
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "Clock",
            Some(_) => "Clock, simulated",
        })
    }
}

/// The trust in a wall clock that is far ahead of the last entry at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WallClock {
    /// The time is believed after an hour in which it stays there.
    #[default]
    Checked,
    /// The time is believed at once: an operator has confirmed it.
    Believed,
}

/// The time of one journal, for every thread.
#[derive(Debug)]
pub(crate) struct JournalClock {
    clock: Clock,
    state: Mutex<ClockState>,
}

/// Journal time as of the last reading.
#[derive(Clone, Copy, Debug)]
struct ClockState {
    /// The current time, in parts of a microsecond.
    now: i128,
    monotonic_us: i64,
    /// Since when a wall clock far ahead has been doubted, if it is.
    doubted_since: Option<i64>,
}

impl JournalClock {
    /// Goes on after the last entry; a journal without one starts with the wall clock.
    pub(crate) fn start(clock: &Clock, last: Option<Time>, wall_clock: WallClock) -> JournalClock {
        let reading = clock.read();
        let wall = reading.wall.0;
        let last = last.map_or(wall, |last| last.0);
        let far = wall.saturating_sub(last) > BELIEVED_US;
        let doubted = far && wall_clock == WallClock::Checked;
        let now = if doubted { last } else { wall.max(last) };
        JournalClock {
            clock: clock.clone(),
            state: Mutex::new(ClockState {
                now: i128::from(now) * PARTS,
                monotonic_us: reading.monotonic_us,
                doubted_since: doubted.then_some(reading.monotonic_us),
            }),
        }
    }

    /// Journal time, now.
    pub(crate) fn now(&self) -> Time {
        self.look().0
    }

    /// The monotonic clock, in microseconds.
    pub(crate) fn monotonic_us(&self) -> i64 {
        self.clock.read().monotonic_us
    }

    /// Journal time and the wall clock.
    pub(crate) fn both(&self) -> (Time, Time) {
        let (now, wall, _) = self.look();
        (now, wall)
    }

    /// The lead of the wall clock over journal time, in microseconds, and whether it is doubted.
    pub(crate) fn offset(&self) -> (i64, bool) {
        let (now, wall, doubted) = self.look();
        (wall.0.saturating_sub(now.0), doubted)
    }

    fn look(&self) -> (Time, Time, bool) {
        // A reading is whole or not there, whichever thread panicked.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = self.clock.read();
        state.advance(reading);
        let now = (state.now / PARTS) as i64;
        (Time(now), reading.wall, state.doubted_since.is_some())
    }
}

impl ClockState {
    fn advance(&mut self, reading: ClockReading) {
        let elapsed = reading
            .monotonic_us
            .saturating_sub(self.monotonic_us)
            .max(0);
        self.monotonic_us += elapsed;
        let passed = i128::from(elapsed) * PARTS;
        let wall = i128::from(reading.wall.0) * PARTS;
        let even = self.now + passed;
        if let Some(since) = self.doubted_since {
            let agrees = wall - even <= i128::from(BELIEVED_US) * PARTS;
            if agrees || self.monotonic_us - since >= DOUBT_US {
                self.doubted_since = None;
                self.now = even.max(wall);
            } else {
                self.now = even;
            }
            return;
        }
        self.now = if wall >= even {
            wall.min(even + passed / 10)
        } else {
            wall.max(self.now + passed / 2)
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3600 * SECOND;
    const DAY: i64 = 24 * HOUR;
    const START: i64 = 1_700_000_000 * SECOND;

    /// Clocks that a test moves.
    #[derive(Clone, Default)]
    struct ManualClock(Arc<[AtomicI64; 2]>);

    impl ManualClock {
        fn new() -> (ManualClock, Clock) {
            let manual = ManualClock::default();
            manual.jump(START);
            let (one, other) = (manual.clone(), manual.clone());
            let clock = Clock::simulated(move || ClockReading {
                wall: Time(one.0[0].load(Relaxed)),
                monotonic_us: one.0[1].load(Relaxed),
            });
            (other, clock)
        }

        fn jump(&self, us: i64) {
            self.0[0].fetch_add(us, Relaxed);
        }

        fn pass(&self, us: i64) {
            self.jump(us);
            self.0[1].fetch_add(us, Relaxed);
        }
    }

    fn start(clock: &Clock, last: i64) -> JournalClock {
        JournalClock::start(clock, Some(Time(last)), WallClock::Checked)
    }

    #[test]
    fn a_wall_clock_that_jumps_moves_journal_time_by_a_tenth_of_what_passes() {
        let (manual, clock) = ManualClock::new();
        let journal = start(&clock, START);
        manual.jump(DAY);
        manual.pass(SECOND);
        assert_eq!(journal.now().0, START + SECOND + SECOND / 10);
        manual.jump(-DAY);
        // A tenth of a second ahead: at half speed it is caught up with after a fifth.
        manual.pass(SECOND / 10);
        assert_eq!(journal.now().0, START + SECOND + SECOND * 3 / 20);
        manual.pass(HOUR);
        assert_eq!(journal.offset(), (0, false));
        manual.jump(-40 * DAY);
        let before = journal.now().0;
        for _ in 0..1000 {
            manual.pass(7);
            journal.now();
        }
        assert_eq!(journal.now().0 - before, 3500);
    }

    #[test]
    fn a_start_takes_over_a_wall_clock_that_is_a_day_ahead_at_most() {
        let (manual, clock) = ManualClock::new();
        assert_eq!(start(&clock, START - DAY).now().0, START);
        let fresh = JournalClock::start(&clock, None, WallClock::Checked);
        assert_eq!(fresh.now().0, START);
        let last = START - 60 * DAY;
        let believed = JournalClock::start(&clock, Some(Time(last)), WallClock::Believed);
        assert_eq!(believed.now().0, START);
        let doubting = start(&clock, last);
        assert_eq!(doubting.offset(), (60 * DAY, true));
        manual.pass(HOUR - 1);
        assert_eq!(doubting.now().0, last + HOUR - 1);
        manual.pass(1);
        assert_eq!(doubting.offset(), (0, false));
    }

    #[test]
    fn a_year_that_was_never_true_is_not_believed() {
        let (manual, clock) = ManualClock::new();
        manual.jump(365 * DAY);
        let mut last = START;
        // Each start doubts it afresh.
        for _ in 0..3 {
            let journal = start(&clock, last);
            manual.pass(HOUR / 2);
            last = journal.now().0;
        }
        assert_eq!(last, START + 3 * HOUR / 2);
        let journal = start(&clock, last);
        manual.jump(-365 * DAY);
        assert_eq!(journal.offset(), (0, false));
    }

    #[test]
    fn behind_the_last_entry_time_goes_on_at_half_speed_until_it_is_caught_up_with() {
        let (manual, clock) = ManualClock::new();
        let journal = start(&clock, START + DAY);
        manual.pass(DAY);
        assert_eq!(journal.now().0, START + DAY + DAY / 2);
        manual.pass(DAY);
        assert_eq!(journal.now().0, START + 2 * DAY);
        manual.pass(DAY);
        assert_eq!(journal.now().0, START + 3 * DAY);
    }
}
