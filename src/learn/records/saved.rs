//! Many small states as two tensors: counts and numbers, one state after the other.
//!
//! Invariant: values are read in the order in which they were written, to the last value.

use crate::model::weights::{Error, Tensors};

/// The states that were written so far.
#[derive(Debug, Default)]
pub(in crate::learn) struct Writer {
    counts: Vec<u64>,
    numbers: Vec<f64>,
}

/// The states that are still to be read.
#[derive(Debug)]
pub(in crate::learn) struct SavedReader {
    counts: std::vec::IntoIter<u64>,
    numbers: std::vec::IntoIter<f64>,
}

impl Writer {
    pub(in crate::learn) fn counts(&mut self, counts: impl IntoIterator<Item = u64>) {
        self.counts.extend(counts);
    }

    pub(in crate::learn) fn numbers(&mut self, numbers: &[f64]) {
        self.numbers.extend(numbers);
    }

    /// Saves them as `NAME.counts` and `NAME.numbers`.
    pub(in crate::learn) fn save(self, name: &str, tensors: &mut Tensors) {
        let (n_counts, n_numbers) = (self.counts.len(), self.numbers.len());
        tensors.put_u64(format!("{name}.counts"), &[n_counts], self.counts);
        tensors.put_f64(format!("{name}.numbers"), &[n_numbers], self.numbers);
    }
}

impl SavedReader {
    /// The saved counts and numbers; none where an older program saved the state.
    pub(in crate::learn) fn load(
        name: &str,
        tensors: &mut Tensors,
    ) -> Result<Option<SavedReader>, Error> {
        let (counts, numbers) = (format!("{name}.counts"), format!("{name}.numbers"));
        if !tensors.0.contains_key(&counts) {
            return Ok(None);
        }
        Ok(Some(SavedReader {
            counts: tensors.take_u64(&counts, &[None])?.into_iter(),
            numbers: tensors.take_f64(&numbers, &[None])?.into_iter(),
        }))
    }

    pub(in crate::learn) fn counts<const N: usize>(&mut self) -> Result<[u64; N], Error> {
        let counts = self.many_counts(N)?;
        Ok(counts.try_into().expect("as many as were asked for"))
    }

    pub(in crate::learn) fn many_counts(&mut self, n: usize) -> Result<Vec<u64>, Error> {
        let counts: Vec<u64> = self.counts.by_ref().take(n).collect();
        if counts.len() == n {
            Ok(counts)
        } else {
            Err(SavedReader::wrong())
        }
    }

    /// Finite ones.
    pub(in crate::learn) fn many_numbers(&mut self, n: usize) -> Result<Vec<f64>, Error> {
        let numbers: Vec<f64> = self.numbers.by_ref().take(n).collect();
        let is_whole = numbers.len() == n && numbers.iter().all(|number| number.is_finite());
        if is_whole {
            Ok(numbers)
        } else {
            Err(SavedReader::wrong())
        }
    }

    /// Checks that nothing is left.
    pub(in crate::learn) fn end(&mut self) -> Result<(), Error> {
        match (self.counts.next(), self.numbers.next()) {
            (None, None) => Ok(()),
            _ => Err(SavedReader::wrong()),
        }
    }

    pub(in crate::learn) fn wrong() -> Error {
        Error::value("counts", "these are not those of this description")
    }

    #[cfg(test)]
    pub(in crate::learn) fn of(written: Writer) -> SavedReader {
        SavedReader {
            counts: written.counts.into_iter(),
            numbers: written.numbers.into_iter(),
        }
    }
}

/// U32 `lengths` and U8 `texts`.
pub(in crate::learn) fn put_texts<'a>(tensors: &mut Tensors, texts: impl Iterator<Item = &'a str>) {
    let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
    for text in texts {
        lengths.push(text.len() as u32);
        bytes.extend_from_slice(text.as_bytes());
    }
    tensors.put_u32("lengths", &[lengths.len()], lengths);
    tensors.put_u8("texts", &[bytes.len()], bytes);
}

/// The texts that [`put_texts`] put.
pub(in crate::learn) fn take_texts(tensors: &mut Tensors) -> Result<Vec<String>, Error> {
    let lengths = tensors.take_u32("lengths", &[None])?;
    let bytes = tensors.take_u8("texts", &[None])?;
    let mut rest = bytes.as_slice();
    let mut texts = Vec::new();
    for length in lengths {
        let split = rest.split_at_checked(length as usize);
        let text = split.and_then(|(text, after)| {
            rest = after;
            str::from_utf8(text).ok()
        });
        let wrong = || Error::value("texts", "bytes that are no texts");
        texts.push(text.ok_or_else(wrong)?.to_owned());
    }
    Ok(texts)
}
