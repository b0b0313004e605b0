//! The headers of segments, groups and entries, each with a checksum of its own.
//!
//! Invariant: a header that parses was written whole, by this format, for this journal.

use crate::event::Time;
use crate::store::error::Malformed;

pub(in crate::store) const SEGMENT_HEADER_BYTES: usize = 80;
pub(in crate::store) const GROUP_HEADER_BYTES: usize = 32;
pub(in crate::store) const ENTRY_HEADER_BYTES: usize = 96;

// The first byte is never the start of a UTF-8 character, so no text holds a magic.
const SEGMENT_MAGIC: [u8; 8] = *b"\x93perseg\n";
pub(in crate::store) const GROUP_MAGIC: [u8; 8] = *b"\x93pergrp\n";
const SEGMENT_FORMAT: u32 = 1;

/// The chain before position 1.
pub(in crate::store) fn genesis(journal_id: &[u8; 16]) -> blake3::Hash {
    blake3::hash(journal_id)
}

/// The start of a segment.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct SegmentHeader {
    pub first_position: u64,
    pub journal_id: [u8; 16],
    /// The chain before the first entry.
    pub chain: blake3::Hash,
}

impl SegmentHeader {
    pub(crate) fn to_bytes(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[12..16].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_position.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.journal_id);
        bytes[40..72].copy_from_slice(self.chain.as_bytes());
        let checksum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// True if the header was written to its end; it may still be of a newer format.
    pub(crate) fn is_whole(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> bool {
        bytes[..8] == SEGMENT_MAGIC && bytes[8..12] == crc32c::crc32c(&bytes[12..]).to_le_bytes()
    }

    pub(crate) fn parse(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<SegmentHeader, Malformed> {
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(Malformed("no segment header".to_owned()));
        }
        check("segment header", bytes, 8, crc32c::crc32c(&bytes[12..]))?;
        let format = u32::from_le_bytes(array(bytes, 12));
        if format != SEGMENT_FORMAT {
            return Err(Malformed(format!(
                "segment format {format}, expected {SEGMENT_FORMAT}; \
                 a newer version of the program wrote it"
            )));
        }
        Ok(SegmentHeader {
            first_position: u64::from_le_bytes(array(bytes, 16)),
            journal_id: array(bytes, 24),
            chain: blake3::Hash::from_bytes(array(bytes, 40)),
        })
    }
}

/// The header of a group: the entries of one write.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct GroupHeader {
    /// The bytes of the entries that follow.
    pub n_bytes: u32,
    pub first_position: u64,
    /// Everything up to here was synced when the group was written.
    pub synced_position: u64,
}

impl GroupHeader {
    pub(crate) fn to_bytes(&self, journal_id: &[u8; 16]) -> [u8; GROUP_HEADER_BYTES] {
        let mut bytes = [0; GROUP_HEADER_BYTES];
        bytes[..8].copy_from_slice(&GROUP_MAGIC);
        bytes[12..16].copy_from_slice(&self.n_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_position.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced_position.to_le_bytes());
        let checksum = group_checksum(&bytes, journal_id);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn parse(
        bytes: &[u8; GROUP_HEADER_BYTES],
        journal_id: &[u8; 16],
    ) -> Result<GroupHeader, Malformed> {
        if bytes[..8] != GROUP_MAGIC {
            return Err(Malformed("no group header".to_owned()));
        }
        check("group header", bytes, 8, group_checksum(bytes, journal_id))?;
        Ok(GroupHeader {
            n_bytes: u32::from_le_bytes(array(bytes, 12)),
            first_position: u64::from_le_bytes(array(bytes, 16)),
            synced_position: u64::from_le_bytes(array(bytes, 24)),
        })
    }
}

/// With the journal's id in it, a client that sends the bytes of a group inside a payload cannot
/// make them valid, so a search for groups after damage is not misled.
fn group_checksum(bytes: &[u8; GROUP_HEADER_BYTES], journal_id: &[u8; 16]) -> u32 {
    journal_checksum(&bytes[12..], journal_id)
}

/// The checksum of bytes that are of one journal only.
pub(super) fn journal_checksum(bytes: &[u8], journal_id: &[u8; 16]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(journal_id), bytes)
}

/// The header of an entry, before its payload.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct EntryHeader {
    pub payload_bytes: u32,
    pub position: u64,
    pub time: Time,
    pub kind: u8,
    pub format: u8,
    /// BLAKE3 of the payload.
    pub digest: blake3::Hash,
    /// The chain of this entry and all before it.
    pub chain: blake3::Hash,
}

