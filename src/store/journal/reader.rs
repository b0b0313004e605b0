//! Following a journal while it is written, and reading any entry of it again.
//!
//! Invariant: it hands out an entry only after checking its header and its position. It never
//! looks at positions above those it is asked for, which the caller knows to be written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::index::{SegmentIndex, Trust};
use super::read_buffer::ReadBuffer;
use super::segment::{self, Segment};
use crate::event::Entry;
use crate::store::error::Error;

/// The bytes read at once in sequence: large enough that a system call is spread over many entries, small
/// enough to stay in the processor's cache.
const SEQUENCE_BYTES: usize = 256 << 10;

/// The bytes read at once for a single entry: most fit.
const SINGLE_BYTES: usize = 8 << 10;

/// The number of segments that are kept open, each with four bytes for every entry in it; the one unused
/// for longest is closed.
const SEGMENTS_OPEN_MAX: usize = 64;

/// A place in a journal, from which entries are read in sequence; others are read by position.
pub struct Reader {
    dir: PathBuf,
    next_position: u64,
    verify_to: u64,
    /// After the last entry passed.
    chain: blake3::Hash,
    /// The first positions of the segments that are known to exist, rising.
    firsts: Vec<u64>,
    /// The segment that is read in sequence.
    current: u64,
    open: BTreeMap<u64, SegmentIndex>,
    uses: u64,
    sequence: ReadBuffer,
    single: ReadBuffer,
}

impl Reader {
    /// Stands before `next_position`. [`next`](Reader::next) compares payloads up to position
    /// `verify_to` with their digests; those that this process wrote, or checked when it opened
    /// the journal, need not be compared again.
    ///
    /// # Errors
    /// [`Error::Missing`]: the journal does not hold the position before it. [`Error::Damaged`],
    /// [`Error::Foreign`] and [`Error::Io`]: its segment cannot be read.
    pub fn open(dir: &Path, next_position: u64, verify_to: u64) -> Result<Reader, Error> {
        let mut reader = Reader {
            dir: dir.to_owned(),
            next_position,
            verify_to,
            chain: [0; 32].into(),
            firsts: segment::list(dir)?,
            current: 0,
            open: BTreeMap::new(),
            uses: 0,
            sequence: ReadBuffer::new(SEQUENCE_BYTES),
            single: ReadBuffer::new(SINGLE_BYTES),
        };
        reader.current = reader.first_before(next_position)?;
        reader.touch(reader.current)?;
        let index = opened(&mut reader.open, reader.current);
        reader.chain = index.segment.header.chain;
        if next_position > reader.current {
            let last = next_position - 1;
            let found = index.locate(last, &mut reader.sequence)?;
            let offset = found.ok_or_else(|| missing(dir, last))?;
            let entry = index.header(last, offset, &mut reader.sequence)?;
            reader.chain = entry.chain;
        }
        Ok(reader)
    }

    /// Stands before the first entry that the journal still holds.
    ///
    /// # Errors
    /// As [`open`](Reader::open).
    pub fn from_start(dir: &Path, verify_to: u64) -> Result<Reader, Error> {
        let first = segment::list(dir)?.first().copied().unwrap_or(1);
        Reader::open(dir, first, verify_to)
    }

    /// The position of the entry that comes next.
    pub fn next_position(&self) -> u64 {
        self.next_position
    }

    /// The next entry up to position `limit`, which must be written; `None` after it.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Missing`]: the journal is not whole. [`Error::Entry`]: a
    /// newer program wrote it. The reader stays where it is.
    pub fn next(&mut self, limit: u64) -> Result<Option<Entry>, Error> {
        let position = self.next_position;
        if position > limit {
            return Ok(None);
        }
        let offset = match self.locate_next(position)? {
            Some(offset) => offset,
            None => {
                self.touch(position)?;
                self.current = position;
                let found = self.locate_next(position)?;
                found.ok_or_else(|| missing(&self.dir, position))?
            }
        };
        let index = opened(&mut self.open, self.current);
        let header = index.header(position, offset, &mut self.sequence)?;
        let payload = index.payload(&header, offset, &mut self.sequence)?;
        let trust = if position <= self.verify_to {
            Trust::Nothing
        } else {
            Trust::Payload
        };
        let event = index.event(&header, offset, payload, trust)?;
        self.chain = header.chain;
        self.next_position += 1;
        Ok(Some(Entry {
            position,
            time: header.time,
            event,
        }))
    }

