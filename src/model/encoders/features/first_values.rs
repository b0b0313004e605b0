//! The first values of a column, by which its scale is judged robustly.
//!
//! Among few values a wild one would stretch mean and deviation for thousands of rows. The scale is that
//! of the first `ROWS` rows, each clipped at `REACH` deviations from the median, where a deviation is
//! 1.4826 times the median absolute deviation (Hampel 1974). Where that is zero, as of a column that is
//! mostly one value (the mode), the median distance of the other values takes its place, and values are
//! clipped until `OTHERS` of them are known. A scale whose first rows were clipped forgets fast.
//!
//! Invariant: bounded; after these rows the scale goes on alone.

use super::scale::Scale;
use crate::model::linear_algebra::median::median;
use crate::model::weights::{Error, Tensors};

/// Rows by which a scale is judged robustly.
const ROWS: usize = 30;
/// Values other than the mode by which the scale of a column that is mostly one value is judged.
const OTHERS: usize = 8;
/// Deviations from the median at which a value is clipped.
const REACH: f64 = 6.0;
/// Median distances of the other values from the mode at which a value is clipped.
const REACH_OTHERS: f64 = 3.0;
/// The deviation of a normal distribution in median absolute deviations.
const NORMAL: f64 = 1.4826;

/// Mean and variance within each of the first rows: of a number the value, and zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FirstValues {
    /// The first rows; empty once the scale goes on alone.
    rows: Vec<[f64; 2]>,
    /// The mode of a column that is mostly one value, and the number of its rows that are not among `rows`.
    mode: f64,
    n_left_out: f64,
    has_clipped: bool,
    is_over: bool,
}

impl FirstValues {
    /// Learns a row: the scale becomes that of all first rows, or goes on from where it is.
    pub(super) fn learn(&mut self, row: [f64; 2], scale: &mut Scale) {
        let is_left_out = self.n_left_out > 0.0 && row == [self.mode, 0.0];
        if is_left_out {
            self.n_left_out += 1.0;
        }
        if self.is_over || is_left_out {
            return if self.has_clipped {
                scale.observe_fading(row);
            } else {
                scale.observe_row(row);
            };
        }
        self.rows.push(row);
        let middle = match self.n_left_out {
            0.0 => median_of(self.rows.iter().map(|row| row[0])),
            _ => self.mode,
        };
        let clipped = self.clipped(middle);
        self.has_clipped = clipped != self.rows;
        *scale = Scale::of_rows((self.n_left_out, middle), clipped.into_iter());
        if self.rows.len() == ROWS {
            self.end_or_leave_out(middle);
        }
    }

    /// All rows, each clipped around this median.
    fn clipped(&self, middle: f64) -> Vec<[f64; 2]> {
        let rows = self.rows.iter();
        let (mut squared, mut reach) = (0.0, REACH);
        if self.n_left_out == 0.0 {
            let between = NORMAL * median_of(rows.clone().map(|row| (row[0] - middle).abs()));
            squared = between * between + median_of(rows.clone().map(|row| row[1]));
        }
        if squared == 0.0 {
            let squares = rows.clone().map(|row| (row[0] - middle).powi(2) + row[1]);
            squared = lower_median_of(squares.filter(|square| *square > 0.0));
            reach = REACH_OTHERS;
        }
        let reach = reach * squared.sqrt();
        let clip = |[mean, variance]: &[f64; 2]| {
            let mean = mean.clamp(middle - reach, middle + reach);
            [mean, variance.min(reach * reach)]
        };
        rows.map(clip).collect()
    }

    /// Leaves out one row at the median until enough other values are known; then the scale goes on alone.
    fn end_or_leave_out(&mut self, middle: f64) {
        let at_middle = |row: &[f64; 2]| *row == [middle, 0.0];
        let n_others = self.rows.iter().filter(|row| !at_middle(row)).count();
        match self.rows.iter().position(at_middle) {
            Some(place) if n_others < OTHERS => {
                self.rows.swap_remove(place);
                (self.mode, self.n_left_out) = (middle, self.n_left_out + 1.0);
            }
            _ => {
                *self = FirstValues {
                    has_clipped: self.has_clipped,
                    is_over: true,
                    ..FirstValues::default()
                }
            }
        }
    }

