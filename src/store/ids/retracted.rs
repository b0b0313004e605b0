//! The positions of retracted feedback, in one file.
//!
//! Invariant: the file under its name is whole. The journal has the same as long as it holds the
//! events: it is written before they go.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use super::files::{self, folder_of, replace};
use super::record::array;
use crate::store::disk::Disk;
use crate::store::error::Error;
use crate::store::regular;

const MAGIC: &[u8; 8] = b"PRN idsr";
const HEADER_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 4;
/// The largest file, which is read whole: eight bytes for each position.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Writes the positions; they take the place of those that are there.
pub(super) fn write(
    disk: &Disk,
    path: &Path,
    journal_id: &[u8; 16],
    positions: &BTreeSet<u64>,
) -> Result<(), Error> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(journal_id);
    bytes.extend(positions.iter().flat_map(|at| at.to_le_bytes()));
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend(checksum.to_le_bytes());
    replace(disk, path, &bytes)
}

/// The positions that were written; none where there is no file.
pub(super) fn read(path: &Path, journal_id: &[u8; 16]) -> Result<BTreeSet<u64>, Error> {
    let bytes = match regular::read(folder_of(path), path, FILE_BYTES_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        read => read.map_err(Error::io(path, "read it"))?,
    };
    let damaged = |what: &str| files::damaged(path, what);
    let n_bytes = bytes.len().checked_sub(CHECKSUM_BYTES);
    let (content, checksum) = match n_bytes {
        Some(n_bytes) if n_bytes >= HEADER_BYTES => bytes.split_at(n_bytes),
        _ => return Err(damaged("it ends in its header")),
    };
    if crc32c::crc32c(content) != u32::from_le_bytes(array(checksum)) || content[..8] != *MAGIC {
        return Err(damaged("its content is not what was written"));
    }
    if content[8..24] != *journal_id {
        return Err(damaged("it is of another journal"));
    }
    let positions = content[HEADER_BYTES..].chunks_exact(8);
    Ok(positions
        .map(|bytes| u64::from_le_bytes(array(bytes)))
        .collect())
}