    /// Opens the segments that [`next`](Reader::next) is going to read, up to position `limit`.
    ///
    /// # Errors
    /// As [`next`](Reader::next), which would fail in the same way.
    pub fn prepare(&mut self, limit: u64) -> Result<(), Error> {
        let position = self.next_position;
        if position > limit || self.locate_next(position)?.is_some() {
            return Ok(());
        }
        self.touch(position)
    }

    /// The entry at a position that is written. Its payload is always compared with its digest.
    ///
    /// # Errors
    /// [`Error::Missing`]: the journal does not hold it. Otherwise as [`next`](Reader::next).
    pub fn read(&mut self, position: u64) -> Result<Entry, Error> {
        let mut first = self.first_before(position)?;
        loop {
            self.touch(first)?;
            let index = opened(&mut self.open, first);
            if let Some(offset) = index.locate(position, &mut self.single)? {
                let header = index.header(position, offset, &mut self.single)?;
                let payload = index.payload(&header, offset, &mut self.single)?;
                return Ok(Entry {
                    position,
                    time: header.time,
                    event: index.event(&header, offset, payload, Trust::Nothing)?,
                });
            }
            // The writer may have gone on to another segment since the names were read.
            self.firsts = segment::list(&self.dir)?;
            let again = self.first_before(position)?;
            if again == first {
                return Err(missing(&self.dir, position));
            }
            first = again;
        }
    }

    /// The chain at the last entry that was passed, for a checkpoint there.
    pub fn chain(&self) -> blake3::Hash {
        self.chain
    }

    fn locate_next(&mut self, position: u64) -> Result<Option<u64>, Error> {
        opened(&mut self.open, self.current).locate(position, &mut self.sequence)
    }

    /// The segment that holds this position, if any does.
    fn first_before(&self, position: u64) -> Result<u64, Error> {
        let after = self.firsts.partition_point(|first| *first <= position);
        match after.checked_sub(1) {
            Some(index) => Ok(self.firsts[index]),
            None => Err(missing(&self.dir, position)),
        }
    }

    /// Makes sure that this segment is open.
    fn touch(&mut self, first: u64) -> Result<(), Error> {
        self.uses += 1;
        if let Some(index) = self.open.get_mut(&first) {
            index.used = self.uses;
            return Ok(());
        }
        if !segment::path(&self.dir, first).exists() {
            return Err(missing(&self.dir, first));
        }
        let mut segment = Segment::open(&self.dir, first);
        if segment.as_ref().is_err_and(Error::is_passing) && self.open.len() > 1 {
            // Descriptors are short: those of segments that may be read again are given back.
            self.open.retain(|other, _| *other == self.current);
            segment = Segment::open(&self.dir, first);
        }
        self.open
            .insert(first, SegmentIndex::new(segment?, self.uses));
        if self.firsts.last().is_none_or(|last| *last < first) {
            self.firsts.push(first);
        }
        if self.open.len() > SEGMENTS_OPEN_MAX {
            let closable = self
                .open
                .iter()
                .filter(|(other, _)| **other != first && **other != self.current);
            let unused = closable.min_by_key(|(_, index)| index.used);
            let unused = *unused.expect("more than two are open").0;
            self.open.remove(&unused);
        }
        Ok(())
    }
}

fn opened(open: &mut BTreeMap<u64, SegmentIndex>, first: u64) -> &mut SegmentIndex {
    open.get_mut(&first)
        .expect("the current segment and a touched one are open")
}