    /// F64 `name` `[rows, 2]`, and `<name>.mode` `[4]`: the mode, the number of its rows that are left
    /// out, 1 where a row was clipped, and 1 once the scale goes on alone.
    pub(super) fn save(&self, name: &str, tensors: &mut Tensors) {
        let rows = self.rows.as_flattened().to_vec();
        tensors.put_f64(name, &[self.rows.len(), 2], rows);
        let flags = [self.has_clipped, self.is_over].map(|flag| f64::from(u8::from(flag)));
        let mode = [&[self.mode, self.n_left_out], &flags[..]].concat();
        tensors.put_f64(format!("{name}.mode"), &[4], mode);
    }

    /// Reads the state that [`FirstValues::save`] wrote; none where it wrote nothing.
    pub(super) fn load(name: &str, tensors: &mut Tensors) -> Result<Option<FirstValues>, Error> {
        if !tensors.0.contains_key(name) {
            return Ok(None);
        }
        let numbers = tensors.take_f64(name, &[None, Some(2)])?;
        let mode = tensors.take_f64(&format!("{name}.mode"), &[Some(4)])?;
        let (rows, _) = numbers.as_chunks::<2>();
        let is_finite = numbers.iter().chain(&mode).all(|number| number.is_finite());
        if rows.len() >= ROWS || !is_finite || mode[1] < 0.0 {
            return Err(Error::value(name, format!("{} first rows", rows.len())));
        }
        Ok(Some(FirstValues {
            rows: rows.to_vec(),
            mode: mode[0],
            n_left_out: mode[1],
            has_clipped: mode[2] == 1.0,
            is_over: mode[3] == 1.0,
        }))
    }
}

/// The median of at least one value.
fn median_of(values: impl Iterator<Item = f64>) -> f64 {
    median(&mut values.collect::<Vec<f64>>())
}

/// The median, of an even number of values the lower one; zero of none.
fn lower_median_of(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    match values.len() {
        0 => 0.0,
        n => *values.select_nth_unstable_by((n - 1) / 2, f64::total_cmp).1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scale after these values, by the first ones as by those that follow.
    fn scale(values: impl Iterator<Item = f64>) -> Scale {
        let (mut first, mut scale) = (FirstValues::default(), Scale::default());
        values.for_each(|value| first.learn([value, 0.0], &mut scale));
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
        let expected = Scale::of_rows((0.0, 0.0), (0..20).map(|index| [rare(index), 0.0]));
        assert_eq!(scale((0..20).map(rare)), expected);
    }

    #[test]
    fn a_wild_value_in_a_column_that_is_mostly_one_value_is_clipped() {
        let binary = |one_of: usize| move |row: usize| f64::from(u8::from(row * 7 % one_of < 3));
        let amount = |row: usize| match row * 7 % 10 {
            0..7 => 0.0,
            _ => 20.0 + (row * 13 % 17) as f64,
        };
        let check = |what: &str, wild: f64, n: usize, value: &dyn Fn(usize) -> f64| {
            let clean = scale((0..n).map(value)).deviation();
            let with = scale((0..n).map(|row| if row == 5 { wild } else { value(row) }));
            let stretched = with.deviation() / clean;
            assert!(
                (0.9..1.5).contains(&stretched),
                "{what} {wild} {n}: {stretched}"
            );
        };
        for (n, wild) in [
            (200, 1e3),
            (1_000, 1e3),
            (20_000, 1e3),
            (1_000, -1e6),
            (20_000, 1e100),
        ] {
            check("binary", wild, n, &binary(10));
            check("one of many", wild, n, &binary(61));
            check("amount", wild, n, &amount);
        }
        // The first other value after a long constant, and a wild one before all others.
        let late = |row: usize| f64::from(u8::from(row > 400 && row.is_multiple_of(40)));
        let with = |row: usize| if row == 100 { 1e6 } else { late(row) };
        let stretched =
            scale((0..2_000).map(with)).deviation() / scale((0..2_000).map(late)).deviation();
        assert!((0.9..1.5).contains(&stretched), "{stretched}");
    }

    #[test]
    fn a_loaded_state_equals_the_saved_one() {
        for (n, constant) in [(12, false), (31, false), (12, true), (50, true)] {
            let (mut first, mut scale) = (FirstValues::default(), Scale::default());
            for index in 0..n {
                let value = if constant && index != 3 {
                    7.0
                } else {
                    wave(index)
                };
                first.learn([value, 0.0], &mut scale);
            }
            let mut tensors = Tensors::default();
            first.save("first", &mut tensors);
            let loaded = FirstValues::load("first", &mut tensors).expect("it was saved");
            assert_eq!(loaded, Some(first));
            assert_eq!(FirstValues::load("first", &mut tensors), Ok(None));
        }
    }
}
