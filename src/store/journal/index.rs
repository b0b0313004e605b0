//! An open segment for reading, and where its entries start.
//!
//! Invariant: an entry is in the table only after its header and position were checked.

use bytes::Bytes;

use super::erasure_list;
use super::read_buffer::ReadBuffer;
use super::segment::Segment;
use crate::event::{ErasedKind, Event};
use crate::store::error::{Error, Malformed};
use crate::store::format::{
    ENTRY_HEADER_BYTES, ERASED_MAGIC, EntryHeader, GROUP_HEADER_BYTES, GroupHeader,
    SEGMENT_HEADER_BYTES, decode,
};

/// An open segment, with where its entries start as far as it was scanned.
pub(super) struct SegmentIndex {
    pub segment: Segment,
    /// One for each entry. They fit: a segment is not started beyond 32 bits.
    offsets: Vec<u32>,
    /// The offset at which the scan goes on.
    scanned: u64,
    /// The end of the current group.
    group_end: u64,
    /// The time at which it was last asked for.
    pub used: u64,
}

impl SegmentIndex {
    pub(super) fn new(segment: Segment, used: u64) -> SegmentIndex {
        SegmentIndex {
            segment,
            offsets: Vec::new(),
            scanned: SEGMENT_HEADER_BYTES as u64,
            group_end: SEGMENT_HEADER_BYTES as u64,
            used,
        }
    }

    /// The start of the entry; `None` when the segment ends before it.
    pub(super) fn locate(
        &mut self,
        position: u64,
        buffer: &mut ReadBuffer,
    ) -> Result<Option<u64>, Error> {
        let index = position - self.segment.header.first_position;
        while self.offsets.len() as u64 <= index {
            if !self.index_next(buffer)? {
                return Ok(None);
            }
        }
        Ok(Some(u64::from(self.offsets[index as usize])))
    }

    /// Passes one header; `false` when the file ends before it.
    fn index_next(&mut self, buffer: &mut ReadBuffer) -> Result<bool, Error> {
        let position = self.segment.header.first_position + self.offsets.len() as u64;
        let at = self.scanned;
        let damaged = |malformed| self.segment.damaged(position, at, malformed);
        if at == self.group_end {
            let Some(bytes) = buffer.array(&self.segment, at)? else {
                return Ok(false);
            };
            let group = GroupHeader::parse(bytes, &self.segment.header.journal_id);
            let group = group.map_err(damaged)?;
            check_position(group.first_position, position).map_err(damaged)?;
            self.scanned += GROUP_HEADER_BYTES as u64;
            self.group_end = self.scanned + u64::from(group.n_bytes);
            return Ok(true);
        }
        let Some(bytes) = buffer.array(&self.segment, at)? else {
            return Ok(false);
        };
        let header = EntryHeader::parse(bytes).map_err(damaged)?;
        check_position(header.position, position).map_err(damaged)?;
        let end = at + ENTRY_HEADER_BYTES as u64 + u64::from(header.payload_bytes);
        let offset = u32::try_from(at).ok().filter(|_| end <= self.group_end);
        let Some(offset) = offset else {
            let what = "the entry is longer than its group or segment".to_owned();
            return Err(damaged(Malformed(what)));
        };
        self.offsets.push(offset);
        self.scanned = end;
        Ok(true)
    }

    pub(super) fn header(
        &self,
        position: u64,
        offset: u64,
        buffer: &mut ReadBuffer,
    ) -> Result<EntryHeader, Error> {
        let damaged = |malformed| self.segment.damaged(position, offset, malformed);
        let Some(bytes) = buffer.array(&self.segment, offset)? else {
            return Err(damaged(Malformed("the file became shorter".to_owned())));
        };
        let header = EntryHeader::parse(bytes).map_err(damaged)?;
        check_position(header.position, position).map_err(damaged)?;
        Ok(header)
    }

    /// A copy: an owner of a vector of the event keeps this payload, not the whole buffer.
    pub(super) fn payload(
        &self,
        header: &EntryHeader,
        offset: u64,
        buffer: &mut ReadBuffer,
    ) -> Result<Bytes, Error> {
        let offset = offset + ENTRY_HEADER_BYTES as u64;
        let n_bytes = header.payload_bytes as usize;
        match buffer.get(&self.segment, offset, n_bytes)? {
            Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            None => {
                let malformed = Malformed("the file ends in a payload".to_owned());
                Err(self.segment.damaged(header.position, offset, malformed))
            }
        }
    }

    /// The event in the payload, which is compared with its digest unless it is trusted.
    pub(super) fn event(
        &self,
        header: &EntryHeader,
        offset: u64,
        payload: Bytes,
        trust: Trust,
    ) -> Result<Event, Error> {
        let erased = payload.starts_with(&ERASED_MAGIC);
        let written = match trust {
            Trust::Nothing => blake3::hash(&payload) == header.digest,
            Trust::Payload => !erased,
        };
        let position = header.position;
        if written {
            return decode(header.kind, header.format, payload).map_err(|malformed| Error::Entry {
                position,
                malformed,
            });
        }
        match self.erased_kind(header, offset, &payload)? {
            Some(kind) => Ok(Event::Erased(kind)),
            None => {
                let malformed = Malformed("the payload is not the one written".to_owned());
                let offset = offset + ENTRY_HEADER_BYTES as u64;
                Err(self.segment.damaged(position, offset, malformed))
            }
        }
    }

    /// The kind of an entry whose payload was erased. The payload may have been read while it was
    /// overwritten: once the list of the erasure is gone, all of it is on disk.
    fn erased_kind(
        &self,
        header: &EntryHeader,
        offset: u64,
        payload: &[u8],
    ) -> Result<Option<ErasedKind>, Error> {
        if let Some(kind) = erasure_list::erased_kind(&self.segment, header, payload)? {
            return Ok(Some(kind));
        }
        let again = self.payload(header, offset, &mut ReadBuffer::new(0))?;
        erasure_list::erased_kind(&self.segment, header, &again)
    }
}

/// The part of an entry that is not checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Nothing,
    Payload,
}

fn check_position(got: u64, expected: u64) -> Result<(), Malformed> {
    if got == expected {
        Ok(())
    } else {
        Err(Malformed(format!(
            "position {got} stands there, expected {expected}"
        )))
    }
}
