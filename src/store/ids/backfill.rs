//! The feedback ids of declared backfills, which are known for as long as their entries are retained.
//!
//! Invariant: an id goes with its entry, and never by its age or for room. All up to the position that
//! the ids of the last day cover lie on disk; without the file they are read from the journal again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::record::{RECORD_BYTES, Record, mark};
use super::tail::Tail;
use crate::event::{Feedback, Time};
use crate::learn::feedback_key;
use crate::store::disk::Disk;
use crate::store::error::Error;

/// Records in the file beyond twice the ids held, at which it is written anew.
const LOOSE_MAX: usize = 4096;

/// The ids of the backfills of one journal.
#[derive(Debug)]
pub struct BackfillIds {
    disk: Disk,
    path: PathBuf,
    journal_id: [u8; 16],
    /// The file of the ids; none until it is written for the first time.
    file: Option<Tail>,
    /// By the key: the position of the first event, and the mark of its content.
    known: HashMap<u128, (u64, u32)>,
    /// The ids that are not on disk.
    unwritten: Vec<Record>,
}

impl BackfillIds {
    /// The ids in a file, of a journal that ends at `last_position`.
    ///
    /// # Errors
    /// [`Error::Foreign`]: the file differs from the written one, or is of another journal. [`Error::Io`].
    pub(super) fn open(
        disk: &Disk,
        path: &Path,
        journal_id: [u8; 16],
        last_position: u64,
    ) -> Result<BackfillIds, Error> {
        let mut known = HashMap::new();
        let file = Tail::open(disk, path, &journal_id, |_, records| {
            let held = records.iter().filter(|one| one.position <= last_position);
            known.extend(held.map(|one| (one.key, (one.position, one.mark))));
        })?;
        let mut ids = BackfillIds {
            disk: disk.clone(),
            path: path.to_owned(),
            journal_id,
            file,
            known,
            unwritten: Vec::new(),
        };
        // The journal has lost those events.
        if ids
            .file
            .as_ref()
            .is_some_and(|file| file.covers > last_position)
        {
            ids.write_anew(last_position)?;
        }
        Ok(ids)
    }

    /// True if the journal itself is the only record of the ids.
    pub(crate) fn is_unknown(&self) -> bool {
        self.file.is_none()
    }

    /// The position of the first event with an id, and the mark of its content.
    pub fn find(&self, feedback_id: &str) -> Option<(u64, u32)> {
        self.known.get(&feedback_key(feedback_id)).copied()
    }

    /// The number of ids held.
    pub fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// True if no id is held.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// True if so many bytes have no room for one more.
    pub fn is_full(&self, bytes_max: u64) -> bool {
        (self.len() + 1) * RECORD_BYTES as u64 > bytes_max
    }

    /// Holds the id of an event of a backfill; of any other event, or one that is held, nothing.
    pub fn insert(&mut self, feedback: &Feedback, position: u64, time: Time) {
        if feedback.backfill().is_none() {
            return;
        }
        let record = Record {
            key: feedback_key(&feedback.feedback_id),
            position,
            time,
            source: 0,
            mark: mark(feedback),
        };
        let held = self.known.entry(record.key);
        if let std::collections::hash_map::Entry::Vacant(place) = held {
            place.insert((position, record.mark));
            self.unwritten.push(record);
        }
    }

    /// Drops the ids whose entries the journal does not hold any more.
    pub(crate) fn forget_before(&mut self, first_position: u64) {
        self.known
            .retain(|_, (position, _)| *position >= first_position);
        self.unwritten.retain(|one| one.position >= first_position);
    }

    /// Writes the ids of events up to `synced` that are not on disk.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk refused. Nothing is lost, and it can be tried again.
    pub(super) fn flush(&mut self, synced: u64) -> Result<(), Error> {
        let n_held = self.known.len();
        let is_loose = |file: &Tail| file.n_records > 2 * n_held + LOOSE_MAX;
        if self.file.as_ref().is_none_or(is_loose) {
            return self.write_anew(synced);
        }
        let n_synced = self.unwritten.partition_point(|one| one.position <= synced);
        if n_synced > 0
            && let Some(file) = &mut self.file
        {
            file.append(synced, &self.unwritten[..n_synced])?;
            self.unwritten.drain(..n_synced);
        }
        Ok(())
    }