fn missing(dir: &Path, position: u64) -> Error {
    Error::Missing {
        path: dir.to_owned(),
        position,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tempfile::tempdir;

    use super::super::fixture::{append, duplicate, segments_of};
    use super::*;
    use crate::store::Journal;
    use crate::store::format::GROUP_HEADER_BYTES;

    const SMALL: u32 = 600;

    #[test]
    fn a_reader_follows_a_writer_across_segments() {
        const N: u64 = 3000;
        let dir = tempdir().unwrap();
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, segments_of(SMALL)).unwrap();
        let written = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=N {
                    append(&mut journal, n..=n);
                    if n % 3 == 0 || n == N {
                        written.store(journal.write().unwrap(), Ordering::Release);
                    }
                }
            });
            let mut reader = Reader::open(dir.path(), 1, 0).unwrap();
            let mut passed = 0;
            while passed < N {
                let limit = written.load(Ordering::Acquire);
                while let Some(entry) = reader.next(limit).unwrap() {
                    passed += 1;
                    assert_eq!((entry.position, entry.event), (passed, duplicate(passed)));
                    let earlier = 1 + passed * 7 % passed;
                    assert_eq!(reader.read(earlier).unwrap().event, duplicate(earlier));
                }
                assert!(reader.open.len() <= SEGMENTS_OPEN_MAX);
            }
            assert_eq!(reader.next(N).unwrap(), None);
        });
    }

    #[test]
    fn every_position_is_read_after_opening_again() {
        let dir = tempdir().unwrap();
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, segments_of(SMALL)).unwrap();
        let mut chains = vec![journal.chain()];
        for n in 1..=20 {
            append(&mut journal, n..=n);
            chains.push(journal.chain());
            journal.write().unwrap();
        }
        journal.close().unwrap();
        let mut at_end = Reader::open(dir.path(), 21, 0).unwrap();
        for position in (1..=20).rev() {
            let entry = at_end.read(position).unwrap();
            assert_eq!(
                (entry.position, entry.event),
                (position, duplicate(position))
            );
        }
        for next in 1..=21u64 {
            let mut reader = Reader::open(dir.path(), next, 20).unwrap();
            assert_eq!(reader.chain(), chains[next as usize - 1]);
            let entry = reader.next(20).unwrap();
            assert_eq!(
                entry.map(|entry| entry.position),
                (next <= 20).then_some(next)
            );
            assert_eq!(reader.chain(), chains[20.min(next as usize)]);
            assert_eq!(reader.read(20).unwrap().position, 20);
        }
    }

    #[test]
    fn a_position_that_is_not_there_is_missing() {
        let dir = tempdir().unwrap();
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, segments_of(SMALL)).unwrap();
        append(&mut journal, 1..=2);
        journal.sync().unwrap();
        let missing = |result: Result<Entry, Error>, at| match result {
            Err(Error::Missing { position, .. }) => assert_eq!(position, at),
            other => panic!("{other:?}"),
        };
        let mut reader = Reader::open(dir.path(), 3, 0).unwrap();
        missing(reader.read(0), 0);
        missing(reader.read(3), 3);
        missing(reader.next(3).map(Option::unwrap), 3);
        append(&mut journal, 3..=3);
        journal.write().unwrap();
        assert_eq!(reader.read(3).unwrap().event, duplicate(3));
        assert_eq!(reader.next(3).unwrap().unwrap().event, duplicate(3));
        missing(Reader::open(dir.path(), 5, 0).map(|_| unreachable!()), 4);
    }

    #[test]
    fn a_changed_payload_is_seen_where_it_is_verified() {
        let dir = tempdir().unwrap();
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, segments_of(SMALL)).unwrap();
        append(&mut journal, 1..=1);
        journal.close().unwrap();
        let path = segment::path(dir.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        // The last byte of the payload: the group of the clean end follows it.
        let at = bytes.len() - GROUP_HEADER_BYTES - 1;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let damaged = |result: Result<Entry, Error>| match result {
            Err(Error::Damaged { position, .. }) => assert_eq!(position, 1),
            other => panic!("{other:?}"),
        };
        damaged(Reader::open(dir.path(), 1, 0).unwrap().read(1));
        let mut verifying = Reader::open(dir.path(), 1, 1).unwrap();
        damaged(verifying.next(1).map(Option::unwrap));
        let mut trusting = Reader::open(dir.path(), 1, 0).unwrap();
        assert!(trusting.next(1).unwrap().is_some());
    }
}
