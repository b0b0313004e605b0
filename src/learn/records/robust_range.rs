//! The range of the newest numbers, whatever some of them are: their median, and the median of their
//! distances from it (Hampel 1974).
//!
//! Invariant: bounded; up to half of the newest numbers move neither without end.

use std::collections::VecDeque;

use super::saved::{SavedReader, Writer};
use crate::model::median;
use crate::model::weights::Error;

/// Numbers that are kept.
const NEWEST: usize = 256;
/// The fewest numbers by which another can be far.
const FEWEST: usize = 32;
/// A deviation of normal numbers in medians of their distances.
const DEVIATION: f64 = 1.4826;

/// The newest numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RobustRange {
    newest: VecDeque<f64>,
}

impl RobustRange {
    /// Takes in a number; true if it lies more than so many deviations from the middle of those before it.
    /// A gap is none, and nothing lies far from numbers most of which are the same.
    pub(crate) fn look(&mut self, number: f64, deviations: f64) -> bool {
        if !number.is_finite() {
            return false;
        }
        let is_far = self.newest.len() >= FEWEST && {
            let mut numbers: Vec<f64> = self.newest.iter().copied().collect();
            let middle = median(&mut numbers);
            numbers
                .iter_mut()
                .for_each(|one| *one = (*one - middle).abs());
            let deviation = DEVIATION * median(&mut numbers);
            deviation > 0.0 && (number - middle).abs() > deviations * deviation
        };
        if self.newest.len() == NEWEST {
            self.newest.pop_front();
        }
        self.newest.push_back(number);
        is_far
    }

    pub(crate) fn save(&self, writer: &mut Writer) {
        let numbers: Vec<f64> = self.newest.iter().copied().collect();
        writer.counts([numbers.len() as u64]);
        writer.numbers(&numbers);
    }

    pub(crate) fn load(reader: &mut SavedReader) -> Result<RobustRange, Error> {
        let [n] = reader.counts()?;
        if n > NEWEST as u64 {
            return Err(SavedReader::wrong());
        }
        let newest = reader.many_numbers(n as usize)?.into();
        Ok(RobustRange { newest })
    }
}
