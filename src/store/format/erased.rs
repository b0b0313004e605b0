//! The bytes in place of an erased payload, and the list of an erasure under way.
//!
//! Invariant: neither can be taken for the written payload, nor made by anyone who does not mean it.

use super::headers::{EntryHeader, array, journal_checksum};
use crate::event::{ErasedKind, PredictionId, Tombstone};
use crate::store::error::Malformed;

/// The start of an erased payload. Its first four bytes are a length that no payload of these kinds can have,
/// so its start alone distinguishes it from a sound one.
pub(in crate::store) const ERASED_MAGIC: [u8; 8] = *b"\x93perera\n";

const LIST_MAGIC: [u8; 8] = *b"\x93perlst\n";
/// The newest format of the list, and the one before, which holds positions alone.
const LIST_FORMAT: u32 = 2;
const LIST_FORMAT_POSITIONS: u32 = 1;
const LIST_HEADER_BYTES: usize = 16;

/// An entry whose payload is overwritten, with the kept part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct OverwrittenEntry {
    pub position: u64,
    pub tombstone: Tombstone,
}

/// The kinds whose payloads can be erased: predictions, feedback and duplicates.
pub(in crate::store) fn erasable(kind: u8) -> Option<ErasedKind> {
    match kind {
        2 => Some(ErasedKind::Prediction),
        3 => Some(ErasedKind::Feedback(Tombstone::default())),
        4 => Some(ErasedKind::Duplicate),
        _ => None,
    }
}

/// The bytes that take the place of the payload of this entry; a tombstone without an order, as
/// of all kinds but feedback, is not kept.
pub(in crate::store) fn erased(
    header: &EntryHeader,
    journal_id: &[u8; 16],
    tombstone: &Tombstone,
) -> Vec<u8> {
    let kept = tombstone_bytes(tombstone);
    let mut bytes = vec![0; header.payload_bytes as usize];
    let mut hasher = blake3::Hasher::new_derive_key("perennial 2026 erased payload v1");
    hasher.update(journal_id);
    hasher.update(&header.position.to_le_bytes());
    hasher.update(header.digest.as_bytes());
    hasher.update(&kept);
    hasher.finalize_xof().fill(&mut bytes);
    for (byte, start) in bytes.iter_mut().zip(ERASED_MAGIC.into_iter().chain(kept)) {
        *byte = start;
    }
    bytes
}

/// The tombstone of an erased entry, from the bytes in its place; none where they do not show that
/// it was erased.
pub(in crate::store) fn parse_erased(
    header: &EntryHeader,
    journal_id: &[u8; 16],
    payload: &[u8],
) -> Option<Tombstone> {
    let plain = Tombstone::default();
    if payload == erased(header, journal_id, &plain) {
        return Some(plain);
    }
    let mut rest = payload.strip_prefix(&ERASED_MAGIC)?;
    let tombstone = parse_tombstone(&mut rest)?;
    (payload == erased(header, journal_id, &tombstone)).then_some(tombstone)
}

/// Nothing where no order is known; else the order, and the predictions behind their count.
fn tombstone_bytes(tombstone: &Tombstone) -> Vec<u8> {
    if tombstone.order == 0 {
        return Vec::new();
    }
    let predictions = tombstone.predictions.iter();
    let known = predictions.map_while(|one| *one);
    let mut bytes = tombstone.order.to_le_bytes().to_vec();
    bytes.push(known.clone().count() as u8);
    bytes.extend(known.flat_map(|id| id.0.to_le_bytes()));
    bytes
}

fn parse_tombstone(rest: &mut &[u8]) -> Option<Tombstone> {
    let order = u64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?);
    let n_predictions = usize::from(*rest.split_off_first()?);
    let mut predictions = [None; 2];
    for place in predictions.get_mut(..n_predictions)? {
        let id = rest.split_off(..16)?.first_chunk()?;
        *place = Some(PredictionId(u128::from_le_bytes(*id)));
    }
    (order > 0).then_some(Tombstone { order, predictions })
}

