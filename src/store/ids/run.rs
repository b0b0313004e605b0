//! Many feedback ids, sorted in one file that is never changed.
//!
//! Invariant: a file under its final name is whole; memory holds a byte for each of its ids.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::files::{self, folder_of, replace};
use super::record::{IdCounts, RECORD_BYTES, Record, array};
use crate::event::Time;
use crate::store::disk::Disk;
use crate::store::error::Error;
use crate::store::regular;

const MAGIC: &[u8; 8] = b"PRN ids1";
const HEADER_BYTES: usize = 48;
/// Records that are read at once where all are read.
const STRIDE: usize = 4096;

/// A sorted file.
#[derive(Debug)]
pub(super) struct SortedRun {
    path: PathBuf,
    len: u64,
    /// The ids of the journal up to this position are here or in earlier files.
    pub covers: u64,
    /// Where the oldest of them stands, and when the newest was accepted.
    pub oldest: u64,
    pub newest: Time,
    pub counts: IdCounts,
    filter: Filter,
}

impl SortedRun {
    /// Writes a file of these records, which it sorts.
    pub(super) fn write(
        disk: &Disk,
        folder: &Path,
        journal_id: &[u8; 16],
        covers: u64,
        records: &mut [Record],
    ) -> Result<SortedRun, Error> {
        records.sort_unstable_by_key(|record| record.key);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len() * RECORD_BYTES);
        bytes.resize(HEADER_BYTES, 0);
        records
            .iter()
            .for_each(|record| bytes.extend(record.to_bytes()));
        let checksum = crc32c::crc32c(&bytes[HEADER_BYTES..]);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..24].copy_from_slice(journal_id);
        bytes[24..32].copy_from_slice(&covers.to_le_bytes());
        bytes[32..40].copy_from_slice(&(records.len() as u64).to_le_bytes());
        bytes[40..44].copy_from_slice(&checksum.to_le_bytes());
        let header = crc32c::crc32c(&bytes[..44]);
        bytes[44..48].copy_from_slice(&header.to_le_bytes());
        let path = folder.join(format!("{covers:020}.ids"));
        replace(disk, &path, &bytes)?;
        let mut run = SortedRun::empty(path, covers, records.len());
        records.iter().for_each(|record| run.note(record));
        Ok(run)
    }

    /// Opens a file, checks all of it, and gives each of its records.
    pub(super) fn open(
        path: &Path,
        journal_id: &[u8; 16],
        mut found: impl FnMut(Record),
    ) -> Result<SortedRun, Error> {
        let failed = |error| Error::io(path, "read it")(error);
        let damaged = |what: &str| files::damaged(path, what);
        let mut file = regular::open(folder_of(path), path).map_err(failed)?;
        let mut header = [0; HEADER_BYTES];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("it ends in its header"));
            }
            read => read.map_err(failed)?,
        }
        let checksum = u32::from_le_bytes(array(&header[44..]));
        if header[..8] != *MAGIC || crc32c::crc32c(&header[..44]) != checksum {
            return Err(damaged("its header is not what was written"));
        }
        if header[8..24] != *journal_id {
            return Err(damaged("it is of another journal"));
        }
        let covers = u64::from_le_bytes(array(&header[24..32]));
        let len = u64::from_le_bytes(array(&header[32..40]));
        let n_bytes = file.metadata().map_err(failed)?.len();
        if len.checked_mul(RECORD_BYTES as u64) != n_bytes.checked_sub(HEADER_BYTES as u64) {
            return Err(damaged("its length is not that in its header"));
        }
        let mut run = SortedRun::empty(path.to_owned(), covers, len as usize);
        let (mut checksum, mut left) = (0, len as usize);
        let mut bytes = vec![0; STRIDE * RECORD_BYTES];
        while left > 0 {
            let n = left.min(STRIDE);
            let bytes = &mut bytes[..n * RECORD_BYTES];
            file.read_exact(bytes).map_err(failed)?;
            checksum = crc32c::crc32c_append(checksum, bytes);
            let records = bytes.chunks_exact(RECORD_BYTES);
            for record in records.map(Record::parse) {
                run.note(&record);
                found(record);
            }
            left -= n;
        }
        if checksum == u32::from_le_bytes(array(&header[40..44])) {
            Ok(run)
        } else {
            Err(damaged("its content is not what was written"))
        }
    }

    fn empty(path: PathBuf, covers: u64, len: usize) -> SortedRun {
        SortedRun {
            path,
            len: len as u64,
            covers,
            oldest: u64::MAX,
            newest: Time(i64::MIN),
            counts: IdCounts::default(),
            filter: Filter::new(len),
        }
    }

    fn note(&mut self, record: &Record) {
        self.oldest = self.oldest.min(record.position);
        self.newest = self.newest.max(record.time);
        self.counts.add(record.source);
        self.filter.add(record.key);
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The record of an id, if it is here.
    pub(super) fn find(&self, key: u128) -> Result<Option<Record>, Error> {
        if !self.filter.may_hold(key) {
            return Ok(None);
        }
        let find = || -> io::Result<Option<Record>> {
            // Not kept open: there may be many, and other files need their descriptors.
            let file = regular::open(folder_of(&self.path), &self.path)?;
            let mut bytes = [0; RECORD_BYTES];
            let (mut from, mut to) = (0, self.len);
            while from < to {
                let middle = from + (to - from) / 2;
                file.read_exact_at(
                    &mut bytes,
                    HEADER_BYTES as u64 + middle * RECORD_BYTES as u64,
                )?;
                let record = Record::parse(&bytes);
                match record.key.cmp(&key) {
                    std::cmp::Ordering::Less => from = middle + 1,
                    std::cmp::Ordering::Greater => to = middle,
                    std::cmp::Ordering::Equal => return Ok(Some(record)),
                }
            }
            Ok(None)
        };
        find().map_err(Error::io(&self.path, "read it"))
    }

    pub(super) fn remove(&self, disk: &Disk) -> Result<(), Error> {
        disk.remove(&self.path)
    }
}

/// A Bloom filter of the ids in a file: one in twenty that is not there passes. Keys are uniform
/// already.
#[derive(Debug)]
struct Filter(Vec<u64>);

impl Filter {
    fn new(n_keys: usize) -> Filter {
        Filter(vec![0; n_keys.div_ceil(8).max(1)])
    }

    fn bits(&self, key: u128) -> [usize; 2] {
        let n_bits = self.0.len() as u128 * 64;
        let bit = |half: u64| ((u128::from(half) * n_bits) >> 64) as usize;
        [bit((key >> 64) as u64), bit(key as u64)]
    }

    fn add(&mut self, key: u128) {
        for bit in self.bits(key) {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn may_hold(&self, key: u128) -> bool {
        let set = |bit: usize| self.0[bit / 64] >> (bit % 64) & 1 == 1;
        self.bits(key).into_iter().all(set)
    }
}
