//! The scan of one segment: every byte of its groups is checked.
//!
//! Invariant: the head moves over whole, sound groups only.

use super::erasure_list;
use super::read_buffer::ReadBuffer;
use super::segment::{Head, Segment};
use crate::event::ErasedKind;
use crate::store::error::{Error, Malformed};
use crate::store::format::{
    ENTRY_HEADER_BYTES, EntryHeader, GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES,
    chain_after,
};

/// The bytes read at once.
pub(super) const CHUNK: usize = 256 << 10;

/// The payload of an entry.
pub(super) enum Content<'a> {
    Written(&'a [u8]),
    Erased(ErasedKind),
}

/// The first group that is not sound: where it starts, and its fault.
pub(super) struct Corruption {
    pub group: u64,
    pub offset: u64,
    pub malformed: Malformed,
}

/// Checks the groups of a segment and moves the head over each that is sound; stops at the first
/// that is not.
pub(super) fn scan_segment(
    segment: &Segment,
    head: &mut Head,
    visit: &mut impl FnMut(&EntryHeader, Content) -> Result<(), Error>,
) -> Result<Option<Corruption>, Error> {
    let mut scan = SegmentScan {
        segment,
        buffer: ReadBuffer::new(CHUNK),
        len: segment.len()?,
        visit,
    };
    let mut at = SEGMENT_HEADER_BYTES as u64;
    while at < scan.len {
        match scan.group(at, head.clone()) {
            Ok((end, after)) => (at, *head) = (end, after),
            Err(Stop::Corruption { offset, malformed }) => {
                return Ok(Some(Corruption {
                    group: at,
                    offset,
                    malformed,
                }));
            }
            Err(Stop::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

struct SegmentScan<'a, V> {
    segment: &'a Segment,
    buffer: ReadBuffer,
    len: u64,
    visit: &'a mut V,
}

impl<V: FnMut(&EntryHeader, Content) -> Result<(), Error>> SegmentScan<'_, V> {
    /// The group at `start`, whole: where it ends, and the head after it.
    fn group(&mut self, start: u64, mut head: Head) -> Result<(u64, Head), Stop> {
        let Some(bytes) = self.buffer.array(self.segment, start)? else {
            return corruption(start, "the file ends in a group header");
        };
        let group = match GroupHeader::parse(bytes, &self.segment.header.journal_id) {
            Ok(group) => group,
            Err(malformed) => return corruption(start, malformed.0),
        };
        let next = head.position + 1;
        if group.first_position != next {
            let got = group.first_position;
            return corruption(
                start,
                format!("the group is of position {got}, expected {next}"),
            );
        }
        if group.synced_position >= next {
            let got = group.synced_position;
            return corruption(
                start,
                format!("the group of position {next} records {got} as synced"),
            );
        }
        let mut at = start + GROUP_HEADER_BYTES as u64;
        let end = at + u64::from(group.n_bytes);
        if end > self.len {
            let (got, expected) = (self.len - at, group.n_bytes);
            return corruption(
                start,
                format!("the group has {got} of its {expected} bytes"),
            );
        }
        while at < end {
            at = self.entry(at, end, &mut head)?;
        }
        Ok((end, head))
    }

    /// The entry at `start`, in a group that reaches to `group_end`: where it ends.
    fn entry(&mut self, start: u64, group_end: u64, head: &mut Head) -> Result<u64, Stop> {
        let left = group_end - start;
        let header = match self.buffer.array(self.segment, start)? {
            Some(bytes) if left >= ENTRY_HEADER_BYTES as u64 => bytes,
            _ => return corruption(start, "the group ends in an entry header"),
        };
        let entry = match EntryHeader::parse(header) {
            Ok(entry) => entry,
            Err(malformed) => return corruption(start, malformed.0),
        };
        let next = head.position + 1;
        if entry.position != next {
            let got = entry.position;
            return corruption(
                start,
                format!("the entry has position {got}, expected {next}"),
            );
        }
        if entry.time < head.time {
            let (got, before) = (entry.time.0, head.time.0);
            return corruption(start, format!("time {got} goes back behind {before}"));
        }
        if entry.chain != chain_after(&head.chain, header) {
            return corruption(start, "the entry does not continue the chain");
        }
        let offset = start + ENTRY_HEADER_BYTES as u64;
        let end = offset + u64::from(entry.payload_bytes);
        if end > group_end {
            return corruption(start, "the payload is longer than its group");
        }
        let n_bytes = entry.payload_bytes as usize;
        let Some(payload) = self.buffer.get(self.segment, offset, n_bytes)? else {
            return corruption(offset, "the file ends in a payload");
        };
        if blake3::hash(payload) == entry.digest {
            (self.visit)(&entry, Content::Written(payload))?;
        } else if let Some(kind) = erasure_list::erased_kind(self.segment, &entry, payload)? {
            (self.visit)(&entry, Content::Erased(kind))?;
        } else {
            return corruption(
                offset,
                format!("the payload of position {next} is not the one written"),
            );
        }
        *head = Head {
            position: next,
            time: entry.time,
            chain: entry.chain,
        };
        Ok(end)
    }
}

/// The reason why the scan of a group stops before its end.
enum Stop {
    Corruption { offset: u64, malformed: Malformed },
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

fn corruption<T>(offset: u64, what: impl Into<String>) -> Result<T, Stop> {
    let malformed = Malformed(what.into());
    Err(Stop::Corruption { offset, malformed })
}
