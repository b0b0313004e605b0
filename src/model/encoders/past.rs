//! The past of a target, as it was known when a row was asked.
//!
//! Invariant: plain values of one moment. A row that is learned later has the past that it was asked
//! with, whatever has been learned since.

use crate::event::{Batch, Column};

/// Newest values that a row knows.
pub(crate) const RECENT: usize = 5;
/// Periods that are followed at a time.
pub(crate) const PERIODS: usize = 2;

/// The known values of a series before a row; all in the unit of the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// The series: a hash of the row's key, 0 where the model has no key column.
    pub key: u64,
    /// The number of learned values of the series by then; none where that is not known any more.
    pub n_known: Option<u64>,
    /// The newest values, the newest first; where there are fewer, the oldest is repeated.
    pub recent: [f64; RECENT],
    /// For each period: the value that stands a whole number of periods before the one asked for,
    /// and that which stands as many before the newest.
    pub seasonal: [[f64; 2]; PERIODS],
    /// The periods, in values; 0 where none is found, or too few values are known.
    pub periods: [u32; PERIODS],
    /// The mean of the values that are kept.
    pub level: f64,
    /// The mean absolute change from one value to the one as many later as the row is ahead of the
    /// newest.
    pub change: f64,
}

impl Past {
    /// The past of a row whose past is not known any more.
    pub fn lost(key: u64) -> Past {
        Past {
            key,
            ..Past::default()
        }
    }

    /// The newest value; none where no value was known.
    pub fn newest(&self) -> Option<f64> {
        let known = self.n_known.is_some_and(|n_known| n_known > 0);
        known.then_some(self.recent[0])
    }
}

/// The key of row `row`, from the column of the input at `place`; 0 without one.
pub(crate) fn key(batch: &Batch, row: usize, place: Option<usize>) -> u64 {
    let hash = |bytes: &[u8]| {
        let digest = blake3::hash(bytes);
        let first = digest.as_bytes().first_chunk();
        u64::from_le_bytes(*first.expect("a digest has 32 bytes"))
    };
    match place.map(|place| &batch.columns[place]) {
        Some(Column::Strings(values)) => hash(values[row].as_bytes()),
        // Every gap is one key, and so are both zeros.
        Some(Column::Numbers(values)) if values[row].is_nan() => hash(b"gap"),
        Some(Column::Numbers(values)) => hash(&(values[row] + 0.0).to_le_bytes()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(column: Column) -> Vec<u64> {
        let batch = Batch {
            n_rows: 3,
            columns: vec![column],
        };
        (0..3).map(|row| key(&batch, row, Some(0))).collect()
    }

    #[test]
    fn equal_values_are_one_key() {
        let numbers = keys(Column::Numbers(vec![0.0, -0.0, 1.0]));
        assert!(numbers[0] == numbers[1] && numbers[1] != numbers[2]);
        let gaps = keys(Column::Numbers(vec![f64::NAN, -f64::NAN, 1.0]));
        assert!(gaps[0] == gaps[1] && gaps[1] != gaps[2]);
        let names = ["a", "b", "a"].map(Into::into);
        let names = keys(Column::Strings(names.to_vec()));
        assert!(names[0] == names[2] && names[0] != names[1]);
    }

    #[test]
    fn a_lost_past_knows_nothing() {
        assert_eq!(Past::lost(3).newest(), None);
        let past = Past {
            n_known: Some(1),
            recent: [2.0; RECENT],
            ..Past::default()
        };
        assert_eq!(past.newest(), Some(2.0));
    }
}
