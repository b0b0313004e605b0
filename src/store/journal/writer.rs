//! The one writer of a journal.
//!
//! Invariant: positions, chain and journal time only go forward, and no position at or below a
//! synced one is ever written again. After a failed write or sync nothing more is written.

use std::path::{Path, PathBuf};

use super::erase;
use super::scan::scan;
use super::segment::{self, Head, LastSegment, TornTail};
use crate::event::{Event, Time};
use crate::store::disk::Disk;
use crate::store::error::Error;
use crate::store::error::is_passing;
use crate::store::format::{
    ENTRY_HEADER_BYTES, EntryHeader, GROUP_HEADER_BYTES, GroupHeader, PAYLOAD_BYTES_MAX, encode,
    format, genesis, kind,
};

/// A group this large is written without being asked for, so that its memory is bounded.
const GROUP_BYTES_FULL: usize = 16 << 20;

/// The layout of a journal on disk.
#[derive(Clone, Debug)]
pub struct Config {
    /// A group that would make a segment longer than this starts a new one.
    pub segment_bytes: u32,
    /// The disk that it is written to.
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

/// The state of a journal when it was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalRecovery {
    /// Names the journal: the same in its segments and its checkpoints.
    pub journal_id: [u8; 16],
    /// The last position; 0 in a new journal.
    pub last_position: u64,
    /// The journal time of the last position; the epoch in a new journal.
    pub last_time: Time,
    /// The chain at the last position.
    pub chain: blake3::Hash,
    /// The chain at the position that was asked for, to compare with the checkpoint's.
    pub from_chain: blake3::Hash,
    /// The torn end that was cut, to be reported.
    pub torn_tail: Option<TornTail>,
}

/// A journal that is open for writing.
///
/// Dropped without [`close`](Journal::close), it is as after a crash: the synced entries are there.
pub struct Journal {
    dir: PathBuf,
    config: Config,
    journal_id: [u8; 16],
    last: LastSegment,
    /// The bytes of all segments, with the written entries and without those only appended.
    n_bytes: u64,
    /// A group in the making: room for its header, then its entries.
    group: Vec<u8>,
    /// After the last appended entry.
    head: Head,
    /// After the last written one.
    written: Head,
    synced: u64,
    /// The last segment is full: nothing more goes into it, and the next one is yet to be made.
    full: bool,
    poisoned: bool,
}

impl Journal {
    /// Opens the journal in this folder, or creates an empty one.
    ///
    /// Everything from the segment of position `from` on is checked; give the position of the
    /// newest checkpoint, or 0 to check all. A torn end is cut, and the rest is synced.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Missing`], [`Error::CheckpointAhead`] and [`Error::Foreign`]:
    /// the journal is not whole, and was left as it is. [`Error::Io`]: the disk refused.
    pub fn create_or_open(
        dir: &Path,
        from: u64,
        config: Config,
    ) -> Result<(Journal, JournalRecovery), Error> {
        let disk = &config.disk;
        disk.create_folder(dir)?;
        erase::finish(disk, dir)?;
        let mut from_chain = None;
        let found = scan(dir, from, |entry, _| {
            if entry.position == from {
                from_chain = Some(entry.chain);
            }
            Ok(())
        })?;
        if let Some(torn) = &found.torn_tail {
            segment::truncate(disk, torn)?;
        }
        let mut head = found.head;
        let (journal_id, last) = match found.headers.last() {
            Some(header) => {
                let last = LastSegment::open(disk, dir, header.first_position)?;
                (header.journal_id, last)
            }
            None => begin(disk, dir, &mut head)?,
        };
        let first_chain = found.headers.first().map(|first| first.chain);
        // Bytes that a process wrote and did not sync before it died are read from memory, not disk.
        last.sync()?;
        disk.sync_folder(dir)?;
        let recovered = JournalRecovery {
            journal_id,
            last_position: head.position,
            last_time: head.time,
            chain: head.chain,
            from_chain: from_chain.or(first_chain).unwrap_or(head.chain),
            torn_tail: found.torn_tail,
        };
        let n_bytes = if found.headers.is_empty() {
            last.n_bytes
        } else {
            found.n_bytes
        };
        let journal = Journal {
            dir: dir.to_owned(),
            config,
            journal_id,
            last,
            n_bytes,
            group: vec![0; GROUP_HEADER_BYTES],
            written: head.clone(),
            synced: head.position,
            head,
            full: false,
            poisoned: false,
        };
        Ok((journal, recovered))
    }

    /// Takes an event into the group in the making, and gives its position. Journal time never
    /// goes back: an earlier `time` becomes that of the entry before.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Entry`] refuse this event alone. [`Error::NoSegment`]: the
    /// next segment cannot be made now. [`Error::Poisoned`], and [`Error::Io`] from
    /// writing earlier events: nothing more can be written.
    pub fn append(&mut self, time: Time, event: &Event) -> Result<u64, Error> {
        self.start_due_segment()?;
        if self.group.len() >= GROUP_BYTES_FULL {
            self.write()?;
        }
        let start = self.group.len();
        let put = self.put_entry(time.max(self.head.time), event);
        let taken = put.and_then(|head| self.roll(start).map(|()| head));
        match taken {
            Ok(head) => {
                self.head = head;
                Ok(self.head.position)
            }
            Err(error) => {
                self.group.truncate(start);
                Err(error)
            }
        }
    }

