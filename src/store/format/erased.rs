//! What stands where a payload was erased, and the list of what is being erased.
//!
//! Invariant: neither can be taken for what was written, nor made by anyone who does not mean it.

use super::Malformed;
use super::headers::{EntryHeader, array, journal_checksum};
use crate::event::Kind;

/// How an erased payload starts. Its first four bytes are a length that no payload of these kinds
/// can have, so it is told from a sound one by its start alone.
pub(in crate::store) const ERASED_MAGIC: [u8; 8] = *b"\x93perera\n";

const LIST_MAGIC: [u8; 8] = *b"\x93perlst\n";
const LIST_FORMAT: u32 = 1;
const LIST_HEADER_BYTES: usize = 16;

/// The kinds whose payloads can be erased: what people or the world said and asked.
pub(in crate::store) fn erasable(kind: u8) -> Option<Kind> {
    match kind {
        2 => Some(Kind::Prediction),
        3 => Some(Kind::Feedback),
        4 => Some(Kind::Duplicate),
        _ => None,
    }
}

/// The bytes that take the place of the payload of this entry.
pub(in crate::store) fn erased(header: &EntryHeader, journal_id: &[u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; header.payload_bytes as usize];
    let mut hasher = blake3::Hasher::new_derive_key("perennial 2026 erased payload v1");
    hasher.update(journal_id);
    hasher.update(&header.position.to_le_bytes());
    hasher.update(&header.digest);
    hasher.finalize_xof().fill(&mut bytes);
    let n_magic = bytes.len().min(ERASED_MAGIC.len());
    bytes[..n_magic].copy_from_slice(&ERASED_MAGIC[..n_magic]);
    bytes
}

/// The file that lists positions whose payloads are being overwritten.
pub(in crate::store) fn list_to_bytes(positions: &[u64], journal_id: &[u8; 16]) -> Vec<u8> {
    let mut bytes = LIST_MAGIC.to_vec();
    bytes.extend([0; 4]);
    bytes.extend(LIST_FORMAT.to_le_bytes());
    bytes.extend(positions.iter().flat_map(|position| position.to_le_bytes()));
    let checksum = journal_checksum(&bytes[12..], journal_id);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The positions of such a file; one that is not whole was never acted on.
pub(in crate::store) fn parse_list(
    bytes: &[u8],
    journal_id: &[u8; 16],
) -> Result<Vec<u64>, Malformed> {
    let Some((header, positions)) = bytes.split_first_chunk::<LIST_HEADER_BYTES>() else {
        return Err(Malformed("the list ends in its header".to_owned()));
    };
    let checksum = u32::from_le_bytes(array(header, 8));
    if header[..8] != LIST_MAGIC || checksum != journal_checksum(&bytes[12..], journal_id) {
        return Err(Malformed("the list is not whole".to_owned()));
    }
    let format = u32::from_le_bytes(array(header, 12));
    if format != LIST_FORMAT || !positions.len().is_multiple_of(8) {
        return Err(Malformed(format!(
            "list format {format}, expected {LIST_FORMAT}; a newer version of the program wrote it"
        )));
    }
    let positions = positions.chunks_exact(8);
    Ok(positions.map(|p| u64::from_le_bytes(array(p, 0))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Time;

    fn header(payload_bytes: u32, position: u64) -> EntryHeader {
        EntryHeader {
            payload_bytes,
            position,
            time: Time(0),
            kind: 3,
            format: 1,
            digest: [7; 32],
            chain: [0; 32],
        }
    }

    #[test]
    fn erased_bytes_are_of_one_entry_of_one_journal() {
        let bytes = erased(&header(40, 3), &[1; 16]);
        assert_eq!(bytes.len(), 40);
        assert!(bytes.starts_with(&ERASED_MAGIC));
        assert_eq!(erased(&header(40, 3), &[1; 16]), bytes);
        assert_ne!(erased(&header(40, 4), &[1; 16]), bytes);
        assert_ne!(erased(&header(40, 3), &[2; 16]), bytes);
        let other = EntryHeader {
            digest: [8; 32],
            ..header(40, 3)
        };
        assert_ne!(erased(&other, &[1; 16]), bytes);
    }

    #[test]
    fn the_bytes_stay_what_they_are() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let golden = "937065726572610af4e22e9daeb7ce710a0314b19f3b58f4";
        assert_eq!(hex(&erased(&header(24, 3), &[1; 16])), golden);
        let golden = "937065726c73740af82772d40100000003000000000000000201000000000000";
        assert_eq!(hex(&list_to_bytes(&[3, 258], &[1; 16])), golden);
    }

    #[test]
    fn a_list_that_is_not_whole_is_refused() {
        let bytes = list_to_bytes(&[3, 258], &[1; 16]);
        assert_eq!(parse_list(&bytes, &[1; 16]), Ok(vec![3, 258]));
        assert!(parse_list(&bytes, &[2; 16]).is_err());
        for end in 0..bytes.len() {
            assert!(parse_list(&bytes[..end], &[1; 16]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(parse_list(&changed, &[1; 16]).is_err(), "byte {at}");
        }
    }
}
