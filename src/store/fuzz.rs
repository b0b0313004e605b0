//! Any bytes as the files of a data directory: the bodies of fuzz targets.
//!
//! Invariant: they write in the given folder alone.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::checkpoint::{Manifest, read_foreign, read_tensors};
use super::disk::{ChangeOutcome, Disk, DiskChange};
use super::format::{decode, encode, format as format_of, kind as kind_of};
use super::journal::{Config, Journal, Reader, verify};
use crate::learn::Learner;

/// The payload of an entry: its kind, the version of its format, and its bytes. An event that is read is
/// written again, and read again as it was.
pub(crate) fn journal(bytes: &[u8]) {
    let Some((&[kind, format], payload)) = bytes.split_first_chunk() else {
        return;
    };
    if let Ok(event) = decode(kind, format, Bytes::copy_from_slice(payload)) {
        let mut written = Vec::new();
        encode(&event, &mut written).expect("it was read");
        let again = decode(kind_of(&event), format_of(&event), written.into());
        // Numbers that are none are unequal.
        let again = again.expect("it was written");
        assert_eq!(format!("{again:?}"), format!("{event:?}"));
    }
}

/// The only segment of a journal, in this folder: it is verified, read, and opened to be written.
pub(crate) fn segment(bytes: &[u8], folder: &Path) {
    let folder = folder.join("journal");
    // An earlier process may have left its folder.
    let _ = fs::remove_dir_all(&folder);
    let first = folder.join("00000000000000000001.seg");
    let made = fs::create_dir(&folder).and_then(|()| fs::write(first, bytes));
    made.expect("the folder is there to be written in");
    let last = verify(&folder).map_or(u64::MAX, |report| report.last_position);
    if let Ok(mut reader) = Reader::open(&folder, 1, 0) {
        while let Ok(Some(_)) = reader.next(last) {}
    }
    let disk = Disk::watched(|change| match change {
        DiskChange::Sync(_) | DiskChange::SyncFolder(_) => Ok(ChangeOutcome::Pretend),
        _ => Ok(ChangeOutcome::Make),
    });
    let config = Config {
        disk,
        ..Config::default()
    };
    if let Ok((journal, recovered)) = Journal::create_or_open(&folder, 0, config) {
        // The journal verifies up to the position that recovery found.
        let _ = journal.close();
        let report = verify(&folder).expect("it was opened");
        assert_eq!(report.last_position, recovered.last_position);
    }
}

/// The files of a checkpoint behind each other: the bytes of the first in 4 bytes, then both. A learner
/// that is read is written again.
pub(crate) fn checkpoint(bytes: &[u8]) {
    let _ = Manifest::parse(bytes);
    let _ = read_foreign(bytes);
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let length = u32::from_le_bytes(*length) as usize;
    let Some((weights, state)) = rest.split_at_checked(length) else {
        return;
    };
    if let (Ok(weights), Ok(state)) = (read_tensors(weights), read_tensors(state))
        && let Ok(learner) = Learner::load(weights, state)
    {
        let _ = learner.state();
    }
}