    /// Starts the next segment where one is due and could not be made before.
    ///
    /// # Errors
    /// [`Error::NoSegment`]: it cannot be made now, for want of room or descriptors; all that was
    /// taken is on disk, and this can be called again. [`Error::Io`]: the disk refused, and the
    /// journal is poisoned. [`Error::Poisoned`] from then on.
    pub(crate) fn start_due_segment(&mut self) -> Result<(), Error> {
        self.check_sound()?;
        if !self.full {
            return Ok(());
        }
        let disk = &self.config.disk;
        match LastSegment::create(disk, &self.dir, self.journal_id, &self.written) {
            Ok(next) => {
                self.n_bytes += next.n_bytes;
                self.last = next;
                self.full = false;
                Ok(())
            }
            Err(Error::Io { source, .. }) if is_passing(&source) => {
                let path = segment::path(&self.dir, self.written.position + 1);
                Err(Error::NoSegment { path, source })
            }
            Err(error) => self.poison_on_error(Err(error)),
        }
    }

    /// Writes the group in the making, without a sync, and gives the last written position.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused, and the journal is poisoned. [`Error::Poisoned`] from then
    /// on: the content of the disk is known only after opening again.
    pub fn write(&mut self) -> Result<u64, Error> {
        self.check_sound()?;
        if self.group.len() > GROUP_HEADER_BYTES {
            let written = self.write_group();
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
        if self.full {
            // The next segment may be there in part: nothing more goes into this one.
            return Ok(());
        }
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

    /// The position of the first entry that is still held.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused.
    pub fn first_position(&self) -> Result<u64, Error> {
        let segments = segment::segments(&self.dir)?;
        Ok(segments.first().map_or(1, |first| first.first_position))
    }

    /// Sets the length from which on a group starts a new segment.
    pub(crate) fn set_segment_bytes(&mut self, segment_bytes: u32) {
        self.config.segment_bytes = segment_bytes;
    }

    /// The position that the last segment begins at.
    pub(crate) fn last_segment(&self) -> u64 {
        self.last.first_position
    }

    /// The last position that survives anything.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// The chain at the last appended position.
    pub fn chain(&self) -> blake3::Hash {
        self.head.chain
    }

    /// Names the journal: the same in its segments and its checkpoints.
    pub fn journal_id(&self) -> [u8; 16] {
        self.journal_id
    }

    /// The bytes of all segments together, with the entries that are only appended.
    pub fn bytes(&self) -> u64 {
        self.n_bytes + (self.group.len() - GROUP_HEADER_BYTES) as u64
    }

    /// The bytes of all segments together on disk.
    #[cfg(test)]
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.n_bytes
    }

    fn check_sound(&self) -> Result<(), Error> {
        if self.poisoned {
            Err(Error::Poisoned {
                path: self.dir.clone(),
            })
        } else {
            Ok(())
        }
    }

    /// The system may drop bytes that it failed to write and call the next sync a success, so a failed
    /// one is never tried again.
    fn poison_on_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.poisoned |= result.is_err();
        result
    }

    fn put_entry(&mut self, time: Time, event: &Event) -> Result<Head, Error> {
        let position = self.head.position + 1;
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
            digest: blake3::hash(payload),
            chain: [0; 32].into(),
        };
        let bytes = header.link(&self.head.chain);
        self.group[start..payload_start].copy_from_slice(&bytes);
        Ok(Head {
            position,
            time,
            chain: header.chain,
        })
    }

    /// Starts a new segment with the entry at `start` of the group where it would make the current one too
    /// long; writes and syncs the one before it.
    fn roll(&mut self, start: usize) -> Result<(), Error> {
        let n_bytes = self.last.n_bytes + self.group.len() as u64;
        let is_first = start == GROUP_HEADER_BYTES;
        let has_entries = !is_first || self.written.position >= self.last.first_position;
        if !has_entries || n_bytes <= u64::from(self.config.segment_bytes) {
            return Ok(());
        }
        let entry = self.group.split_off(start);
        self.sync()?;
        self.full = true;
        self.start_due_segment()?;
        self.group.extend_from_slice(&entry);
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
        self.written = self.head.clone();
        self.group.truncate(GROUP_HEADER_BYTES);
        self.group.shrink_to(2 * GROUP_BYTES_FULL);
        Ok(())
    }
}

/// The first segment of a new journal.
fn begin(disk: &Disk, dir: &Path, head: &mut Head) -> Result<([u8; 16], LastSegment), Error> {
    let journal_id = rand::random();
    head.chain = genesis(&journal_id);
    let last = LastSegment::create(disk, dir, journal_id, head)?;
    Ok((journal_id, last))
}

#[cfg(test)]
mod tests;
