//! The one writer of a journal.
//!
//! Invariant: positions, chain and journal time only go forward, and no position at or below a
//! synced one is ever written again. After a failed write or sync nothing more is written.

use std::path::{Path, PathBuf};

use super::erase;
use super::segment::{self, LastSegment};
use super::survey::{Cut, survey};
use super::walk::Tip;
use crate::event::{Event, Time};
use crate::store::format::{
    ENTRY_HEADER_BYTES, EntryHeader, GROUP_HEADER_BYTES, GroupHeader, PAYLOAD_BYTES_MAX, encode,
    format, genesis, kind,
};
use crate::store::{Disk, Error};

/// A group this large is written without being asked for, so that its memory is bounded.
const GROUP_BYTES_FULL: usize = 16 << 20;

/// How a journal lies on disk.
#[derive(Clone, Debug)]
pub struct Config {
    /// A group that would make a segment longer than this starts a new one.
    pub segment_bytes: u32,
    /// What it is written through.
    #[doc(hidden)]
    pub disk: Disk,
}

impl Default for Config {
    /// Opening checks the newest segments whole: 64 MiB take well under a second.
    fn default() -> Config {
        Config {
            segment_bytes: 64 << 20,
            disk: Disk::default(),
        }
    }
}

/// What was there when a journal was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// Names the journal: the same in its segments and its checkpoints.
    pub journal_id: [u8; 16],
    /// The last position; 0 in a new journal.
    pub last_position: u64,
    /// The journal time of the last position; the epoch in a new journal.
    pub last_time: Time,
    /// The chain at the last position.
    pub chain: [u8; 32],
    /// The chain at the position that was asked for, to compare with the checkpoint's.
    pub from_chain: [u8; 32],
    /// The torn end that was cut, to be reported.
    pub cut: Option<Cut>,
}

/// A journal that is open for writing.
///
/// Dropped without [`close`](Journal::close), it is as after a crash: what was synced is there.
pub struct Journal {
    dir: PathBuf,
    config: Config,
    journal_id: [u8; 16],
    last: LastSegment,
    /// Of all segments, with what is written and not what is only appended.
    n_bytes: u64,
    /// A group in the making: room for its header, then its entries.
    group: Vec<u8>,
    /// After the last appended entry.
    tip: Tip,
    /// After the last written one.
    written: Tip,
    synced: u64,
    poisoned: bool,
}

impl Journal {
    /// Opens the journal in this folder, or creates an empty one.
    ///
    /// Everything from the segment of position `from` on is checked; give the position of the
    /// newest checkpoint, or 0 to check all. A torn end is cut, and what is left is synced.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Missing`], [`Error::CheckpointAhead`] and [`Error::Foreign`]:
    /// the journal is not whole, and was left as it is. [`Error::Io`]: the disk refused.
    pub fn create_or_open(
        dir: &Path,
        from: u64,
        config: Config,
    ) -> Result<(Journal, Recovered), Error> {
        let disk = &config.disk;
        disk.create_folder(dir)?;
        erase::finish(disk, dir)?;
        let mut from_chain = None;
        let found = survey(dir, from, |entry, _| {
            if entry.position == from {
                from_chain = Some(entry.chain);
            }
            Ok(())
        })?;
        if let Some(cut) = &found.cut {
            segment::truncate(disk, cut)?;
        }
        let mut tip = found.tip;
        let (journal_id, last) = match found.headers.last() {
            Some(header) => {
                let last = LastSegment::open(disk, dir, header.first_position)?;
                (header.journal_id, last)
            }
            None => begin(disk, dir, &mut tip)?,
        };
        // Before the first entry that is there.
        let begins = found.headers.first().map_or(tip.chain, |first| first.chain);
        // What a process wrote and did not sync before it died is read from memory, not disk.
        last.sync()?;
        disk.sync_folder(dir)?;
        let recovered = Recovered {
            journal_id,
            last_position: tip.position,
            last_time: tip.time,
            chain: tip.chain,
            from_chain: from_chain.unwrap_or(begins),
            cut: found.cut,
        };
        let n_bytes = match found.headers.is_empty() {
            true => last.n_bytes,
            false => found.n_bytes,
        };
        let journal = Journal {
            dir: dir.to_owned(),
            config,
            journal_id,
            last,
            n_bytes,
            group: vec![0; GROUP_HEADER_BYTES],
            written: tip.clone(),
            synced: tip.position,
            tip,
            poisoned: false,
        };
        Ok((journal, recovered))
    }

