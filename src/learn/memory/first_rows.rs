//! The first rows that were learned, as they were encoded then.
//!
//! Inputs are standardised by the scales of their time, and that moves most over the first
//! rows. An example among them that is amended later has to be the row that was learned; later rows
//! are encoded nearly as they were.
//!
//! Invariant: bounded; a row stands here once, and as long as the state does.

use super::stored_example::{ExampleBounds, StoredExample, load_examples, save_examples};
use crate::model::weights::{Error, Tensors};
use crate::model::{Encoded, Scales, Target};

/// Rows that are kept.
const ROWS: usize = 256;

/// Encoded rows by the numbers of their examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FirstRows(Vec<(u64, Encoded)>);

impl FirstRows {
    /// Keeps a row that is learned, while there is room.
    pub(crate) fn observe(&mut self, example: u64, row: &Encoded) {
        if self.0.len() < ROWS {
            self.0.push((example, row.clone()));
        }
    }

    /// Forgets the rows of examples after this number, which were not learned after all.
    pub(crate) fn forget_after(&mut self, number: u64) {
        self.0.retain(|(example, _)| *example <= number);
    }

    /// The row of an example, where it is one of the first.
    pub(crate) fn row(&self, example: u64) -> Option<&Encoded> {
        let found = self.0.iter().find(|(number, _)| *number == example);
        found.map(|(_, row)| row)
    }

    /// The rows as examples without a target.
    pub(crate) fn save(&self) -> Tensors {
        let examples = self.0.iter().map(|(number, row)| StoredExample {
            row: row.clone().into(),
            target: Target::Value(0.0),
            example: Some(*number),
            weight: 1.0,
            is_anchor: false,
            outputs: Vec::new(),
        });
        save_examples(examples.collect::<Vec<_>>().iter())
    }

    /// Reads the state that [`FirstRows::save`] wrote.
    pub(crate) fn load(form: ExampleBounds, tensors: &mut Tensors) -> Result<FirstRows, Error> {
        let examples = load_examples(form, tensors)?;
        if examples.len() > ROWS {
            let what = format!("{} first rows, at most {ROWS}", examples.len());
            return Err(Error::value("dense", what));
        }
        let rows = examples.into_iter();
        let row = |stored: StoredExample| {
            let row = stored.row.encoded(&Scales::default()).into_owned();
            (stored.example.unwrap_or(0), row)
        };
        let rows = rows.map(row);
        Ok(FirstRows(rows.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_are_kept_and_loaded() {
        let mut rows = FirstRows::default();
        let row = |x: u64| Encoded {
            dense: vec![x as f32],
            sparse: vec![],
            past: None,
        };
        for example in 1..1000 {
            rows.observe(example, &row(example));
        }
        assert_eq!(rows.0.len(), ROWS);
        assert_eq!(rows.row(3), Some(&row(3)));
        assert_eq!(rows.row(900), None);
        let form = |n_dense| ExampleBounds {
            n_dense,
            n_buckets: 0,
            n_outputs: 1,
            ..ExampleBounds::default()
        };
        assert!(FirstRows::load(form(2), &mut rows.save()).is_err());
        assert_eq!(FirstRows::load(form(1), &mut rows.save()), Ok(rows));
        let none = FirstRows::default();
        assert_eq!(FirstRows::load(form(1), &mut none.save()), Ok(none));
    }
}
