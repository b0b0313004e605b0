//! A check of everything that a journal holds.
//!
//! Invariant: it changes nothing, and a journal that it accepts can be replayed by this program.

use std::path::Path;

use bytes::Bytes;

use super::erasure_list;
use super::scan::scan;
use super::scan_segment::Content;
use super::segment::{self, TornTail};
use crate::event::{Entry, Event};
use crate::store::error::Error;
use crate::store::format::decode;

/// The report on a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalReport {
    /// Names the journal: the same in its segments and its checkpoints; zeros where it has none.
    pub journal_id: [u8; 16],
    /// The number of segment files.
    pub segments: u64,
    /// The number of entries.
    pub entries: u64,
    /// The number of entries whose content was erased.
    pub erased: u64,
    /// The bytes of all files together, without a torn end.
    pub bytes: u64,
    /// The last position; 0 when there is none.
    pub last_position: u64,
    /// The chain at the last position; two journals with the same chain hold the same entries.
    pub chain: blake3::Hash,
    /// A torn end, which opening the journal will cut.
    pub torn_tail: Option<TornTail>,
}

/// Checks every byte of the journal in this folder, which no process may have open for writing.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Missing`] and [`Error::Foreign`]: it is not whole.
/// [`Error::Entry`]: a newer program wrote an entry. [`Error::Io`]: it cannot be read.
pub fn verify(dir: &Path) -> Result<JournalReport, Error> {
    verify_each(dir, |_| ())
}

/// Checks as [`verify`], and passes each entry to `see`.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verify_each(dir: &Path, mut see: impl FnMut(Entry)) -> Result<JournalReport, Error> {
    // The list of an erasure is checked even if no entry has changed.
    erasure_list::read(dir)?;
    // A journal need not reach back to position 1.
    let first = segment::list(dir)?.first().copied().unwrap_or(1);
    let (mut entries, mut erased) = (0, 0);
    let found = scan(dir, first - 1, |entry, content| {
        entries += 1;
        let position = entry.position;
        let event = match content {
            Content::Written(payload) => {
                let payload = Bytes::copy_from_slice(payload);
                let decoded = decode(entry.kind, entry.format, payload);
                decoded.map_err(|malformed| Error::Entry {
                    position,
                    malformed,
                })?
            }
            Content::Erased(kind) => {
                erased += 1;
                Event::Erased(kind)
            }
        };
        see(Entry {
            position,
            time: entry.time,
            event,
        });
        Ok(())
    })?;
    Ok(JournalReport {
        journal_id: found
            .headers
            .last()
            .map_or([0; 16], |header| header.journal_id),
        segments: found.headers.len() as u64,
        entries,
        erased,
        bytes: found.n_bytes,
        last_position: found.head.position,
        chain: found.head.chain,
        torn_tail: found.torn_tail,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::tempdir;

    use super::super::fixture::{append, segments_of};
    use super::*;
    use crate::store::Journal;

    #[test]
    fn the_report_counts_what_is_there_and_changes_nothing() {
        let dir = tempdir().unwrap();
        let config = segments_of(600);
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, config).unwrap();
        for n in 1..=7 {
            append(&mut journal, n..=n);
            journal.sync().unwrap();
        }
        let sound = JournalReport {
            journal_id: journal.journal_id(),
            segments: 3,
            entries: 7,
            erased: 0,
            bytes: journal.bytes_on_disk(),
            last_position: 7,
            chain: journal.chain(),
            torn_tail: None,
        };
        assert_eq!(verify(dir.path()).unwrap(), sound);
        append(&mut journal, 8..=8);
        journal.write().unwrap();
        let path = segment::path(dir.path(), 7);
        let torn = &fs::read(&path).unwrap()[..300];
        fs::write(&path, torn).unwrap();
        let report = verify(dir.path()).unwrap();
        assert_eq!(report.torn_tail.as_ref().unwrap().bytes, 300 - 80 - 149);
        let without = JournalReport {
            torn_tail: None,
            ..report
        };
        assert_eq!(without, sound);
        assert_eq!(fs::read(&path).unwrap(), torn);
    }
}