    /// Takes an event into the group in the making, and gives its position. Journal time never
    /// goes back: an earlier `time` becomes that of the entry before.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Entry`] refuse this event alone. [`Error::Poisoned`], and
    /// [`Error::Io`] from writing a full group: nothing more can be written.
    pub fn append(&mut self, time: Time, event: &Event) -> Result<u64, Error> {
        self.check_sound()?;
        if self.group.len() >= GROUP_BYTES_FULL {
            self.write()?;
        }
        let start = self.group.len();
        match self.put_entry(time.max(self.tip.time), event) {
            Ok(tip) => {
                self.tip = tip;
                Ok(self.tip.position)
            }
            Err(error) => {
                self.group.truncate(start);
                Err(error)
            }
        }
    }

    /// Writes the group in the making, without a sync, and gives the last written position.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused, and the journal is poisoned. [`Error::Poisoned`] from then
    /// on: what is on disk is known only after opening again.
    pub fn write(&mut self) -> Result<u64, Error> {
        self.check_sound()?;
        if self.group.len() > GROUP_HEADER_BYTES {
            let written = self.roll().and_then(|()| self.write_group());
            self.poison_on_error(written)?;
        }
        Ok(self.written.position)
    }

    /// Writes the group in the making, syncs, and gives the synced position.
    ///
    /// # Errors
    /// As [`write`](Journal::write).
    pub fn sync(&mut self) -> Result<u64, Error> {
        self.write()?;
        if self.synced < self.written.position {
            let synced = self.last.sync();
            self.poison_on_error(synced)?;
            self.synced = self.written.position;
        }
        Ok(self.synced)
    }

    /// Syncs, and leaves an empty group that records everything as synced: from then on nothing
    /// in this journal can be taken for a torn end.
    ///
    /// # Errors
    /// As [`write`](Journal::write).
    pub fn close(mut self) -> Result<(), Error> {
        self.sync()?;
        self.write_group()?;
        self.last.sync()
    }

    /// Lets whole segments go that hold nothing from `first_position` on, the oldest first; gives
    /// how many bytes they had. The last one stays.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused; those that are left still follow each other.
    pub fn trim(&mut self, first_position: u64) -> Result<u64, Error> {
        let listed = segment::segments(&self.dir)?;
        let mut n_bytes = 0;
        for (old, next) in listed.iter().zip(listed.iter().skip(1)) {
            if next.first_position > first_position {
                break;
            }
            let path = segment::path(&self.dir, old.first_position);
            self.config.disk.remove(&path)?;
            self.n_bytes -= old.bytes;
            n_bytes += old.bytes;
        }
        Ok(n_bytes)
    }

    /// The last position that survives anything.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// The chain at the last appended position.
    pub fn chain(&self) -> [u8; 32] {
        self.tip.chain
    }

    /// Names the journal: the same in its segments and its checkpoints.
    pub fn journal_id(&self) -> [u8; 16] {
        self.journal_id
    }

    /// How long all segments are together, with what is only appended.
    pub fn bytes(&self) -> u64 {
        self.n_bytes + (self.group.len() - GROUP_HEADER_BYTES) as u64
    }

    /// How long all segments are together, in bytes.
    pub fn bytes_on_disk(&self) -> u64 {
        self.n_bytes
    }

