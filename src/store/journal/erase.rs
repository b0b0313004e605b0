//! ERASE: payloads are overwritten in place, while the chain over the headers still holds.
//!
//! Invariant: once the first byte is overwritten, the whole erasure is completed, also after a
//! crash: a synced list names the entries until every payload is overwritten and synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::erasure_list::{self, ErasureList};
use super::index::SegmentIndex;
use super::read_buffer::ReadBuffer;
use super::segment::{self, ERASURE_LIST, Segment};
use crate::event::{Event, Tombstone};
use crate::store::disk::Disk;
use crate::store::error::{Error, Malformed};
use crate::store::format::{
    ENTRY_HEADER_BYTES, EntryHeader, OverwrittenEntry, decode, erasable, erased, list_to_bytes,
    parse_erased,
};

/// The bytes read at once to find an entry.
const BUFFER_BYTES: usize = 64 << 10;

/// Overwrites the payloads of predictions, feedback and duplicates for good, and gives how many
/// it overwrote; those that are erased already are passed over. Each position comes with that of
/// the order that took it back, or with 0; of feedback these stay, and which predictions it spoke
/// of. The journal may be open, if every position is synced; a [`Reader`](super::Reader) on its
/// way that compares payloads with their digests finds each as it was or erased.
///
/// # Errors
/// [`Error::Missing`] and [`Error::Entry`]: a position is not there or cannot be erased, and
/// nothing was changed. [`Error::Io`]: the disk refused; the rest is erased at the next call or
/// when the journal is opened.
pub fn erase(disk: &Disk, dir: &Path, positions: &BTreeMap<u64, u64>) -> Result<u64, Error> {
    finish(disk, dir)?;
    let wanted = positions
        .iter()
        .map(|(position, order)| (*position, *order));
    let places = find(dir, wanted, |order, header, payload| {
        match (order, decode(header.kind, header.format, payload)) {
            (1.., Ok(Event::Feedback(feedback))) => Tombstone::new(order, &feedback),
            _ => Tombstone::default(),
        }
    })?;
    let Some(place) = places.first() else {
        return Ok(0);
    };
    let listed: Vec<OverwrittenEntry> = places.iter().map(|place| place.what).collect();
    let list = list_to_bytes(&listed, &place.journal_id);
    disk.write_file(&dir.join(ERASURE_LIST), &list)?;
    disk.sync_folder(dir)?;
    overwrite(disk, dir, &places)?;
    Ok(places.len() as u64)
}

/// Completes an erasure that a crash interrupted.
pub(super) fn finish(disk: &Disk, dir: &Path) -> Result<(), Error> {
    let list = match erasure_list::read(dir)? {
        ErasureList::Nothing => return Ok(()),
        // It was not synced, so nothing has been overwritten.
        ErasureList::Torn => Vec::new(),
        ErasureList::Whole(list) => list,
    };
    // Segments that retention has deleted since need no erasure.
    let first = segment::list(dir)?.first().copied().unwrap_or(0);
    let left = list.partition_point(|one| one.position < first);
    let wanted = list[left..].iter().map(|one| (one.position, one.tombstone));
    let places = find(dir, wanted, |tombstone, _, _| tombstone)?;
    overwrite(disk, dir, &places)
}

/// The place of a payload, and the bytes that replace it.
struct PayloadOverwrite {
    what: OverwrittenEntry,
    path: PathBuf,
    offset: u64,
    bytes: Vec<u8>,
    journal_id: [u8; 16],
}

/// Finds the payloads at rising positions, without those that are erased already; `keep` makes the
/// tombstone of each.
fn find<K>(
    dir: &Path,
    wanted: impl Iterator<Item = (u64, K)>,
    keep: impl Fn(K, &EntryHeader, Bytes) -> Tombstone,
) -> Result<Vec<PayloadOverwrite>, Error> {
    let firsts = segment::list(dir)?;
    let mut buffer = ReadBuffer::new(BUFFER_BYTES);
    let mut places = Vec::new();
    let mut index: Option<SegmentIndex> = None;
    for (position, known) in wanted {
        let after = firsts.partition_point(|first| *first <= position);
        let missing = || Error::Missing {
            path: dir.to_owned(),
            position,
        };
        let first = *firsts[..after].last().ok_or_else(missing)?;
        let index = match &mut index {
            Some(index) if index.segment.header.first_position == first => index,
            other => other.insert(SegmentIndex::new(Segment::open(dir, first)?, 0)),
        };
        let offset = index.locate(position, &mut buffer)?.ok_or_else(missing)?;
        let header = index.header(position, offset, &mut buffer)?;
        if erasable(header.kind).is_none() || header.payload_bytes < 8 {
            let what = "only predictions, feedback and duplicates can be erased";
            return Err(Error::Entry {
                position,
                malformed: Malformed(what.to_owned()),
            });
        }
        let payload = index.payload(&header, offset, &mut buffer)?;
        let journal_id = index.segment.header.journal_id;
        if parse_erased(&header, &journal_id, &payload).is_some() {
            continue;
        }
        let tombstone = keep(known, &header, payload);
        let bytes = erased(&header, &journal_id, &tombstone);
        places.push(PayloadOverwrite {
            what: OverwrittenEntry {
                position,
                tombstone,
            },
            path: index.segment.path.clone(),
            offset: offset + ENTRY_HEADER_BYTES as u64,
            bytes,
            journal_id,
        });
    }
    Ok(places)
}

