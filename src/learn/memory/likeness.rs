//! The likeness of the rows of a stream: how far a step on one row moves the output of a linear model for the
//! next, beside its output for the row itself.
//!
//! Invariant: bounded, and between [`LEAST`] and 1.

use super::stored_example::{ExampleBounds, StoredExample, load_examples, save_examples};
use crate::model::weights::{Error, Tensors};
use crate::model::{Encoded, Scales, Target};

/// Rows over which the mean is a plain one; older ones fade.
const HORIZON: f64 = 1000.0;
/// Rows that have nothing in common count for this much.
const LEAST: f64 = 0.05;

/// The mean of `(x . y + 1) / (y . y + 1)` over rows `x` and their successors `y`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Likeness {
    count: f64,
    mean: f64,
    previous: Option<Encoded>,
}

impl Likeness {
    /// Takes in the next row.
    pub(crate) fn observe(&mut self, row: &Encoded) {
        if !row.is_finite() {
            return;
        }
        if let Some(previous) = &self.previous {
            let alike: f32 = (1.0 + row.product(previous)) / (1.0 + row.product(row));
            if alike.is_finite() {
                self.count = (self.count + 1.0).min(HORIZON);
                self.mean += (f64::from(alike).clamp(-1.0, 1.0) - self.mean) / self.count;
            }
        }
        self.previous = Some(row.clone());
    }

    /// The mean; 1 before the second row.
    pub(crate) fn mean(&self) -> f64 {
        if self.count > 0.0 {
            self.mean.clamp(LEAST, 1.0)
        } else {
            1.0
        }
    }

    /// F64 `likeness` `[2]`, and `likeness.previous`.
    pub(crate) fn save(&self, tensors: &mut Tensors) {
        tensors.put_f64("likeness", &[2], vec![self.count, self.mean]);
        let previous = self.previous.iter().map(|row| StoredExample {
            row: row.clone().into(),
            target: Target::Value(0.0),
            example: None,
            weight: 1.0,
            is_anchor: false,
            outputs: Vec::new(),
        });
        let previous: Vec<StoredExample> = previous.collect();
        tensors.nest("likeness.previous", save_examples(previous.iter()));
    }

    /// Reads the state that [`Likeness::save`] wrote.
    pub(crate) fn load(form: ExampleBounds, tensors: &mut Tensors) -> Result<Likeness, Error> {
        let numbers = tensors.take_f64("likeness", &[Some(2)])?;
        let previous = load_examples(form, &mut tensors.unnest("likeness.previous"))?;
        let sound = (0.0..=HORIZON).contains(&numbers[0]) && numbers[1].abs() <= 1.0;
        if !sound || previous.len() > 1 {
            return Err(Error::value("likeness", format!("{numbers:?}")));
        }
        Ok(Likeness {
            count: numbers[0],
            mean: numbers[1],
            previous: previous
                .first()
                .map(|stored| stored.row.encoded(&Scales::default()).into_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dense: &[f32], bucket: u32) -> Encoded {
        Encoded {
            dense: dense.to_vec(),
            sparse: vec![(bucket, 1.0)],
            past: None,
        }
    }

    #[test]
    fn rows_are_as_alike_as_a_step_on_one_moves_the_other() {
        let check = |rows: &[Encoded], expected: f64| {
            let mut likeness = Likeness::default();
            rows.iter().for_each(|row| likeness.observe(row));
            assert!((likeness.mean() - expected).abs() < 1e-6, "{likeness:?}");
        };
        check(&[row(&[1.0], 1)], 1.0);
        check(&[row(&[1.0], 1), row(&[1.0], 1)], 1.0);
        check(&[row(&[1.0], 1), row(&[0.0], 2)], 0.5);
        check(&[row(&[1.0], 1), row(&[-9.0], 2)], LEAST);
        check(&[row(&[1.0], 1), row(&[f32::NAN], 1)], 1.0);
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let form = ExampleBounds {
            n_dense: 1,
            n_buckets: 4,
            n_outputs: 1,
            ..ExampleBounds::default()
        };
        let mut likeness = Likeness::default();
        for n_rows in 0..3 {
            let mut saved = Tensors::default();
            likeness.save(&mut saved);
            assert_eq!(Likeness::load(form, &mut saved).as_ref(), Ok(&likeness));
            likeness.observe(&row(&[n_rows as f32], n_rows));
        }
    }
}
