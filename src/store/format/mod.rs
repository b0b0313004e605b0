//! The bytes of a journal, by hand and versioned.
//!
//! Invariant: an entry that [`encode()`] accepts, [`decode()`] returns; any other bytes are refused.
//! Bytes that a released version wrote stay readable: a change is a new format version of its kind.
//!
//! A journal is a folder of segments, each a file named by the position of its first entry: 20
//! digits and `.seg`. A segment is a header and then groups; a group is a header and then its
//! entries; an entry is a header and then its payload. All numbers are little-endian, lengths and counts are `u32`, texts
//! are a length and UTF-8, lists are a count and their items. Checksums are CRC-32C.
//!
//! | segment header | 80 bytes |
//! | --- | --- |
//! | 0..8 | magic `93 70 65 72 73 65 67 0a` |
//! | 8..12 | checksum of bytes 12..80 |
//! | 12..16 | format version, 1 |
//! | 16..24 | position of the first entry |
//! | 24..40 | journal id, the same in all segments and checkpoints of a journal |
//! | 40..72 | chain before the first entry; before position 1 it is BLAKE3(journal id) |
//! | 72..80 | zero |
//!
//! | group header | 32 bytes |
//! | --- | --- |
//! | 0..8 | magic `93 70 65 72 67 72 70 0a` |
//! | 8..12 | checksum of the journal id and bytes 12..32: no payload can pose as a group |
//! | 12..16 | bytes of entries that follow |
//! | 16..24 | position of the first of them; the next position when there are none |
//! | 24..32 | position known to be synced when the group was written |
//!
//! | entry header | 96 bytes |
//! | --- | --- |
//! | 0..4 | checksum of bytes 4..96 |
//! | 4..8 | payload length |
//! | 8..16 | position |
//! | 16..24 | journal time, `i64` microseconds since the Unix epoch |
//! | 24 | kind |
//! | 25 | format version of the payload |
//! | 26..32 | zero |
//! | 32..64 | BLAKE3 of the payload |
//! | 64..96 | chain: BLAKE3(previous chain, bytes 4..64 of this header) |
//!
//! The chain runs over headers, so that a payload can be erased while the rest still verifies. In
//! its place stand as many bytes: magic `93 70 65 72 65 72 61 0a`, then the 9th byte on of the
//! extended BLAKE3 output of (journal id, position, digest of the erased payload), derived with the
//! context `perennial 2026 erased payload v1`. Of feedback a tombstone is kept behind the magic,
//! and is hashed behind the digest: the position of the order that took it back: `u64`; how many
//! predictions it spoke of: `u8`; their ids: `u128`. While payloads are overwritten, a file
//! `erasing` beside the segments lists them: magic `93 70 65 72 6c 73 74 0a`, checksum of the
//! journal id and all bytes after it, format version 2 as `u32`, then for each its position: `u64`,
//! the bytes of its tombstone: `u8`, and the tombstone. Format version 1 lists positions alone.
//!
//! | kind | payload, format version 1 unless another is named |
//! | --- | --- |
//! | 1 Description | toml, build, profile: texts |
//! | 2 Prediction | ids: list of `u128`; version, position: `u64`; outputs; batch; in format version 2 also the labels answered: list of (place: `u32`, label: text), rising, at least one |
//! | 3 Feedback | feedback id: text; subject; signal; source: text; event time: optional `i64`; tags: list of (text, text), rising; actor: text |
//! | 4 Duplicate | feedback id: text; first position: `u64` |
//! | 5 Command | order; actor, note: texts |
//! | 6 Tick | the moment by which windows close: `i64` |
//! | 16 Version | version, parent, position: `u64`; reason: `u8`; digest: 32 bytes; in format version 2 also the digest of the tallies: 32 bytes, in 3 optional |
//! | 17 Verdict | position: `u64`; judgement: `u8`; version, labels: `u64`; evidence, difference: `f64` |
//! | 18 Drift | position of the entry that raised it: `u64`; watched stream, change: `u8`; evidence: `f64`; input: text |
//! | 20 Refusal | position of the order: `u64` |
//! | 21 Erasure | position of the order, entries overwritten: `u64` |
//!
//! Kinds 1 to 15 are causes and 16 on are records. 19 is kept for Incident.
//!
//! | part | tag and payload |
//! | --- | --- |
//! | outputs | 1 probabilities: list of `f32`; 2 values: list of `f32`; 3 actions: chosen, list of `u32`; propensities and scores, lists of `f32` |
//! | batch | rows: `u32`; columns: list of 1 numbers: list of `f64`; 2 strings: list of texts; 3 vectors: byte length and bytes; 4 embedded: list of texts, byte length and bytes |
//! | subject | 1 prediction id: `u128`; 2 batch of one row, optional (action: text, propensity: `f64`) |
//! | signal | 1 label: text; 2 value: `f64`; 3 reward: `f64`; 4 name: text, value: `f64`; 5 preferred over: `u128` |
//! | order | 1 checkpoint; 2 restore, version: `u64`; 3 retract, selector, first position: `u64`; 4 adopt, then as Description; 5 restore whose refusal is journaled, version: `u64`; 6 retract and erase, as 3; 7 erase, selector; in format version 2 also 8 promote, version: `u64`, digest: 32 bytes; 9 freeze; 10 resume; 11 acknowledge and 12 close, position of the incident: `u64`; in format version 3 also 13 begin retraining, rows: `u64`; 14 retrain, first position: `u64`, then as Description; 15 end retraining; in format version 4 also 18 set alias: text, version: `u64`; 19 remove alias: text |
//! | selector | 1 source: text; 2 feedback id: text; 3 since and until: `i64`; 4 hash of a source: the first 16 bytes of its BLAKE3; 5 the same of a feedback id |
//! | watched stream | 1 error; 2 error by a window; 3 calibration; 4 confidence; 5 prediction; 6 label; 7 input; 8 its gaps; 9 its length; 10 its words; 11 a projection of it |
//! | change | 1 higher; 2 lower; 3 wider; 4 narrower; 5 mix |
//! | reason | 1 initial; 2 checkpoint; 3 cadence; 4 restore; 5 retract; 6 adopt; in format version 3 also 7 contender; 8 rewind |
//! | judgement | 1 promoted; 2 rejected; 3 rewound; 4 declined; 5 frozen |
//! | optional | 0 absent; 1 present, then the value |

