//! The list of an erasure under way: the entries whose payloads are being overwritten.
//!
//! Invariant: a list that is not whole was never synced, so nothing of it has been overwritten.

use std::io;
use std::path::Path;

use super::segment::{self, ERASURE_LIST, Segment};
use crate::event::ErasedKind;
use crate::store::error::Error;
use crate::store::format::{EntryHeader, OverwrittenEntry, erasable, parse_erased, parse_list};
use crate::store::regular;

/// Eight bytes a position, and more of them than could be erased at once in memory.
const LIST_BYTES_MAX: u64 = 1 << 30;

/// The list of an erasure, as it is on disk.
pub(super) enum ErasureList {
    Nothing,
    Torn,
    Whole(Vec<OverwrittenEntry>),
}

pub(super) fn read(dir: &Path) -> Result<ErasureList, Error> {
    let path = dir.join(ERASURE_LIST);
    let bytes = match regular::read(dir, &path, LIST_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ErasureList::Nothing),
        bytes => bytes.map_err(Error::io(&path, "read it"))?,
    };
    let Some(&first) = segment::list(dir)?.first() else {
        return Err(Error::foreign(&path, "there is no journal beside it"));
    };
    let journal_id = Segment::open(dir, first)?.header.journal_id;
    Ok(match parse_list(&bytes, &journal_id) {
        Ok(list) => ErasureList::Whole(list),
        Err(_) => ErasureList::Torn,
    })
}

/// The kind of an entry that was erased or is being erased, by its payload.
pub(super) fn erased_kind(
    segment: &Segment,
    header: &EntryHeader,
    payload: &[u8],
) -> Result<Option<ErasedKind>, Error> {
    let Some(kind) = erasable(header.kind) else {
        return Ok(None);
    };
    let kept = |tombstone| match kind {
        ErasedKind::Feedback(_) => ErasedKind::Feedback(tombstone),
        ErasedKind::Prediction | ErasedKind::Duplicate => kind,
    };
    if let Some(tombstone) = parse_erased(header, &segment.header.journal_id, payload) {
        return Ok(Some(kept(tombstone)));
    }
    let dir = segment.path.parent().expect("a segment lies in a folder");
    let ErasureList::Whole(list) = read(dir)? else {
        return Ok(None);
    };
    let place = list.binary_search_by_key(&header.position, |one| one.position);
    Ok(place.ok().map(|place| kept(list[place].tombstone)))
}