    fn check_sound(&self) -> Result<(), Error> {
        match self.poisoned {
            false => Ok(()),
            true => Err(Error::Poisoned {
                path: self.dir.clone(),
            }),
        }
    }

    /// The system may drop what it failed to write and call the next sync a success, so a failed
    /// one is never tried again.
    fn poison_on_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.poisoned |= result.is_err();
        result
    }

    fn put_entry(&mut self, time: Time, event: &Event) -> Result<Tip, Error> {
        let position = self.tip.position + 1;
        let start = self.group.len();
        let payload_start = start + ENTRY_HEADER_BYTES;
        self.group.resize(payload_start, 0);
        encode(event, &mut self.group).map_err(|malformed| Error::Entry {
            position,
            malformed,
        })?;
        let payload = &self.group[payload_start..];
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge {
                got: payload.len() as u64,
                limit: PAYLOAD_BYTES_MAX as u64,
            });
        }
        let mut header = EntryHeader {
            payload_bytes: payload.len() as u32,
            position,
            time,
            kind: kind(event),
            format: format(event),
            digest: *blake3::hash(payload).as_bytes(),
            chain: [0; 32],
        };
        let bytes = header.link(&self.tip.chain);
        self.group[start..payload_start].copy_from_slice(&bytes);
        Ok(Tip {
            position,
            time,
            chain: header.chain,
        })
    }

    /// Starts a new segment where the group would make this one too long.
    fn roll(&mut self) -> Result<(), Error> {
        let n_bytes = self.last.n_bytes + self.group.len() as u64;
        let has_entries = self.written.position >= self.last.first_position;
        if !has_entries || n_bytes <= u64::from(self.config.segment_bytes) {
            return Ok(());
        }
        self.last.sync()?;
        self.synced = self.written.position;
        let disk = &self.config.disk;
        self.last = LastSegment::create(disk, &self.dir, self.journal_id, &self.written)?;
        self.n_bytes += self.last.n_bytes;
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), Error> {
        let header = GroupHeader {
            n_bytes: (self.group.len() - GROUP_HEADER_BYTES) as u32,
            first_position: self.written.position + 1,
            synced_position: self.synced,
        };
        self.group[..GROUP_HEADER_BYTES].copy_from_slice(&header.to_bytes(&self.journal_id));
        self.last.append(&self.group)?;
        self.n_bytes += self.group.len() as u64;
        self.written = self.tip.clone();
        self.group.truncate(GROUP_HEADER_BYTES);
        self.group.shrink_to(2 * GROUP_BYTES_FULL);
        Ok(())
    }
}