/// The bytes of the list of an erasure.
pub(in crate::store) fn list_to_bytes(list: &[OverwrittenEntry], journal_id: &[u8; 16]) -> Vec<u8> {
    let mut bytes = LIST_MAGIC.to_vec();
    bytes.extend([0; 4]);
    bytes.extend(LIST_FORMAT.to_le_bytes());
    for OverwrittenEntry {
        position,
        tombstone,
    } in list
    {
        let kept = tombstone_bytes(tombstone);
        bytes.extend(position.to_le_bytes());
        bytes.push(kept.len() as u8);
        bytes.extend(kept);
    }
    let checksum = journal_checksum(&bytes[12..], journal_id);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Parses the list of an erasure, by rising positions; a torn list was never acted on.
pub(in crate::store) fn parse_list(
    bytes: &[u8],
    journal_id: &[u8; 16],
) -> Result<Vec<OverwrittenEntry>, Malformed> {
    let Some((header, mut rest)) = bytes.split_first_chunk::<LIST_HEADER_BYTES>() else {
        return Err(Malformed("the list ends in its header".to_owned()));
    };
    let checksum = u32::from_le_bytes(array(header, 8));
    if header[..8] != LIST_MAGIC || checksum != journal_checksum(&bytes[12..], journal_id) {
        return Err(Malformed("the list is not whole".to_owned()));
    }
    let format = u32::from_le_bytes(array(header, 12));
    let mut list = Vec::new();
    while !rest.is_empty() {
        let one = match format {
            LIST_FORMAT_POSITIONS => parse_position(&mut rest),
            LIST_FORMAT => parse_overwritten(&mut rest),
            _ => None,
        };
        list.push(one.ok_or_else(|| {
            Malformed(format!(
                "list format {format}, expected at most {LIST_FORMAT}; \
                 a newer version of the program wrote it"
            ))
        })?);
    }
    Ok(list)
}

fn parse_position(rest: &mut &[u8]) -> Option<OverwrittenEntry> {
    Some(OverwrittenEntry {
        position: u64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?),
        tombstone: Tombstone::default(),
    })
}

fn parse_overwritten(rest: &mut &[u8]) -> Option<OverwrittenEntry> {
    let OverwrittenEntry { position, .. } = parse_position(rest)?;
    let n_bytes = usize::from(*rest.split_off_first()?);
    let mut kept = rest.split_off(..n_bytes)?;
    let tombstone = match n_bytes {
        0 => Tombstone::default(),
        _ => parse_tombstone(&mut kept).filter(|_| kept.is_empty())?,
    };
    Some(OverwrittenEntry {
        position,
        tombstone,
    })
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
            digest: [7; 32].into(),
            chain: [0; 32].into(),
        }
    }

    /// The tombstones of an order, with none, one and two predictions.
    fn tombstones() -> [Tombstone; 4] {
        let id = |id| Some(PredictionId(id));
        let kept = |predictions| Tombstone {
            order: 9,
            predictions,
        };
        [
            Tombstone::default(),
            kept([None, None]),
            kept([id(7), None]),
            kept([id(7), id(u128::MAX)]),
        ]
    }

    #[test]
    fn erased_bytes_are_of_one_entry_of_one_journal() {
        for tombstone in tombstones() {
            let erased = |header: &EntryHeader, id| erased(header, &[id; 16], &tombstone);
            let bytes = erased(&header(60, 3), 1);
            assert_eq!(bytes.len(), 60);
            assert!(bytes.starts_with(&ERASED_MAGIC));
            assert_eq!(erased(&header(60, 3), 1), bytes);
            assert_ne!(erased(&header(60, 4), 1), bytes);
            assert_ne!(erased(&header(60, 3), 2), bytes);
            let other = EntryHeader {
                digest: [8; 32].into(),
                ..header(60, 3)
            };
            assert_ne!(erased(&other, 1), bytes);
            let parsed = |bytes: &[u8]| parse_erased(&header(60, 3), &[1; 16], bytes);
            assert_eq!(parsed(&bytes), Some(tombstone));
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert_eq!(parsed(&changed), None, "byte {at}");
            }
        }
    }

    #[test]
    fn the_bytes_stay_what_they_are() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let [plain, _, one, _] = tombstones();
        let golden = "937065726572610af4e22e9daeb7ce710a0314b19f3b58f4";
        assert_eq!(hex(&erased(&header(24, 3), &[1; 16], &plain)), golden);
        let bytes = hex(&erased(&header(41, 3), &[1; 16], &one));
        let golden = "937065726572610a090000000000000001070000000000000000000000000000000";
        assert!(bytes.starts_with(&golden[..66]), "{bytes}");
        // The list of the first format.
        let golden = "937065726c73740af82772d40100000003000000000000000201000000000000";
        let bytes: Vec<u8> = (0..golden.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&golden[at..at + 2], 16).unwrap())
            .collect();
        let listed = parse_list(&bytes, &[1; 16]).unwrap();
        let positions: Vec<u64> = listed.iter().map(|one| one.position).collect();
        assert_eq!(positions, [3, 258]);
        assert!(listed.iter().all(|one| one.tombstone == plain));
    }

    #[test]
    fn a_list_that_is_not_whole_is_refused() {
        let listed = tombstones().map(|tombstone| OverwrittenEntry {
            position: 3,
            tombstone,
        });
        let bytes = list_to_bytes(&listed, &[1; 16]);
        assert_eq!(parse_list(&bytes, &[1; 16]), Ok(listed.to_vec()));
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
