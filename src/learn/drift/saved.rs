//! Tests of many streams as two tensors: counts and numbers, one stream after the other.
//!
//! Invariant: what is read was written in the same order, to the last value.

use crate::model::weights::{Error, Tensors};

const COUNTS: &str = "drift.counts";
const NUMBERS: &str = "drift.numbers";

/// The state of tests that were written so far.
#[derive(Debug, Default)]
pub(super) struct Writer {
    counts: Vec<u64>,
    numbers: Vec<f64>,
}

/// The state of tests that is still to be read.
#[derive(Debug)]
pub(super) struct Reader {
    counts: std::vec::IntoIter<u64>,
    numbers: std::vec::IntoIter<f64>,
}

impl Writer {
    pub(super) fn counts(&mut self, counts: impl IntoIterator<Item = u64>) {
        self.counts.extend(counts);
    }

    pub(super) fn numbers(&mut self, numbers: &[f64]) {
        self.numbers.extend(numbers);
    }

    pub(super) fn save(self, tensors: &mut Tensors) {
        tensors.put_u64(COUNTS, &[self.counts.len()], self.counts);
        tensors.put_f64(NUMBERS, &[self.numbers.len()], self.numbers);
    }
}

impl Reader {
    /// None where an older program saved the state.
    pub(super) fn load(tensors: &mut Tensors) -> Result<Option<Reader>, Error> {
        if !tensors.0.contains_key(COUNTS) {
            return Ok(None);
        }
        Ok(Some(Reader {
            counts: tensors.take_u64(COUNTS, &[None])?.into_iter(),
            numbers: tensors.take_f64(NUMBERS, &[None])?.into_iter(),
        }))
    }

    pub(super) fn counts<const N: usize>(&mut self) -> Result<[u64; N], Error> {
        let counts = self.many_counts(N)?;
        Ok(counts.try_into().expect("as many as were asked for"))
    }

    pub(super) fn many_counts(&mut self, n: usize) -> Result<Vec<u64>, Error> {
        let counts: Vec<u64> = self.counts.by_ref().take(n).collect();
        if counts.len() == n {
            Ok(counts)
        } else {
            Err(Reader::wrong())
        }
    }

    /// Finite ones.
    pub(super) fn many_numbers(&mut self, n: usize) -> Result<Vec<f64>, Error> {
        let numbers: Vec<f64> = self.numbers.by_ref().take(n).collect();
        let is_whole = numbers.len() == n && numbers.iter().all(|number| number.is_finite());
        if is_whole {
            Ok(numbers)
        } else {
            Err(Reader::wrong())
        }
    }

    /// Nothing may be left.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        match (self.counts.next(), self.numbers.next()) {
            (None, None) => Ok(()),
            _ => Err(Reader::wrong()),
        }
    }

    pub(super) fn wrong() -> Error {
        Error::value(COUNTS, "these are not the tests of this description")
    }

    #[cfg(test)]
    pub(super) fn of(written: Writer) -> Reader {
        Reader {
            counts: written.counts.into_iter(),
            numbers: written.numbers.into_iter(),
        }
    }
}
