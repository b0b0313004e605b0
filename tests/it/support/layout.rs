//! A segment taken apart by its documented layout, and by nothing of the crate.
//!
//! Invariant: no checksum is looked at, so that damage is found by the crate alone.

/// One group: its place, and its header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub start: usize,
    pub end: usize,
    pub first_position: u64,
    /// The position known to be synced when it was written.
    pub synced_position: u64,
    pub entries: Vec<Header>,
}

/// The header of an entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub position: u64,
    pub time: i64,
    pub kind: u8,
    pub format: u8,
    pub payload_bytes: usize,
    /// BLAKE3 of the payload as it was written.
    pub digest: [u8; 32],
}

/// The groups of a segment that are there whole.
pub(crate) fn groups(segment: &[u8]) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut start = 80;
    while start + 32 <= segment.len() {
        let header = &segment[start..start + 32];
        let end = start + 32 + number(header, 12, 4) as usize;
        if end > segment.len() {
            break;
        }
        groups.push(Group {
            start,
            end,
            first_position: number(header, 16, 8),
            synced_position: number(header, 24, 8),
            entries: entries(&segment[start + 32..end]),
        });
        start = end;
    }
    groups
}

fn entries(mut bytes: &[u8]) -> Vec<Header> {
    let mut entries = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<96>() {
        let payload_bytes = number(header, 4, 4) as usize;
        entries.push(Header {
            position: number(header, 8, 8),
            time: number(header, 16, 8) as i64,
            kind: header[24],
            format: header[25],
            payload_bytes,
            digest: header[32..64].try_into().expect("32 bytes"),
        });
        bytes = &rest[payload_bytes..];
    }
    entries
}

/// A little-endian number of `n_bytes` at `at`.
fn number(bytes: &[u8], at: usize, n_bytes: usize) -> u64 {
    let of_byte = |(index, byte): (usize, &u8)| u64::from(*byte) << (8 * index);
    let bytes = bytes[at..at + n_bytes].iter().enumerate();
    bytes.map(of_byte).sum()
}
