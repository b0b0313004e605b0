//! Through the groups of one segment, checking every byte.
//!
//! Invariant: the tip moves over whole, sound groups only.

use super::erase;
use super::segment::Segment;
use super::window::Window;
use crate::event::{Kind, Time};
use crate::store::format::{
    ENTRY_HEADER_BYTES, EntryHeader, GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES,
    chain_after,
};
use crate::store::{Error, Malformed};

/// How much is read at once, in bytes.
pub(super) const CHUNK: usize = 256 << 10;

/// The end of what is sound.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tip {
    pub position: u64,
    pub time: Time,
    pub chain: [u8; 32],
}

/// What an entry holds.
pub(super) enum Content<'a> {
    Written(&'a [u8]),
    Erased(Kind),
}

/// Where the first group that is not sound starts, and what is wrong in it.
pub(super) struct Flaw {
    pub group: u64,
    pub offset: u64,
    pub malformed: Malformed,
}

/// Checks the groups of a segment and moves the tip over each that is sound; stops at the first
/// that is not.
pub(super) fn walk(
    segment: &Segment,
    tip: &mut Tip,
    visit: &mut impl FnMut(&EntryHeader, Content) -> Result<(), Error>,
) -> Result<Option<Flaw>, Error> {
    let mut walk = Walk {
        segment,
        window: Window::new(CHUNK),
        len: segment.len()?,
        visit,
    };
    let mut at = SEGMENT_HEADER_BYTES as u64;
    while at < walk.len {
        match walk.group(at, tip.clone()) {
            Ok((end, after)) => (at, *tip) = (end, after),
            Err(Stop::Flaw { offset, malformed }) => {
                return Ok(Some(Flaw {
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

struct Walk<'a, V> {
    segment: &'a Segment,
    window: Window,
    len: u64,
    visit: &'a mut V,
}

impl<V: FnMut(&EntryHeader, Content) -> Result<(), Error>> Walk<'_, V> {
    /// The group at `start`, whole: where it ends, and the tip after it.
    fn group(&mut self, start: u64, mut tip: Tip) -> Result<(u64, Tip), Stop> {
        let Some(bytes) = self.window.array(self.segment, start)? else {
            return flaw(start, "the file ends in a group header");
        };
        let group = match GroupHeader::parse(bytes, &self.segment.header.journal_id) {
            Ok(group) => group,
            Err(malformed) => return flaw(start, malformed.0),
        };
        let next = tip.position + 1;
        if group.first_position != next {
            let got = group.first_position;
            return flaw(
                start,
                format!("the group is of position {got}, expected {next}"),
            );
        }
        if group.synced_position >= next {
            let got = group.synced_position;
            return flaw(
                start,
                format!("the group of position {next} says that {got} was synced"),
            );
        }
        let mut at = start + GROUP_HEADER_BYTES as u64;
        let end = at + u64::from(group.n_bytes);
        if end > self.len {
            let (got, expected) = (self.len - at, group.n_bytes);
            return flaw(
                start,
                format!("the group has {got} of its {expected} bytes"),
            );
        }
        while at < end {
            at = self.entry(at, end, &mut tip)?;
        }
        Ok((end, tip))
    }

    /// The entry at `start`, in a group that reaches to `group_end`: where it ends.
    fn entry(&mut self, start: u64, group_end: u64, tip: &mut Tip) -> Result<u64, Stop> {
        let left = group_end - start;
        let header = match self.window.array(self.segment, start)? {
            Some(bytes) if left >= ENTRY_HEADER_BYTES as u64 => bytes,
            _ => return flaw(start, "the group ends in an entry header"),
        };
        let entry = match EntryHeader::parse(header) {
            Ok(entry) => entry,
            Err(malformed) => return flaw(start, malformed.0),
        };
        let next = tip.position + 1;
        if entry.position != next {
            let got = entry.position;
            return flaw(
                start,
                format!("the entry has position {got}, expected {next}"),
            );
        }
        if entry.time < tip.time {
            let (got, before) = (entry.time.0, tip.time.0);
            return flaw(start, format!("time {got} goes back behind {before}"));
        }
        if entry.chain != chain_after(&tip.chain, header) {
            return flaw(start, "the entry does not continue the chain");
        }
        let offset = start + ENTRY_HEADER_BYTES as u64;
        let end = offset + u64::from(entry.payload_bytes);
        if end > group_end {
            return flaw(start, "the payload is longer than its group");
        }
        let n_bytes = entry.payload_bytes as usize;
        let Some(payload) = self.window.get(self.segment, offset, n_bytes)? else {
            return flaw(offset, "the file ends in a payload");
        };
        if *blake3::hash(payload).as_bytes() == entry.digest {
            (self.visit)(&entry, Content::Written(payload))?;
        } else if let Some(kind) = erase::erased_kind(self.segment, &entry, payload)? {
            (self.visit)(&entry, Content::Erased(kind))?;
        } else {
            return flaw(
                offset,
                format!("the payload of position {next} is not the one written"),
            );
        }
        *tip = Tip {
            position: next,
            time: entry.time,
            chain: entry.chain,
        };
        Ok(end)
    }
}

/// Why a walk through a group stops before its end.
enum Stop {
    Flaw { offset: u64, malformed: Malformed },
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

fn flaw<T>(offset: u64, what: impl Into<String>) -> Result<T, Stop> {
    let malformed = Malformed(what.into());
    Err(Stop::Flaw { offset, malformed })
}