/// Overwrites and syncs, one segment after the other; then removes the list.
fn overwrite(disk: &Disk, dir: &Path, places: &[PayloadOverwrite]) -> Result<(), Error> {
    for of_segment in places.chunk_by(|one, other| one.path == other.path) {
        let path = &of_segment[0].path;
        let write = || -> io::Result<()> {
            let file = disk.open(path)?;
            for place in of_segment {
                file.write_at(place.offset, &place.bytes)?;
            }
            file.sync()
        };
        write().map_err(Error::io(path, "overwrite in it"))?;
    }
    disk.remove(&dir.join(ERASURE_LIST))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::FileExt;

    use tempfile::{TempDir, tempdir};

    use super::super::fixture::{append, duplicate, segments_of};
    use super::*;
    use crate::event::ErasedKind;
    use crate::store::Config;
    use crate::store::Journal;
    use crate::store::Reader;
    use crate::store::verify;

    /// Seven duplicates in three segments, with a description before them.
    fn journal() -> (TempDir, Journal) {
        let dir = tempdir().unwrap();
        let config = segments_of(600);
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, config).unwrap();
        for n in 1..=7 {
            append(&mut journal, n..=n);
            journal.sync().unwrap();
        }
        (dir, journal)
    }

    fn taken<const N: usize>(positions: [u64; N]) -> BTreeMap<u64, u64> {
        positions.map(|position| (position, 9)).into()
    }

    fn list_of(positions: [u64; 2]) -> [OverwrittenEntry; 2] {
        positions.map(|position| OverwrittenEntry {
            position,
            tombstone: Tombstone::default(),
        })
    }

    /// The overwrites of the second and the third entry.
    fn found(dir: &Path) -> Vec<PayloadOverwrite> {
        let wanted = [(2, Tombstone::default()), (3, Tombstone::default())];
        find(dir, wanted.into_iter(), |tombstone, _, _| tombstone).unwrap()
    }

    fn events(dir: &Path, verify_to: u64) -> Vec<Event> {
        let mut reader = Reader::open(dir, 1, verify_to).unwrap();
        let events = (1..=7).map(|_| reader.next(7).unwrap().unwrap().event);
        events.collect()
    }

    fn expected(erased: &[u64]) -> Vec<Event> {
        let event = |position| {
            if erased.contains(&position) {
                Event::Erased(ErasedKind::Duplicate)
            } else {
                duplicate(position)
            }
        };
        (1..=7).map(event).collect()
    }

    #[test]
    fn erased_payloads_are_gone_and_the_rest_verifies() {
        let (dir, mut journal) = journal();
        let chain = journal.chain();
        assert_eq!(
            erase(&Disk::default(), dir.path(), &taken([6, 2, 3])).unwrap(),
            3
        );
        assert_eq!(
            erase(&Disk::default(), dir.path(), &taken([2, 3])).unwrap(),
            0
        );
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.entries, report.erased, report.chain), (7, 3, chain));
        for verify_to in [0, 7] {
            assert_eq!(events(dir.path(), verify_to), expected(&[2, 3, 6]));
        }
        let mut reader = Reader::open(dir.path(), 8, 0).unwrap();
        assert_eq!(
            reader.read(3).unwrap().event,
            Event::Erased(ErasedKind::Duplicate)
        );
        for first in segment::list(dir.path()).unwrap() {
            let bytes = fs::read(segment::path(dir.path(), first)).unwrap();
            for gone in ["feedbk002", "feedbk003", "feedbk006"] {
                let found = bytes.windows(9).any(|place| place == gone.as_bytes());
                assert!(!found, "{gone}");
            }
        }
        // The journal that was open goes on.
        append(&mut journal, 8..=8);
        journal.close().unwrap();
        assert_eq!(verify(dir.path()).unwrap().entries, 8);
    }

    #[test]
    fn what_cannot_be_erased_changes_nothing() {
        let (dir, mut journal) = journal();
        journal
            .append(crate::event::Time(9), &Event::Tick(crate::event::Time(9)))
            .unwrap();
        journal.close().unwrap();
        for position in [0, 9] {
            let error = erase(&Disk::default(), dir.path(), &taken([1, position])).unwrap_err();
            assert!(matches!(error, Error::Missing { .. }), "{error}");
        }
        let error = erase(&Disk::default(), dir.path(), &taken([1, 8]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("position 8: only predictions"), "{error}");
        assert_eq!(verify(dir.path()).unwrap().erased, 0);
        assert!(!dir.path().join(ERASURE_LIST).exists());
    }

    #[test]
    fn an_erasure_that_a_crash_interrupted_is_finished() {
        let (dir, journal) = journal();
        let journal_id = journal.journal_id();
        journal.close().unwrap();
        let list = dir.path().join(ERASURE_LIST);
        // A list that was not synced whole: nothing was overwritten.
        let bytes = list_to_bytes(&list_of([2, 3]), &journal_id);
        fs::write(&list, &bytes[..20]).unwrap();
        assert_eq!(verify(dir.path()).unwrap().erased, 0);
        finish(&Disk::default(), dir.path()).unwrap();
        assert_eq!(events(dir.path(), 7), expected(&[]));
        // Half of one payload was overwritten.
        fs::write(&list, &bytes).unwrap();
        let places = found(dir.path());
        let place = &places[0];
        let file = OpenOptions::new().write(true).open(&place.path).unwrap();
        file.write_all_at(&place.bytes[..9], place.offset).unwrap();
        assert_eq!(verify(dir.path()).unwrap().erased, 1);
        assert_eq!(events(dir.path(), 7), expected(&[2]));
        Journal::create_or_open(dir.path(), 0, Config::default()).unwrap();
        assert!(!list.exists());
        assert_eq!(events(dir.path(), 7), expected(&[2, 3]));
        // Without the list, half an erasure is damage.
        file.write_all_at(&[0; 4], place.offset + 9).unwrap();
        assert!(matches!(verify(dir.path()), Err(Error::Damaged { .. })));
    }

    #[test]
    fn an_erasure_goes_on_where_retention_let_go_of_its_first_segment() {
        let (dir, mut journal) = journal();
        let list = list_to_bytes(&list_of([2, 6]), &journal.journal_id());
        fs::write(dir.path().join(ERASURE_LIST), list).unwrap();
        let kept = segment::list(dir.path()).unwrap()[1];
        assert!((3..=6).contains(&kept), "{kept}");
        journal.trim(kept).unwrap();
        journal.close().unwrap();
        Journal::create_or_open(dir.path(), kept - 1, Config::default()).unwrap();
        assert!(!dir.path().join(ERASURE_LIST).exists());
        let mut reader = Reader::open(dir.path(), kept, 7).unwrap();
        assert_eq!(
            reader.read(6).unwrap().event,
            Event::Erased(ErasedKind::Duplicate)
        );
        assert_eq!(verify(dir.path()).unwrap().erased, 1);
    }

    #[test]
    fn a_reader_that_met_a_half_overwritten_payload_finds_it_erased() {
        let (dir, journal) = journal();
        let bytes = list_to_bytes(&list_of([2, 3]), &journal.journal_id());
        fs::write(dir.path().join(ERASURE_LIST), bytes).unwrap();
        let places = found(dir.path());
        let file = OpenOptions::new().write(true).open(&places[0].path);
        let (half, rest) = places[0].bytes.split_at(9);
        let file = file.unwrap();
        file.write_all_at(rest, places[0].offset + 9).unwrap();
        // The entries behind the first one are now in the reader's memory.
        let mut reader = Reader::open(dir.path(), 1, 7).unwrap();
        assert_eq!(reader.next(7).unwrap().unwrap().event, duplicate(1));
        file.write_all_at(half, places[0].offset).unwrap();
        finish(&Disk::default(), dir.path()).unwrap();
        let event = reader.next(7).unwrap().unwrap().event;
        assert_eq!(event, Event::Erased(ErasedKind::Duplicate));
        // This one was read before it was overwritten.
        assert_eq!(reader.next(7).unwrap().unwrap().event, duplicate(3));
    }
}