    fn write_anew(&mut self, synced: u64) -> Result<(), Error> {
        let record = |(key, (position, mark)): (&u128, &(u64, u32))| Record {
            key: *key,
            position: *position,
            time: Time(0),
            source: 0,
            mark: *mark,
        };
        let records = self.known.iter().map(record);
        let mut records: Vec<Record> = records.filter(|one| one.position <= synced).collect();
        records.sort_unstable_by_key(|one| one.position);
        let (disk, path) = (&self.disk, &self.path);
        let file = Tail::begin(disk, path, &self.journal_id, synced, &records)?;
        self.file = Some(file);
        self.unwritten.retain(|one| one.position > synced);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::{BACKFILL_TAG, PredictionId, Signal, Subject};

    fn event(feedback_id: &str, backfill: Option<&str>) -> Feedback {
        let tags = backfill.map(|name| (BACKFILL_TAG.to_owned(), name.to_owned()));
        Feedback {
            feedback_id: feedback_id.to_owned(),
            subject: Subject::Prediction(PredictionId(1)),
            signal: Signal::Value(1.0),
            source: String::new(),
            event_time: None,
            tags: BTreeMap::from_iter(tags),
            actor: String::new(),
            weight: 1.0,
            comment: String::new(),
            may_correct: false,
        }
    }

    fn open(folder: &Path, last_position: u64) -> BackfillIds {
        let path = folder.join("backfill");
        BackfillIds::open(&Disk::default(), &path, [7; 16], last_position).expect("it opens")
    }

    #[test]
    fn ids_of_a_backfill_are_known_as_long_as_their_entries() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut ids = open(folder.path(), 0);
        assert!(ids.is_unknown());
        ids.insert(&event("other", None), 1, Time(1));
        for position in 2..=4 {
            let feedback_id = format!("row-{position}");
            ids.insert(&event(&feedback_id, Some("may")), position, Time(1));
        }
        ids.flush(3).expect("it is written");
        // Ids that are not synced are read from the journal again.
        let ids = open(folder.path(), 3);
        assert!(!ids.is_unknown());
        assert_eq!(ids.len(), 2);
        assert_eq!(ids.find("row-3").map(|(position, _)| position), Some(3));
        assert_eq!((ids.find("row-4"), ids.find("other")), (None, None));
        // The journal has lost its end.
        let mut ids = open(folder.path(), 2);
        assert_eq!(ids.len(), 1);
        ids.forget_before(3);
        assert!(ids.is_empty());
        assert_eq!(
            open(folder.path(), 9).len(),
            1,
            "the file goes with later ones"
        );
    }

    #[test]
    fn an_id_has_its_first_position_and_the_file_stays_small() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut ids = open(folder.path(), 0);
        for position in 1..=10_000 {
            let feedback_id = format!("row-{position}");
            ids.insert(&event(&feedback_id, Some("may")), position, Time(1));
        }
        ids.insert(&event("row-1", Some("june")), 10_001, Time(1));
        assert_eq!(ids.find("row-1").map(|(position, _)| position), Some(1));
        assert!(ids.is_full(10_000 * RECORD_BYTES as u64));
        assert!(!ids.is_full(10_001 * RECORD_BYTES as u64));
        ids.flush(10_000).expect("it is written");
        ids.forget_before(9_999);
        ids.flush(10_000).expect("it is written");
        assert_eq!(open(folder.path(), 10_000).len(), 2);
        let bytes = std::fs::metadata(folder.path().join("backfill")).expect("a file");
        assert!(bytes.len() < 200, "{}", bytes.len());
    }
}
