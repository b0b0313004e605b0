//! Progress of a served model: its synced position, the positions awaited, the times due.
//!
//! Invariant: the synced position never goes back, and no entry behind it is applied.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::engine::host::awaited::{AwaitedPosition, AwaitedPositions};

/// Positions and due times of one model, for every thread.
#[derive(Debug)]
pub(crate) struct JournalProgress {
    synced: AtomicU64,
    /// The last position that was appended; behind it nothing is synced.
    appended: AtomicU64,
    awaited: AwaitedPositions,
    /// The next tick in microseconds since the Unix epoch, in journal time; `i64::MAX` where none is due.
    next_tick: AtomicI64,
    /// The next review of retention, in microseconds of the monotonic clock.
    next_retention: AtomicI64,
}

impl JournalProgress {
    /// The progress of a journal without synced entries; `next_tick` as in [`JournalProgress::next_tick`].
    pub(crate) fn new(next_tick: i64) -> JournalProgress {
        JournalProgress {
            synced: AtomicU64::new(0),
            appended: AtomicU64::new(0),
            awaited: AwaitedPositions::default(),
            next_tick: AtomicI64::new(next_tick),
            next_retention: AtomicI64::new(i64::MIN),
        }
    }

    /// The last position on disk.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Relaxed)
    }

    /// The journal is on disk up to this position.
    pub(crate) fn set_synced(&self, position: u64) {
        self.synced.fetch_max(position, Relaxed);
    }

    /// The journal has entries up to this position, on disk or on their way.
    pub(crate) fn set_appended(&self, position: u64) {
        self.appended.store(position, Relaxed);
    }

    /// The number of entries, on disk or on their way, behind the position that is served.
    pub(crate) fn backlog(&self, served: u64) -> u64 {
        let last = self.appended.load(Relaxed).max(self.synced());
        last.saturating_sub(served)
    }

    /// The number of entries on disk behind the position that is served.
    pub(crate) fn lag(&self, served: u64) -> u64 {
        self.synced().saturating_sub(served)
    }

    /// A request waits for the position as long as the waiter lives.
    pub(crate) fn wait(&self, position: u64) -> AwaitedPosition<'_> {
        self.awaited.wait(position)
    }

    /// True if a request waits for a position behind `published`, up to and with `reached`.
    pub(crate) fn is_awaited(&self, published: u64, reached: u64) -> bool {
        self.awaited.any(published, reached)
    }

    /// The time at which the learner's next tick is due, in microseconds since the Unix epoch; `i64::MAX`
    /// where none is.
    pub(crate) fn next_tick(&self) -> i64 {
        self.next_tick.load(Relaxed)
    }

    pub(crate) fn set_next_tick(&self, time_us: i64) {
        self.next_tick.store(time_us, Relaxed);
    }

    /// True if retention is due, by the monotonic clock.
    pub(crate) fn is_retention_due(&self, monotonic_us: i64) -> bool {
        monotonic_us >= self.next_retention.load(Relaxed)
    }

    /// Retention is due from this moment of the monotonic clock on.
    pub(crate) fn set_next_retention(&self, monotonic_us: i64) {
        self.next_retention.store(monotonic_us, Relaxed);
    }
}
