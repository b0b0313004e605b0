//! Sizes and counts of one journal, as its writer notes them.
//!
//! Invariant: a prediction that is let in counts here at every moment, among the promised bytes
//! until it is a part of the journal's.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::engine::compute::histogram::{Histogram, HistogramCounts};

/// The numbers of one journal, for every thread.
#[derive(Debug, Default)]
pub(crate) struct JournalMetrics {
    bytes: AtomicU64,
    /// Bytes of predictions on their way to the journal.
    promised_bytes: AtomicU64,
    n_ids: AtomicU64,
    n_unwritten_ids: AtomicU64,
    n_backfill_ids: AtomicU64,
    /// The position of the oldest event whose id is remembered.
    oldest_id: AtomicU64,
    n_unjournaled: AtomicU64,
    group_entries: Histogram,
    sync_us: Histogram,
}

impl JournalMetrics {
    /// The size of the journal, with the entries that are only appended.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }

    /// Promises room for a prediction, where the journal has no more than `bytes_max` with it;
    /// whether it does.
    pub(crate) fn promise(&self, bytes: u64, bytes_max: u64) -> bool {
        // First, so that a request at the same time sees it.
        let promised = self.promised_bytes.fetch_add(bytes, Relaxed) + bytes;
        let fits = self.bytes() + promised <= bytes_max;
        if !fits {
            self.end_promise(bytes);
        }
        fits
    }

    /// A promised prediction is in the journal, or will not be.
    pub(crate) fn end_promise(&self, bytes: u64) {
        self.promised_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Feedback ids that are remembered.
    pub(crate) fn n_ids(&self) -> u64 {
        self.n_ids.load(Relaxed)
    }

    /// The position of the oldest event whose id is remembered; `u64::MAX` where none is.
    pub(crate) fn oldest_id(&self) -> u64 {
        self.oldest_id.load(Relaxed)
    }

    pub(crate) fn set_ids(&self, n_ids: u64, oldest: Option<u64>) {
        self.n_ids.store(n_ids, Relaxed);
        self.oldest_id.store(oldest.unwrap_or(u64::MAX), Relaxed);
    }

    /// Of the feedback ids: those that are not on disk.
    pub(crate) fn n_unwritten_ids(&self) -> u64 {
        self.n_unwritten_ids.load(Relaxed)
    }

    pub(crate) fn set_unwritten_ids(&self, n_ids: u64) {
        self.n_unwritten_ids.store(n_ids, Relaxed);
    }

    /// Ids of backfills that are remembered.
    pub(crate) fn n_backfill_ids(&self) -> u64 {
        self.n_backfill_ids.load(Relaxed)
    }

    pub(crate) fn set_backfill_ids(&self, n_ids: u64) {
        self.n_backfill_ids.store(n_ids, Relaxed);
    }

    /// Predictions answered without an entry.
    pub(crate) fn n_unjournaled(&self) -> u64 {
        self.n_unjournaled.load(Relaxed)
    }

    pub(crate) fn count_unjournaled(&self) {
        self.n_unjournaled.fetch_add(1, Relaxed);
    }

    /// A sync of so many entries took so long.
    pub(crate) fn count_sync(&self, n_entries: u64, took: Duration) {
        self.sync_us.add(took.as_micros() as u64);
        self.group_entries.add(n_entries);
    }

    /// Entries of each synced group.
    pub(crate) fn group_entries(&self) -> HistogramCounts {
        self.group_entries.counts()
    }

    /// The duration of each sync, in microseconds.
    pub(crate) fn sync_us(&self) -> HistogramCounts {
        self.sync_us.counts()
    }
}