mod decode;
mod encode;
mod erased;
mod headers;
mod kinds;
#[cfg(test)]
mod samples;
mod shapes;

pub(crate) use decode::decode;
pub(crate) use encode::{encode, put_content};
pub(super) use erased::{ERASED_MAGIC, OverwrittenEntry, erasable, erased, parse_erased};
pub(super) use erased::{list_to_bytes, parse_list};
pub(super) use headers::{ENTRY_HEADER_BYTES, GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES};
pub(super) use headers::{EntryHeader, GROUP_MAGIC, GroupHeader, SegmentHeader};
pub(super) use headers::{chain_after, genesis};
pub(super) use kinds::{format, kind};

/// The largest payload: room for any request that the server takes in, and a bound for readers.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::samples::{events, samples};
    use super::*;
    use crate::event::{Batch, Column, Event, Outputs};

    fn payload(event: &Event) -> Vec<u8> {
        let mut payload = Vec::new();
        encode(event, &mut payload).expect("samples are well formed");
        payload
    }

    #[test]
    fn the_bytes_of_every_kind_stay_what_they_are() {
        for (event, golden) in samples() {
            assert_eq!(hex(&payload(&event)), golden.replace(' ', ""), "{event:?}");
        }
    }

    proptest! {
        /// Written again, the event shows the same bits, which `==` does not for NaN.
        #[test]
        fn every_event_is_read_back(event in events()) {
            let bytes = payload(&event);
            let read = decode(kind(&event), format(&event), Bytes::from(bytes.clone())).unwrap();
            prop_assert_eq!(format!("{:?}", &read), format!("{event:?}"));
            prop_assert_eq!(payload(&read), bytes);
        }
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        for (event, _) in samples() {
            let bytes = Bytes::from(payload(&event));
            for end in 0..bytes.len() {
                let cut = decode(kind(&event), format(&event), bytes.slice(..end));
                assert!(cut.is_err(), "{event:?} cut at {end}");
            }
            let longer = Bytes::from([&bytes[..], &[0]].concat());
            let error = decode(kind(&event), format(&event), longer).unwrap_err();
            assert!(error.0.starts_with("1 byte more than"), "{error}");
        }
    }

    #[test]
    fn vectors_are_slices_of_the_payload() {
        let batch = Batch {
            n_rows: 1,
            columns: vec![Column::Vectors(Bytes::from_static(&[1, 2, 3, 4]))],
        };
        let event = Event::Prediction(crate::event::Prediction {
            ids: vec![crate::event::PredictionId(1)],
            batch,
            outputs: Outputs::Values(vec![1.0]),
            labels: Default::default(),
            version: 1,
            position: 1,
        });
        let bytes = Bytes::from(payload(&event));
        let Ok(Event::Prediction(read)) = decode(2, 1, bytes.clone()) else {
            panic!("a prediction")
        };
        let Column::Vectors(vectors) = &read.batch.columns[0] else {
            panic!("vectors")
        };
        assert!(bytes.as_ptr_range().contains(&vectors.as_ptr()));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
