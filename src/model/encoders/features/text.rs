//! Hashed n-grams: words, word pairs and character 4-grams, weighted by online tf-idf and
//! normalised by row (Weinberger et al. 2009 for the hashing; no sign hash is used, since
//! collisions are rare at 2^17 buckets and more).

use crate::model::linear_algebra::sparse::SparseTable;
use crate::model::weights::{Error, Tensors};

/// Texts are read up to this many bytes; the bytes after them do not count.
const BYTES_MAX: usize = 16 * 1024;

/// The number of texts with each feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Idf {
    documents: u64,
    frequencies: SparseTable,
}

impl Idf {
    pub(super) fn new(n_buckets: usize) -> Idf {
        Idf {
            documents: 0,
            frequencies: SparseTable::new(n_buckets, 1),
        }
    }

    /// Counts one text by the buckets of its features.
    pub(super) fn observe(&mut self, mut buckets: Vec<u64>) {
        buckets.sort_unstable();
        buckets.dedup();
        self.documents += 1;
        for bucket in buckets {
            self.frequencies.row_mut(bucket as u32)[0] += 1.0;
        }
    }

    /// Appends the features of one text: `(1 + ln tf) * idf`, then scaled to length one.
    pub(super) fn weigh(&self, buckets: &[u32], out: &mut Vec<(u32, f32)>) {
        let mut buckets = buckets.to_vec();
        buckets.sort_unstable();
        let start = out.len();
        for same in buckets.chunk_by(|a, b| a == b) {
            let tf = 1.0 + (same.len() as f32).ln();
            out.push((same[0], tf * self.idf(same[0])));
        }
        let squares: f32 = out[start..].iter().map(|(_, value)| value * value).sum();
        let factor = 1.0 / squares.sqrt().max(f32::MIN_POSITIVE);
        out[start..]
            .iter_mut()
            .for_each(|(_, value)| *value *= factor);
    }

    /// `1 + ln((n + 1) / (df + 1))`: the smoothed form, never zero.
    fn idf(&self, bucket: u32) -> f32 {
        let frequency = self.frequencies.row(bucket).map_or(0.0, |row| row[0]);
        1.0 + ((self.documents as f32 + 1.0) / (frequency + 1.0)).ln()
    }

    pub(super) fn save(&self) -> Tensors {
        let mut tensors = self.frequencies.save();
        tensors.put_u64("documents", &[1], vec![self.documents]);
        tensors
    }

    pub(super) fn load(n_buckets: usize, tensors: &mut Tensors) -> Result<Idf, Error> {
        Ok(Idf {
            documents: tensors.take_u64("documents", &[Some(1)])?[0],
            frequencies: SparseTable::load(n_buckets, 1, tensors)?,
        })
    }
}

/// The hashes of every n-gram of a text, with repeats.
pub(super) fn hashes(seed: u64, text: &str) -> Vec<u64> {
    let mut end = text.len().min(BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let lower = text[..end].to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let [word_seed, pair_seed, gram_seed] = [1, 2, 3].map(|kind| mix(seed ^ kind));
    let mut hashes: Vec<u64> = words
        .iter()
        .map(|word| hash(word_seed, word.as_bytes()))
        .collect();
    for pair in words.windows(2) {
        let first = hash(pair_seed, pair[0].as_bytes());
        hashes.push(hash(first, pair[1].as_bytes()));
    }
    // Words joined by single spaces, with a space at both ends, so that word borders show.
    let joined: Vec<char> = format!(" {} ", words.join(" ")).chars().collect();
    for gram in joined.windows(4) {
        let step = |state, c: &char| mix(state ^ u64::from(u32::from(*c)));
        hashes.push(gram.iter().fold(gram_seed, step));
    }
    hashes
}

/// FNV-1a over the bytes, then mixed. It names buckets on disk: it must never change.
pub(super) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    let step = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(start, step))
}

/// The finaliser of MurmurHash3: every input bit reaches every output bit.
fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change() {
        assert_eq!(hash(0, b"amount"), 0xd085_2990_0fee_e7c5);
        assert_eq!(hash(7, b""), 0x1442_4831_7587_4257);
    }

    #[test]
    fn case_and_punctuation_do_not_matter() {
        let check = |text: &str, n_hashes: usize| {
            let found = hashes(0, text);
            assert_eq!(found.len(), n_hashes, "{text:?}");
            assert_eq!(found, hashes(0, &text.to_uppercase()), "{text:?}");
        };
        // Two words, a pair, and the 4-grams of " my card ".
        check("My card?!", 2 + 1 + 6);
        check("", 0);
        check("?!", 0);
        check("gün", 1 + 2);
    }

    #[test]
    fn a_rare_word_weighs_more_and_the_row_has_length_one() {
        let mut idf = Idf::new(64);
        for _ in 0..10 {
            idf.observe(vec![1, 2]);
        }
        idf.observe(vec![1, 3]);
        let mut row = Vec::new();
        idf.weigh(&[3, 1, 1], &mut row);
        let length: f32 = row.iter().map(|(_, value)| value * value).sum();
        assert!((length - 1.0).abs() < 1e-6);
        assert_eq!(row[0].0, 1);
        assert!(row[1].1 > row[0].1);
    }

    #[test]
    fn a_long_text_is_read_up_to_its_bound() {
        let long = "ä".repeat(BYTES_MAX);
        assert!(hashes(0, &long).len() <= BYTES_MAX / 2 + 2);
    }
}
