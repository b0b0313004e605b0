//! The newest feedback ids, appended to one file in batches.
//!
//! Invariant: a batch counts only whole. One that a crash tore is written over by the next, and
//! its ids are read from the journal again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::files::{damaged, folder_of, replace};
use super::record::{RECORD_BYTES, Record, array};
use crate::store::disk::Disk;
use crate::store::disk::OpenFile;
use crate::store::error::Error;
use crate::store::regular;

const MAGIC: &[u8; 8] = b"PRN idst";
const HEADER_BYTES: usize = 24;
/// The largest file, which is read whole, and sorted into another file long before.
const FILE_BYTES_MAX: u64 = 16 << 30;
/// Checksum, number of records, and the position that they cover the journal to.
const BATCH_HEADER_BYTES: usize = 16;

/// The file, open for appending.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: OpenFile,
    n_bytes: u64,
    pub n_records: usize,
    /// The ids of the journal up to this position are here or in sorted files.
    pub covers: u64,
}

impl Tail {
    /// Begins a new file with these records; it takes the place of the one that is there.
    pub(super) fn begin(
        disk: &Disk,
        path: &Path,
        journal_id: &[u8; 16],
        covers: u64,
        records: &[Record],
    ) -> Result<Tail, Error> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(journal_id);
        bytes.extend(batch(covers, records));
        replace(disk, path, &bytes)?;
        Ok(Tail {
            path: path.to_owned(),
            file: disk.open(path).map_err(Error::io(path, "open it"))?,
            n_bytes: bytes.len() as u64,
            n_records: records.len(),
            covers,
        })
    }

    /// Opens the file where there is one, and gives the records of each batch with the position that it covers.
    pub(super) fn open(
        disk: &Disk,
        path: &Path,
        journal_id: &[u8; 16],
        mut found: impl FnMut(u64, &[Record]),
    ) -> Result<Option<Tail>, Error> {
        let Some(bytes) = read(path, journal_id)? else {
            return Ok(None);
        };
        let (mut n_bytes, mut n_records, mut last_covers) = (HEADER_BYTES, 0, 0);
        while let Some((covers, records, n)) = parse(&bytes[n_bytes..]) {
            found(covers, &records);
            n_bytes += n;
            n_records += records.len();
            last_covers = covers;
        }
        Ok(Some(Tail {
            path: path.to_owned(),
            file: disk.open(path).map_err(Error::io(path, "open it"))?,
            n_bytes: n_bytes as u64,
            n_records,
            covers: last_covers,
        }))
    }

    /// Appends a batch; it is on disk when this returns.
    pub(super) fn append(&mut self, covers: u64, records: &[Record]) -> Result<(), Error> {
        let bytes = batch(covers, records);
        let append = || {
            self.file.write_at(self.n_bytes, &bytes)?;
            self.file.sync()
        };
        append().map_err(Error::io(&self.path, "append to it"))?;
        self.n_bytes += bytes.len() as u64;
        self.n_records += records.len();
        self.covers = covers;
        Ok(())
    }
}

/// Checks the file, where there is one. A crash may have torn its last batch.
pub(super) fn verify(path: &Path, journal_id: &[u8; 16]) -> Result<(), Error> {
    let Some(bytes) = read(path, journal_id)? else {
        return Ok(());
    };
    let mut rest = &bytes[HEADER_BYTES..];
    while let Some((_, _, n)) = parse(rest) {
        rest = &rest[n..];
    }
    let n_bytes = rest.get(..BATCH_HEADER_BYTES).map(|header| {
        let n_records = u32::from_le_bytes(array(&header[4..8])) as usize;
        BATCH_HEADER_BYTES + n_records * RECORD_BYTES
    });
    if n_bytes.is_some_and(|n_bytes| n_bytes < rest.len()) {
        Err(damaged(path, "a batch is not what was written"))
    } else {
        Ok(())
    }
}

/// The whole file with its header checked; none where there is none.
fn read(path: &Path, journal_id: &[u8; 16]) -> Result<Option<Vec<u8>>, Error> {
    let bytes = match regular::read(folder_of(path), path, FILE_BYTES_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::io(path, "read it"))?,
    };
    if bytes.len() < HEADER_BYTES || bytes[..8] != *MAGIC {
        return Err(damaged(path, "its header is not what was written"));
    }
    if bytes[8..24] == *journal_id {
        Ok(Some(bytes))
    } else {
        Err(damaged(path, "it is of another journal"))
    }
}

fn batch(covers: u64, records: &[Record]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend((records.len() as u32).to_le_bytes());
    bytes.extend(covers.to_le_bytes());
    records
        .iter()
        .for_each(|record| bytes.extend(record.to_bytes()));
    let checksum = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The batch at the start of these bytes, if it is whole, and how long it is.
fn parse(bytes: &[u8]) -> Option<(u64, Vec<Record>, usize)> {
    let header = bytes.get(..BATCH_HEADER_BYTES)?;
    let n_records = u32::from_le_bytes(array(&header[4..8])) as usize;
    let n_bytes = n_records.checked_mul(RECORD_BYTES)?;
    let n_bytes = n_bytes.checked_add(BATCH_HEADER_BYTES)?;
    let bytes = bytes.get(..n_bytes)?;
    if crc32c::crc32c(&bytes[4..]) != u32::from_le_bytes(array(&header[..4])) {
        return None;
    }
    let records = bytes[BATCH_HEADER_BYTES..].chunks_exact(RECORD_BYTES);
    let covers = u64::from_le_bytes(array(&header[8..16]));
    Some((covers, records.map(Record::parse).collect(), n_bytes))
}
