//! The feedback ids of the last day, with the positions of their first events.
//!
//! Invariant: an id is forgotten by its age in journal time alone, never for room; that of a declared
//! backfill once its entry is. The newest lie in memory; all lie on disk up to a position of the journal,
//! from where its entries say the rest.

mod backfill;
mod files;
mod record;
mod retracted;
mod run;
mod tail;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};

pub use backfill::BackfillIds;
use record::IdCounts;
pub use record::Record;
pub(crate) use record::{RECORD_BYTES, mark};
use run::SortedRun;
use tail::Tail;

use super::regular::is_there;
use crate::event::{Feedback, Time};
use crate::learn::{feedback_key, is_forgotten};
use crate::store::disk::Disk;
use crate::store::error::Error;

/// Sources with a count of their own; all others have one together.
const SOURCES_MAX: usize = 4096;
const OTHERS: u32 = u32::MAX;
/// Files beside the sorted ones.
const TAIL: &str = "tail";
const RETRACTED: &str = "retracted";
const BACKFILL: &str = "backfill";
/// Ids that are not on disk yet, at most, in so many parts of those in memory.
const UNWRITTEN_PARTS: usize = 4;

/// How much is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdBounds {
    /// Ids in memory; more are sorted into a file.
    pub memory_max: usize,
    /// Bytes on disk.
    pub bytes_max: u64,
    /// Ids that come between two syncs of the journal at most.
    pub group_max: usize,
}

impl IdBounds {
    /// How many ids that is.
    pub(crate) fn ids_max(&self) -> u64 {
        self.bytes_max / RECORD_BYTES as u64
    }

    /// A few files at least, so that old ones can go while new ones come.
    fn sealed_at(&self) -> usize {
        self.memory_max.min(self.ids_max() as usize / 8).max(1)
    }

    /// Ids that are not on disk, at most. None of a group can be written before its sync, so it is two
    /// groups at least.
    pub(crate) fn unwritten_max(&self) -> usize {
        2 * self.sealed_at().max(self.group_max)
    }
}

/// The reason why no more ids are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdsFull {
    /// The source may hold no more.
    Source {
        /// Ids of this source.
        held: u64,
        /// Ids of all.
        all: u64,
    },
    /// So many are not on disk: it refuses them.
    Unwritten(usize),
}

/// The ids of one journal.
#[derive(Debug)]
pub struct Ids {
    disk: Disk,
    folder: PathBuf,
    journal_id: [u8; 16],
    /// Sorted files, by the positions that they cover.
    runs: VecDeque<SortedRun>,
    tail: Option<Tail>,
    /// The ids in no sorted file, and their keys in the order in which they came.
    recent: HashMap<u128, Record>,
    order: VecDeque<u128>,
    /// Ids that are not on disk.
    unwritten: Vec<Record>,
    counts: IdCounts,
    n_ids: u64,
    /// The positions of retracted feedback, as they are on disk.
    retracted: BTreeSet<u64>,
    /// The ids of declared backfills.
    pub backfill: BackfillIds,
}

impl Ids {
    /// The ids of a journal that ends at `last_position`, as far as they lie in this folder: the entries
    /// behind those that they cover hold the rest.
    ///
    /// # Errors
    /// [`Error::Foreign`]: a file differs from the written one, or is of another journal. [`Error::Io`].
    pub fn open(
        disk: &Disk,
        folder: &Path,
        journal_id: [u8; 16],
        last_position: u64,
    ) -> Result<Ids, Error> {
        disk.create_folder(folder)?;
        let path = folder.join(BACKFILL);
        let mut ids = Ids {
            backfill: BackfillIds::open(disk, &path, journal_id, last_position)?,
            disk: disk.clone(),
            folder: folder.to_owned(),
            journal_id,
            runs: VecDeque::new(),
            tail: None,
            recent: HashMap::new(),
            order: VecDeque::new(),
            unwritten: Vec::new(),
            counts: IdCounts::default(),
            n_ids: 0,
            retracted: BTreeSet::new(),
        };
        ids.retracted = retracted::read(&ids.retracted_path(), &journal_id)?;
        ids.retracted.retain(|position| *position <= last_position);
        let (mut newer, mut ahead) = (Vec::new(), Vec::new());
        for path in list(folder)? {
            let mut records = Vec::new();
            let run = SortedRun::open(&path, &ids.journal_id, |record| records.push(record))?;
            if run.covers > last_position {
                newer.append(&mut records);
                ahead.push(run);
                continue;
            }
            ids.counts.add_all(&run.counts);
            ids.n_ids += run.len();
            ids.runs.push_back(run);
        }
        let sorted = ids.runs.back().map_or(0, |run| run.covers);
        let path = ids.tail_path();
        ids.tail = Tail::open(disk, &path, &ids.journal_id, |covers, records| {
            // A crash may leave records that were sorted already.
            if covers > sorted {
                newer.extend_from_slice(records);
            }
        })?;
        newer.sort_unstable_by_key(|record| record.position);
        newer.retain(|record| record.position <= last_position);
        newer.into_iter().for_each(|record| ids.hold(record));
        ids.fall_back(last_position, &ahead)?;
        Ok(ids)
    }

