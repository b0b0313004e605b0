//! A pass over the journal: its entries, one after the other.
//!
//! Invariant: every loop over entries goes through here and counts them, but for those of learners and of
//! checks. A rebuild counts the entries that its learner applies, and `Offline` those of the check when a
//! journal is opened; a follower's are counted nowhere, nor is the single entry that a learner looks up.
//! So a test can count how often a journal is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::engine::compute::retry::ShortageRetry;
use crate::engine::versions::saved::Versions;
use crate::event::{Entry, Event};
use crate::store::{Error, Reader, segments};

/// A reading of one journal.
pub(crate) struct Pass {
    reader: Reader,
    retry: ShortageRetry,
    entries_read: Arc<AtomicU64>,
}

impl Pass {
    /// Stands before the entry at `first`, which the journal need not hold yet. Payloads up to
    /// `verify_to` are compared with their digests.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub(crate) fn from(versions: &Versions, first: u64, verify_to: u64) -> Result<Pass, Error> {
        let retry = versions.retry.clone();
        let reader = retry.run(|| Reader::open(&versions.journal, first, verify_to))?;
        Ok(Pass {
            reader,
            retry,
            entries_read: versions.entries_read.clone(),
        })
    }

    /// Stands before the first entry that the journal still holds.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub(crate) fn from_start(versions: &Versions, verify_to: u64) -> Result<Pass, Error> {
        Pass::from(versions, first_position(versions)?, verify_to)
    }

    /// The position of the entry that comes next.
    pub(crate) fn next_position(&self) -> u64 {
        self.reader.next_position()
    }

    /// The next entry up to position `last`; none after it.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub(crate) fn next(&mut self, last: u64) -> Result<Option<Entry>, Error> {
        let reader = &mut self.reader;
        let next = self.retry.run(|| reader.next(last))?;
        self.entries_read
            .fetch_add(u64::from(next.is_some()), Relaxed);
        Ok(next)
    }

    /// A single entry, wherever the pass stands.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) fn read(&mut self, position: u64) -> Result<Entry, Error> {
        let reader = &mut self.reader;
        let entry = self.retry.run(|| reader.read(position))?;
        self.entries_read.fetch_add(1, Relaxed);
        Ok(entry)
    }
}

/// The first position that a journal still holds.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn first_position(versions: &Versions) -> Result<u64, Error> {
    let segments = versions.retry.run(|| segments(&versions.journal))?;
    Ok(segments.first().map_or(1, |one| one.first_position))
}

/// The text of the description that a journal starts with; none where its first entry is another.
///
/// # Errors
/// As [`Reader::next`].
pub(crate) fn first_description(versions: &Versions) -> Result<Option<String>, Error> {
    let first = Pass::from(versions, 1, 0)?.next(1)?;
    Ok(match first.map(|entry| entry.event) {
        Some(Event::Description(description)) => Some(description.toml),
        _ => None,
    })
}
