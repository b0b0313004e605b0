//! The first values of a column, by which its scale is judged robustly.
//!
//! Among few values a wild one would stretch mean and deviation for thousands of rows. While there are
//! fewer than `ROWS`, the scale is that of all of them, each clipped at `REACH` deviations from the
//! median, where a deviation is 1.4826 times the median absolute deviation (Hampel 1974). Where that is
//! zero, as of a column that is mostly one value, nothing is clipped.
//!
//! Invariant: bounded; once there are `ROWS`, the scale goes on alone.

use super::scale::Scale;
use crate::model::linear_algebra::median::median;
use crate::model::weights::{Error, Tensors};

/// Rows by which a scale is judged robustly.
const ROWS: usize = 30;
/// Deviations from the median at which a value is clipped.
const REACH: f64 = 6.0;
/// The deviation of a normal distribution in median absolute deviations.
const NORMAL: f64 = 1.4826;

/// Mean and variance within each of the first rows: of a number the value, and zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FirstValues(Vec<[f64; 2]>);

impl FirstValues {
    /// The scale with one more row; none where there are enough rows, and the scale goes on alone.
    pub(super) fn observe(&mut self, row: [f64; 2]) -> Option<Scale> {
        if self.0.len() == ROWS {
            return None;
        }
        self.0.push(row);
        let middle = median_of(self.0.iter().map(|row| row[0]));
        let between = NORMAL * median_of(self.0.iter().map(|row| (row[0] - middle).abs()));
        let within = median_of(self.0.iter().map(|row| row[1]));
        let squared = between * between + within;
        let clipped = self.0.iter().map(|[mean, variance]| {
            if squared > 0.0 {
                let reach = REACH * squared.sqrt();
                let mean = mean.clamp(middle - reach, middle + reach);
                [mean, variance.min(reach * reach)]
            } else {
                [*mean, *variance]
            }
        });
        Some(Scale::of_rows(clipped))
    }

    /// F64 `name` `[rows, 2]`.
    pub(super) fn save(&self, name: &str, tensors: &mut Tensors) {
        let rows = self.0.as_flattened().to_vec();
        tensors.put_f64(name, &[self.0.len(), 2], rows);
    }

    /// Reads the state that [`FirstValues::save`] wrote; none where it wrote nothing.
    pub(super) fn load(name: &str, tensors: &mut Tensors) -> Result<Option<FirstValues>, Error> {
        if !tensors.0.contains_key(name) {
            return Ok(None);
        }
        let numbers = tensors.take_f64(name, &[None, Some(2)])?;
        let (rows, _) = numbers.as_chunks::<2>();
        if rows.len() > ROWS || !numbers.iter().all(|number| number.is_finite()) {
            return Err(Error::value(name, format!("{} first rows", rows.len())));
        }
        Ok(Some(FirstValues(rows.to_vec())))
    }
}

/// The median of at least one value.
fn median_of(values: impl Iterator<Item = f64>) -> f64 {
    median(&mut values.collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scale after these values, by the first ones as by those that follow.
    fn scale(values: impl Iterator<Item = f64>) -> Scale {
        let (mut first, mut scale) = (FirstValues::default(), Scale::default());
        for value in values {
            match first.observe([value, 0.0]) {
                Some(robust) => scale = robust,
                None => scale.observe(value),
            }
        }
        scale
    }

    /// A triangle wave between -1 and 1.
    fn wave(index: usize) -> f64 {
        (index * 7 % 41) as f64 / 20.0 - 1.0
    }

    #[test]
    fn a_wild_value_among_the_first_does_not_stretch_the_scale() {
        let clean = scale((0..200).map(wave));
        for wild in [1e2, -1e3, 1e6, 1e100] {
            for place in [0, 1, 4, 15, 29] {
                let value = |index| if index == place { wild } else { wave(index) };
                let stretched = scale((0..200).map(value)).deviation() / clean.deviation();
                assert!(
                    (0.9..1.5).contains(&stretched),
                    "{wild} at {place}: {stretched}"
                );
            }
        }
        let sentinels = |index: usize| {
            if index % 50 == 3 {
                -9999.0
            } else {
                wave(index)
            }
        };
        let stretched = scale((0..2000).map(sentinels)).deviation() / clean.deviation();
        assert!(stretched < 4.0, "{stretched}");
    }

    #[test]
    fn a_column_that_is_mostly_one_value_keeps_the_others() {
        let rare = |index: usize| if index % 10 == 9 { 100.0 } else { 0.0 };
        let expected = Scale::of_rows((0..20).map(|index| [rare(index), 0.0]));
        assert_eq!(scale((0..20).map(rare)), expected);
    }

    #[test]
    fn what_was_saved_goes_on_alike() {
        let mut first = FirstValues::default();
        (0..12).for_each(|index| _ = first.observe([wave(index), 0.5]));
        let mut tensors = Tensors::default();
        first.save("first", &mut tensors);
        let loaded = FirstValues::load("first", &mut tensors).expect("it was saved");
        assert_eq!(loaded, Some(first));
        assert_eq!(FirstValues::load("first", &mut tensors), Ok(None));
    }
}