/// The first segment of a new journal.
fn begin(disk: &Disk, dir: &Path, tip: &mut Tip) -> Result<([u8; 16], LastSegment), Error> {
    let journal_id = uuid::Uuid::now_v7().into_bytes();
    tip.chain = genesis(&journal_id);
    let last = LastSegment::create(disk, dir, journal_id, tip)?;
    Ok((journal_id, last))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::{fs, io};

    use tempfile::{TempDir, tempdir};

    use super::super::fixture::{append, duplicate, read_all, segments_of};
    use super::*;
    use crate::event::{Batch, Column, Outputs, Prediction};
    use crate::store::disk::{Change, Then};

    fn new() -> (TempDir, Journal) {
        let dir = tempdir().unwrap();
        let (journal, recovered) =
            Journal::create_or_open(dir.path(), 0, Config::default()).unwrap();
        assert_eq!(recovered.last_position, 0);
        assert_eq!(recovered.chain, genesis(&recovered.journal_id));
        (dir, journal)
    }

    fn reopen(dir: &TempDir, from: u64) -> Result<(Journal, Recovered), Error> {
        Journal::create_or_open(dir.path(), from, Config::default())
    }

    #[test]
    fn what_was_synced_is_there_after_opening_again() {
        let (dir, mut journal) = new();
        append(&mut journal, 1..=3);
        assert_eq!(journal.synced(), 0);
        assert_eq!(journal.sync().unwrap(), 3);
        assert_eq!(journal.synced(), 3);
        append(&mut journal, 4..=4);
        let (id, chain) = (journal.journal_id(), journal.chain());
        journal.close().unwrap();

        let (mut journal, recovered) = reopen(&dir, 2).unwrap();
        let at_two = recovered.from_chain;
        let expected = Recovered {
            journal_id: id,
            last_position: 4,
            last_time: Time(4),
            chain,
            from_chain: at_two,
            cut: None,
        };
        assert_eq!(recovered, expected);
        assert_ne!(at_two, chain);
        assert_eq!(journal.synced(), 4);
        append(&mut journal, 5..=5);
        journal.close().unwrap();
        assert_eq!(
            read_all(dir.path()),
            (1..=5).map(duplicate).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_was_only_appended_is_lost_with_the_process() {
        let (dir, mut journal) = new();
        append(&mut journal, 1..=2);
        journal.sync().unwrap();
        append(&mut journal, 3..=3);
        drop(journal);
        let (_, recovered) = reopen(&dir, 0).unwrap();
        assert_eq!((recovered.last_position, recovered.cut), (2, None));
    }

    #[test]
    fn journal_time_never_goes_back() {
        let (dir, mut journal) = new();
        for time in [5, 3, 9, -1] {
            journal.append(Time(time), &duplicate(1)).unwrap();
        }
        journal.close().unwrap();
        let (mut journal, recovered) = reopen(&dir, 0).unwrap();
        assert_eq!(recovered.last_time, Time(9));
        journal.append(Time(2), &duplicate(1)).unwrap();
        journal.close().unwrap();
        let mut reader = super::super::Reader::open(dir.path(), 1, 5).unwrap();
        let times = (1..=5).map(|_| reader.next(5).unwrap().unwrap().time.0);
        assert_eq!(times.collect::<Vec<_>>(), [5, 5, 9, 9, 9]);
    }

    #[test]
    fn a_checkpoint_ahead_of_its_journal_is_refused() {
        let (dir, mut journal) = new();
        append(&mut journal, 1..=3);
        journal.close().unwrap();
        assert!(reopen(&dir, 3).is_ok());
        let error = reopen(&dir, 4).err().unwrap();
        let sees = matches!(
            error,
            Error::CheckpointAhead {
                checkpoint: 4,
                last: 3,
                ..
            }
        );
        assert!(sees, "{error}");
        let empty = tempdir().unwrap();
        assert!(matches!(
            reopen(&empty, 1),
            Err(Error::CheckpointAhead { last: 0, .. })
        ));
        assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    }

    #[test]
    fn groups_fill_segments_up_to_their_size() {
        let dir = tempdir().unwrap();
        let config = segments_of(600);
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, config.clone()).unwrap();
        for n in 1..=20 {
            append(&mut journal, n..=n);
            assert_eq!(journal.write().unwrap(), n);
        }
        // 80 bytes of header and three groups of 32 + 96 + 21; every roll syncs what is before.
        assert_eq!(
            segment::list(dir.path()).unwrap(),
            [1, 4, 7, 10, 13, 16, 19]
        );
        assert_eq!(journal.synced(), 18);
        let on_disk = |dir: &Path| -> u64 {
            let files = fs::read_dir(dir).unwrap();
            files
                .map(|file| file.unwrap().metadata().unwrap().len())
                .sum()
        };
        assert_eq!(journal.bytes_on_disk(), on_disk(dir.path()));
        journal.close().unwrap();
        let (journal, recovered) = Journal::create_or_open(dir.path(), 0, config).unwrap();
        assert_eq!((recovered.last_position, recovered.cut), (20, None));
        assert_eq!(journal.bytes_on_disk(), on_disk(dir.path()));
        assert_eq!(
            read_all(dir.path()),
            (1..=20).map(duplicate).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_large_event_is_refused_alone() {
        let (_dir, mut journal) = new();
        append(&mut journal, 1..=1);
        let prediction = |n_bytes: usize, n_rows: usize| {
            Event::Prediction(Prediction {
                ids: vec![crate::event::PredictionId(1)],
                batch: Batch {
                    n_rows,
                    columns: vec![Column::Vectors(vec![0; n_bytes].into())],
                },
                outputs: Outputs::Values(vec![0.0]),
                labels: Default::default(),
                version: 1,
                position: 1,
            })
        };
        let large = journal.append(Time(1), &prediction(PAYLOAD_BYTES_MAX, 1));
        assert!(matches!(large, Err(Error::TooLarge { .. })));
        let misfit = journal.append(Time(1), &prediction(4, 2));
        assert!(matches!(misfit, Err(Error::Entry { position: 2, .. })));
        append(&mut journal, 2..=2);
        assert_eq!(journal.sync().unwrap(), 2);
        journal
            .append(Time(2), &prediction(GROUP_BYTES_FULL, 1))
            .unwrap();
        append(&mut journal, 4..=4);
        // The full group was written without being asked for.
        assert_eq!(journal.written.position, 3);
    }

    #[test]
    fn after_a_failed_write_or_sync_nothing_is_written_again() {
        let check = |fails: fn(&Change) -> bool| {
            let failing = Arc::new(AtomicBool::new(false));
            let fail = failing.clone();
            let disk = Disk::watched(move |change| match fails(&change) && fail.load(Relaxed) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(Then::Make),
            });
            let dir = tempdir().unwrap();
            let config = Config {
                disk,
                ..Config::default()
            };
            let (mut journal, _) = Journal::create_or_open(dir.path(), 0, config).unwrap();
            append(&mut journal, 1..=2);
            journal.sync().unwrap();
            failing.store(true, Relaxed);
            append(&mut journal, 3..=3);
            let error = journal.sync().unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error}");
            failing.store(false, Relaxed);
            let refused = journal.append(Time(9), &duplicate(9));
            assert!(matches!(refused, Err(Error::Poisoned { .. })));
            assert!(matches!(journal.write(), Err(Error::Poisoned { .. })));
            assert!(matches!(journal.sync(), Err(Error::Poisoned { .. })));
            assert_eq!(journal.synced(), 2);
            assert!(matches!(journal.close(), Err(Error::Poisoned { .. })));
            let last = reopen(&dir, 2).unwrap().1.last_position;
            assert!((2..=3).contains(&last), "{last}");
        };
        check(|change| matches!(change, Change::Write(..)));
        check(|change| matches!(change, Change::Sync(_)));
    }

    #[test]
    fn a_torn_new_segment_is_removed_and_written_again() {
        let (dir, mut journal) = new();
        append(&mut journal, 1..=2);
        journal.sync().unwrap();
        drop(journal);
        let torn = segment::path(dir.path(), 3);
        for n_bytes in [0, 1, 79, 80] {
            fs::write(&torn, vec![0; n_bytes]).unwrap();
            let (_, recovered) = reopen(&dir, 2).unwrap();
            let cut = recovered.cut.unwrap();
            assert_eq!(
                (cut.position, cut.bytes, cut.path),
                (3, n_bytes as u64, torn.clone())
            );
            assert!(!torn.exists());
        }
        fs::write(&torn, [0; 80]).unwrap();
        assert!(matches!(
            reopen(&dir, 3),
            Err(Error::CheckpointAhead { .. })
        ));
        fs::write(&torn, [0; 81]).unwrap();
        assert!(matches!(reopen(&dir, 2), Err(Error::Damaged { .. })));
        fs::remove_file(&torn).unwrap();
        fs::write(segment::path(dir.path(), 4), []).unwrap();
        assert!(matches!(
            reopen(&dir, 2),
            Err(Error::Missing { position: 3, .. })
        ));
    }
}
