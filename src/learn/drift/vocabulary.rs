//! The words of a reference window of texts, as bits of their hashes.
//!
//! Invariant: fixed once the window is full.

use super::bins::REFERENCE;
use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// Words of 64 bits: a few thousand different words leave most of the bits empty.
const BLOCKS: usize = 1024;

/// The words of a window of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Vocabulary {
    n_texts: u64,
    /// Empty until the first text.
    bits: Vec<u64>,
}

impl Vocabulary {
    /// The share of a text's words that the window did not have; none while the window fills.
    pub(super) fn observe(&mut self, words: &[u64]) -> Option<f64> {
        let bit = |word: u64| (word as usize / 64 % BLOCKS, 1u64 << (word % 64));
        if self.n_texts < REFERENCE as u64 {
            self.n_texts += 1;
            self.bits.resize(BLOCKS, 0);
            for word in words {
                let (block, bit) = bit(*word);
                self.bits[block] |= bit;
            }
            return None;
        }
        let is_new = |word: &&u64| {
            let (block, bit) = bit(**word);
            self.bits[block] & bit == 0
        };
        let n_new = words.iter().filter(is_new).count();
        Some(n_new as f64 / words.len().max(1) as f64)
    }

    pub(super) fn save(&self, out: &mut Writer) {
        out.counts([self.n_texts]);
        out.counts(self.bits.iter().copied());
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<Vocabulary, Error> {
        let [n_texts] = saved.counts()?;
        let n_blocks = if n_texts == 0 { 0 } else { BLOCKS };
        Ok(Vocabulary {
            n_texts,
            bits: saved.many_counts(n_blocks)?,
        })
    }
}