    /// Where the journal ends before the newest id here, it has lost those events: so are their
    /// ids.
    fn fall_back(&mut self, last_position: u64, ahead: &[SortedRun]) -> Result<(), Error> {
        if self.covers() > last_position || !ahead.is_empty() {
            let records: Vec<Record> = self.order.iter().map(|key| self.recent[key]).collect();
            let (disk, path) = (&self.disk, self.tail_path());
            let tail = Tail::begin(disk, &path, &self.journal_id, last_position, &records)?;
            self.tail = Some(tail);
            ahead.iter().try_for_each(|run| run.remove(&self.disk))?;
        }
        Ok(())
    }

    /// All ids of the journal up to this position lie on disk; 0 where none do.
    pub(crate) fn covers(&self) -> u64 {
        let sorted = self.runs.back().map_or(0, |run| run.covers);
        self.tail.as_ref().map_or(0, |tail| tail.covers).max(sorted)
    }

    /// The position of the oldest event whose id is held.
    pub(crate) fn oldest_position(&self) -> Option<u64> {
        let sorted = self.runs.front().map(|run| run.oldest);
        let mut recent = self.order.iter().filter_map(|key| self.recent.get(key));
        sorted.or_else(|| Some(recent.next()?.position))
    }

    /// The positions of the first events of retracted ids, as far as they are on disk.
    pub fn retracted(&self) -> &BTreeSet<u64> {
        &self.retracted
    }

    /// Writes the positions of retracted feedback, if they are not on disk yet.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused; it can be tried again.
    pub(crate) fn write_retracted(&mut self, positions: BTreeSet<u64>) -> Result<(), Error> {
        if positions != self.retracted {
            let path = self.retracted_path();
            retracted::write(&self.disk, &path, &self.journal_id, &positions)?;
            self.retracted = positions;
        }
        Ok(())
    }

    /// The number of ids held.
    pub fn len(&self) -> u64 {
        self.n_ids
    }

    /// True if no id is held.
    pub fn is_empty(&self) -> bool {
        self.n_ids == 0
    }

