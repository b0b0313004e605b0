//! Keys of rows and truths, by which a row of a file is found in a journal.
//!
//! Invariant: rows of equal values have equal keys, and every gap is one value.

use crate::engine::offline::compared::RowTruth;
use crate::event::{Batch, Column};

/// The first half of the BLAKE3 of a row's values.
pub(crate) type RowKey = [u8; 16];

/// The key of a row of a batch.
pub(crate) fn row_key(batch: &Batch, row: usize) -> RowKey {
    let mut hasher = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for column in &batch.columns {
        match column {
            Column::Numbers(values) => {
                let value = values[row];
                // Every gap is one, and so are both zeros.
                let value = if value.is_nan() {
                    f64::NAN
                } else {
                    value + 0.0
                };
                put(&value.to_bits().to_le_bytes());
            }
            Column::Strings(texts) | Column::Embedded { texts, .. } => put(texts[row].as_bytes()),
            Column::Vectors(bytes) => {
                let width = bytes.len() / batch.n_rows;
                put(&bytes[row * width..(row + 1) * width]);
            }
        }
    }
    let digest = hasher.finalize();
    *digest.as_bytes().first_chunk().expect("it has 32 bytes")
}

/// The key of a truth.
pub(crate) fn truth_key(truth: &RowTruth) -> String {
    match truth {
        RowTruth::Label(label) => format!("label {label}"),
        RowTruth::Value(value) => format!("value {}", (value + 0.0).to_bits()),
        RowTruth::Decision { action, reward, .. } => format!("{} {action}", reward.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_have_equal_keys() {
        let batch = |numbers: &[f64], texts: &[&str]| Batch {
            n_rows: numbers.len(),
            columns: vec![
                Column::Numbers(numbers.to_vec()),
                Column::Strings(texts.iter().map(|text| (*text).to_owned()).collect()),
            ],
        };
        let both = batch(&[1.0, -0.0, -f64::NAN], &["a", "b", "c"]);
        let check = |number: f64, text: &str, row: usize, same: bool| {
            let other = row_key(&batch(&[number], &[text]), 0);
            assert_eq!(row_key(&both, row) == other, same, "{number} {text}");
        };
        check(1.0, "a", 0, true);
        check(0.0, "b", 1, true);
        check(f64::NAN, "c", 2, true);
        check(1.0, "b", 0, false);
        check(2.0, "a", 0, false);
    }
}
