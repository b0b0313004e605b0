//! One feedback id as it lies on disk.
//!
//! Invariant: forty bytes, little-endian. The last four are a mark of the content, and zero in files
//! of programs that wrote none.

use std::collections::BTreeMap;

use crate::event::{Feedback, Time};
use crate::store::format::put_content;

/// The bytes of an id on disk.
pub(crate) const RECORD_BYTES: usize = 40;

/// Where the first event of an id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first half of the id's BLAKE3.
    pub key: u128,
    /// The position of its first event.
    pub position: u64,
    /// When that was accepted.
    pub time: Time,
    /// The number of its source in the counts.
    pub source: u32,
    /// A hash of subject and signal; 0 where it is not known.
    pub mark: u32,
}

/// The first four bytes of the BLAKE3 of the subject and signal of feedback, but never 0.
pub(crate) fn mark(feedback: &Feedback) -> u32 {
    let mut content = Vec::new();
    match put_content(&mut content, feedback) {
        Ok(()) => u32::from_le_bytes(array(&blake3::hash(&content).as_bytes()[..4])).max(1),
        // It is refused when it is journaled.
        Err(_) => 0,
    }
}

impl Record {
    /// Forty bytes, as they stand in a file.
    pub(crate) fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..16].copy_from_slice(&self.key.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.source.to_le_bytes());
        bytes[36..].copy_from_slice(&self.mark.to_le_bytes());
        bytes
    }

    /// Of forty bytes.
    pub fn parse(bytes: &[u8]) -> Record {
        Record {
            key: u128::from_le_bytes(array(&bytes[..16])),
            position: u64::from_le_bytes(array(&bytes[16..24])),
            time: Time(i64::from_le_bytes(array(&bytes[24..32]))),
            source: u32::from_le_bytes(array(&bytes[32..36])),
            mark: u32::from_le_bytes(array(&bytes[36..40])),
        }
    }
}

/// The bytes of a slice that has so many.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice is as long")
}

/// How many ids each source holds.
#[derive(Clone, Debug, Default)]
pub(super) struct IdCounts(BTreeMap<u32, u64>);

impl IdCounts {
    pub(super) fn of(&self, source: u32) -> u64 {
        self.0.get(&source).copied().unwrap_or(0)
    }

    pub(super) fn knows(&self, source: u32) -> bool {
        self.0.contains_key(&source)
    }

    pub(super) fn n_sources(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, source: u32) {
        *self.0.entry(source).or_insert(0) += 1;
    }

    pub(super) fn add_all(&mut self, others: &IdCounts) {
        for (source, n) in &others.0 {
            *self.0.entry(*source).or_insert(0) += n;
        }
    }

    pub(super) fn remove_all(&mut self, others: &IdCounts) {
        others
            .0
            .iter()
            .for_each(|(source, n)| self.remove(*source, *n));
    }

    pub(super) fn remove(&mut self, source: u32, n: u64) {
        if let Some(held) = self.0.get_mut(&source) {
            *held = held.saturating_sub(n);
            if *held == 0 {
                self.0.remove(&source);
            }
        }
    }
}