    /// The first event with an id, if it was accepted within the last day.
    ///
    /// # Errors
    /// [`Error::Io`]: a file cannot be read.
    pub fn find(&self, feedback_id: &str, now: Time) -> Result<Option<Record>, Error> {
        let key = feedback_key(feedback_id);
        let known = |record: &Record| !is_forgotten(record.time, now);
        if let Some(record) = self.recent.get(&key).filter(|record| known(record)) {
            return Ok(Some(*record));
        }
        for run in self.runs.iter().rev() {
            if let Some(record) = run.find(key)?.filter(known) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The number of ids that are not on disk.
    pub(crate) fn n_unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Checks that a source may hold one more id: at most as many as are free, so that there is
    /// always room for others.
    ///
    /// # Errors
    /// The bound that is reached.
    pub(crate) fn check_quota(&self, source: &str, bounds: &IdBounds) -> Result<(), IdsFull> {
        let held = self.counts.of(self.counted_as(source));
        let free = bounds.ids_max().saturating_sub(self.n_ids);
        if self.unwritten.len() >= bounds.unwritten_max() {
            return Err(IdsFull::Unwritten(self.unwritten.len()));
        }
        if held < free {
            return Ok(());
        }
        let all = self.n_ids;
        Err(IdsFull::Source { held, all })
    }

    /// Holds the id of feedback that is new.
    pub fn insert(&mut self, feedback: &Feedback, position: u64, time: Time) {
        self.backfill.insert(feedback, position, time);
        let source = self.counted_as(&feedback.source);
        self.add(Record {
            key: feedback_key(&feedback.feedback_id),
            position,
            time,
            source,
            mark: mark(feedback),
        });
    }

    /// Inserts an id by its key, of an event whose content is not known.
    pub(crate) fn insert_key(&mut self, key: u128, source: &str, position: u64, time: Time) {
        let source = self.counted_as(source);
        self.add(Record {
            key,
            position,
            time,
            source,
            mark: 0,
        });
    }

    fn add(&mut self, record: Record) {
        self.hold(record);
        self.unwritten.push(record);
    }

    /// Removes the ids in memory that are older than a day.
    pub fn forget(&mut self, now: Time) {
        while let Some(key) = self.order.front() {
            if let Some(record) = self.recent.get(key) {
                if !is_forgotten(record.time, now) {
                    break;
                }
                let source = record.source;
                self.recent.remove(key);
                self.counts.remove(source, 1);
                self.n_ids -= 1;
            }
            self.order.pop_front();
        }
    }

    /// True if enough ids are not on disk to write them.
    pub fn is_due(&self, bounds: &IdBounds) -> bool {
        self.unwritten.len() >= bounds.sealed_at().div_ceil(UNWRITTEN_PARTS)
    }

    /// Writes what is not on disk of the events up to `synced`, which nothing can undo: an id of one
    /// that a crash undoes is not known afterwards.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused. Nothing is lost, and it can be tried again.
    pub fn flush(&mut self, synced: u64, now: Time, bounds: &IdBounds) -> Result<(), Error> {
        self.forget(now);
        while let Some(run) = self
            .runs
            .front()
            .filter(|run| is_forgotten(run.newest, now))
        {
            run.remove(&self.disk)?;
            self.counts.remove_all(&run.counts);
            self.n_ids -= run.len();
            self.runs.pop_front();
        }
        // Before the others: all up to the position that those cover are on disk.
        self.backfill.flush(synced)?;
        if synced > self.covers() {
            self.append(synced)?;
        }
        let n_written = self.tail.as_ref().map_or(0, |tail| tail.n_records);
        if n_written >= bounds.sealed_at() {
            self.seal(self.covers(), bounds)
        } else {
            Ok(())
        }
    }

    /// Appends the records up to `synced` that are not on disk.
    fn append(&mut self, synced: u64) -> Result<(), Error> {
        let path = self.tail_path();
        let n_synced = self.unwritten.partition_point(|one| one.position <= synced);
        let records = &self.unwritten[..n_synced];
        match &mut self.tail {
            Some(tail) => tail.append(synced, records)?,
            None => {
                let tail = Tail::begin(&self.disk, &path, &self.journal_id, synced, records)?;
                self.tail = Some(tail);
            }
        }
        self.unwritten.drain(..n_synced);
        Ok(())
    }

    /// Sorts the records in memory into a file, or drops forgotten ones from the tail.
    fn seal(&mut self, synced: u64, bounds: &IdBounds) -> Result<(), Error> {
        let records = self.recent.values().copied();
        let mut records: Vec<Record> = records.filter(|one| one.position <= synced).collect();
        let path = self.tail_path();
        if records.len() * 2 < bounds.sealed_at() {
            records.sort_unstable_by_key(|record| record.position);
            let tail = Tail::begin(&self.disk, &path, &self.journal_id, synced, &records)?;
            self.tail = Some(tail);
            return Ok(());
        }
        let run = SortedRun::write(
            &self.disk,
            &self.folder,
            &self.journal_id,
            synced,
            &mut records,
        )?;
        self.runs.push_back(run);
        let recent = &mut self.recent;
        recent.retain(|_, record| record.position > synced);
        self.order.retain(|key| recent.contains_key(key));
        self.tail = Some(Tail::begin(
            &self.disk,
            &path,
            &self.journal_id,
            synced,
            &[],
        )?);
        Ok(())
    }

    fn hold(&mut self, record: Record) {
        if self.recent.insert(record.key, record).is_none() {
            self.order.push_back(record.key);
            self.counts.add(record.source);
            self.n_ids += 1;
        }
    }

    fn counted_as(&self, source: &str) -> u32 {
        let hash = blake3::hash(source.as_bytes());
        let source = u32::from_le_bytes(record::array(&hash.as_bytes()[..4]));
        let known = self.counts.knows(source) || self.counts.n_sources() < SOURCES_MAX;
        if known { source } else { OTHERS }
    }

    fn retracted_path(&self) -> PathBuf {
        self.folder.join(RETRACTED)
    }

    fn tail_path(&self) -> PathBuf {
        self.folder.join(TAIL)
    }
}

/// Checks all records of the ids of a journal, and changes nothing; no folder holds none.
///
/// # Errors
/// [`Error::Foreign`]: a file differs from the written one, or is of another journal. [`Error::Io`].
pub fn verify(folder: &Path, journal_id: &[u8; 16]) -> Result<(), Error> {
    if !is_there(folder) {
        return Ok(());
    }
    for path in list(folder)? {
        SortedRun::open(&path, journal_id, |_| {})?;
    }
    retracted::read(&folder.join(RETRACTED), journal_id)?;
    tail::verify(&folder.join(BACKFILL), journal_id)?;
    tail::verify(&folder.join(TAIL), journal_id)
}

/// The sorted files, by the positions that they cover.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error| Error::io(folder, "list it")(error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "ids") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests;
