//! A stretch of a segment in memory, so that small reads in sequence cost no system calls.
//!
//! Invariant: it holds bytes that the file had; bytes that a writer appends later are read when
//! asked for.

use std::io;
use std::os::unix::fs::FileExt;

use super::segment::Segment;
use crate::store::error::Error;

/// A buffer over one segment at a time.
pub(super) struct ReadBuffer {
    /// The bytes read at once.
    chunk: usize,
    /// The first position of the segment that the bytes are from.
    segment: u64,
    /// The start of the bytes in the segment.
    start: u64,
    bytes: Vec<u8>,
}

impl ReadBuffer {
    pub(super) fn new(chunk: usize) -> ReadBuffer {
        ReadBuffer {
            chunk,
            segment: 0,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// The `n_bytes` at `offset`; `None` where the file ends before them.
    pub(super) fn get(
        &mut self,
        segment: &Segment,
        offset: u64,
        n_bytes: usize,
    ) -> Result<Option<&[u8]>, Error> {
        if !self.holds(segment, offset, n_bytes) {
            self.fill(segment, offset, n_bytes)
                .map_err(Error::io(&segment.path, "read it"))?;
            if self.bytes.len() < n_bytes {
                return Ok(None);
            }
        }
        let at = (offset - self.start) as usize;
        Ok(Some(&self.bytes[at..at + n_bytes]))
    }

    /// The bytes, as [`get`](ReadBuffer::get), for extents known when the program was written.
    pub(super) fn array<const N: usize>(
        &mut self,
        segment: &Segment,
        offset: u64,
    ) -> Result<Option<&[u8; N]>, Error> {
        let bytes = self.get(segment, offset, N)?;
        Ok(bytes.map(|bytes| bytes.try_into().expect("get returns what it is asked for")))
    }

    fn holds(&self, segment: &Segment, offset: u64, n_bytes: usize) -> bool {
        self.segment == segment.header.first_position
            && offset >= self.start
            && offset + n_bytes as u64 <= self.start + self.bytes.len() as u64
    }

    fn fill(&mut self, segment: &Segment, offset: u64, n_bytes: usize) -> io::Result<()> {
        let wanted = n_bytes.max(self.chunk);
        // One large entry must not keep its memory for good.
        self.bytes.truncate(self.chunk);
        self.bytes.shrink_to(wanted);
        self.bytes.resize(wanted, 0);
        self.segment = segment.header.first_position;
        self.start = offset;
        let mut filled = 0;
        while filled < n_bytes {
            let at = offset + filled as u64;
            match segment.file.read_at(&mut self.bytes[filled..], at) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}