impl EntryHeader {
    /// The header's bytes; `chain` is computed from `before`, the chain of the entry before.
    pub(crate) fn link(&mut self, before: &blake3::Hash) -> [u8; ENTRY_HEADER_BYTES] {
        let mut bytes = [0; ENTRY_HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.time.0.to_le_bytes());
        bytes[24] = self.kind;
        bytes[25] = self.format;
        bytes[32..64].copy_from_slice(self.digest.as_bytes());
        self.chain = chain_after(before, &bytes);
        bytes[64..96].copy_from_slice(self.chain.as_bytes());
        let checksum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8; ENTRY_HEADER_BYTES]) -> Result<EntryHeader, Malformed> {
        check("entry header", bytes, 0, crc32c::crc32c(&bytes[4..]))?;
        if bytes[26..32] != [0; 6] {
            return Err(Malformed("entry header uses reserved bytes".to_owned()));
        }
        Ok(EntryHeader {
            payload_bytes: u32::from_le_bytes(array(bytes, 4)),
            position: u64::from_le_bytes(array(bytes, 8)),
            time: Time(i64::from_le_bytes(array(bytes, 16))),
            kind: bytes[24],
            format: bytes[25],
            digest: blake3::Hash::from_bytes(array(bytes, 32)),
            chain: blake3::Hash::from_bytes(array(bytes, 64)),
        })
    }
}

/// The chain after the entry with this header.
pub(in crate::store) fn chain_after(
    before: &blake3::Hash,
    header: &[u8; ENTRY_HEADER_BYTES],
) -> blake3::Hash {
    let mut input = [0; 32 + 60];
    input[..32].copy_from_slice(before.as_bytes());
    input[32..].copy_from_slice(&header[4..64]);
    blake3::hash(&input)
}

fn check(what: &str, bytes: &[u8], at: usize, expected: u32) -> Result<(), Malformed> {
    let got = u32::from_le_bytes(array(bytes, at));
    if got != expected {
        return Err(Malformed(format!(
            "{what} has checksum {got:08x}, its bytes have {expected:08x}"
        )));
    }
    Ok(())
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("headers have fixed extents")
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: [u8; 16] = [7; 16];

    fn segment() -> SegmentHeader {
        SegmentHeader {
            first_position: 1,
            journal_id: JOURNAL,
            chain: genesis(&JOURNAL),
        }
    }

    fn group() -> GroupHeader {
        GroupHeader {
            n_bytes: 200,
            first_position: 5,
            synced_position: 3,
        }
    }

    fn entry() -> EntryHeader {
        EntryHeader {
            payload_bytes: 9,
            position: 5,
            time: Time(-2),
            kind: 3,
            format: 1,
            digest: blake3::hash(b"a payload"),
            chain: blake3::Hash::from_bytes([0; 32]),
        }
    }

    #[test]
    fn headers_are_read_back() {
        let bytes = segment().to_bytes();
        assert_eq!(SegmentHeader::parse(&bytes), Ok(segment()));
        let bytes = group().to_bytes(&JOURNAL);
        assert_eq!(GroupHeader::parse(&bytes, &JOURNAL), Ok(group()));
        let mut linked = entry();
        let bytes = linked.link(&[1; 32].into());
        assert_eq!(EntryHeader::parse(&bytes), Ok(linked));
    }

    #[test]
    fn the_bytes_of_headers_stay_what_they_are() {
        let check = |bytes: &[u8], golden: &str| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden.replace(' ', ""));
        };
        check(
            &segment().to_bytes(),
            "937065727365670a 90c38647 01000000 0100000000000000 \
             07070707070707070707070707070707 \
             591207b6b8ec343c2961e3eccdf4f0e9 7c6f06821672ec565f366d505399e6a4 \
             0000000000000000",
        );
        check(
            &group().to_bytes(&JOURNAL),
            "937065726772700a 0d8c0441 c8000000 0500000000000000 0300000000000000",
        );
        check(
            &entry().link(&[1; 32].into()),
            "a6ad92f6 09000000 0500000000000000 feffffffffffffff \
             03 01 000000000000 \
             cf3b8053e750ff9764caf4d2f979014a 54657dd6504e8c6c1ed5c38c7a0320a0 \
             1e73a57a98e2d03291d44243f2270e1b 65405e23bf07ac9c18bc2fdd20db7f6b",
        );
    }

    #[test]
    fn no_single_changed_bit_is_accepted() {
        fn check<const N: usize>(sound: [u8; N], accepts: impl Fn(&[u8; N]) -> bool) {
            assert!(accepts(&sound));
            for bit in 0..N * 8 {
                let mut flipped = sound;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(!accepts(&flipped), "bit {bit}");
            }
        }
        check(segment().to_bytes(), |b| SegmentHeader::parse(b).is_ok());
        check(group().to_bytes(&JOURNAL), |b| {
            GroupHeader::parse(b, &JOURNAL).is_ok()
        });
        check(entry().link(&[1; 32].into()), |b| {
            EntryHeader::parse(b).is_ok()
        });
    }

    #[test]
    fn a_group_of_another_journal_is_refused() {
        let bytes = group().to_bytes(&JOURNAL);
        assert!(GroupHeader::parse(&bytes, &[8; 16]).is_err());
    }
}
