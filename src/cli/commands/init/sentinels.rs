//! Numbers that stand for no value: -999, 9999, -200.
//!
//! Invariant: a sentinel is an end of its column that repeats and stands apart from all other values,
//! in this column or, of the same number, in another one.

use std::collections::{BTreeMap, BTreeSet};

use super::extremes::Extremes;

/// Rows that make a number repeat.
const REPEATS_MIN: u64 = 3;

/// An end of a column.
#[derive(Clone, Copy)]
struct End {
    value: f64,
    n: u64,
    next: f64,
    /// The distance of the other end from `next`.
    spread: f64,
}

/// The sentinels of columns, by the keys of these, with how often each comes.
pub(super) fn sentinels(columns: &[(usize, Extremes, u64)]) -> BTreeMap<usize, Vec<(f64, u64)>> {
    let mut found: BTreeMap<usize, Vec<(f64, u64)>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for (key, extremes, n_values) in columns {
        for end in ends(extremes) {
            if end.is_sentinel(*n_values) {
                known.insert(end.value.to_bits());
                found.entry(*key).or_default().push((end.value, end.n));
            }
        }
    }
    for (key, extremes, _) in columns {
        for end in ends(extremes) {
            let of_column = found.entry(*key).or_default();
            if known.contains(&end.value.to_bits())
                && end.n >= REPEATS_MIN
                && end.distance() > 0.05 * end.spread
                && of_column.iter().all(|(value, _)| *value != end.value)
            {
                of_column.push((end.value, end.n));
            }
        }
    }
    found.retain(|_, values| !values.is_empty());
    found
}

/// The ends of a column, where there is more than one value.
fn ends(extremes: &Extremes) -> Vec<End> {
    let (Some((low, n_low, Some(second))), Some((high, n_high, Some(last)))) =
        (extremes.low, extremes.high)
    else {
        return Vec::new();
    };
    vec![
        End {
            value: low,
            n: n_low,
            next: second,
            spread: high - second,
        },
        End {
            value: high,
            n: n_high,
            next: last,
            spread: last - low,
        },
    ]
}

impl End {
    fn distance(&self) -> f64 {
        (self.value - self.next).abs()
    }

    fn is_sentinel(&self, n_values: u64) -> bool {
        let repeats = self.n >= REPEATS_MIN && self.n * 1000 >= n_values;
        if !repeats || self.spread <= 0.0 {
            return false;
        }
        let is_alone = self.value < 0.0 && self.next >= 0.0;
        let is_round = is_nines(self.value) || self.value % 100.0 == 0.0;
        let is_often = self.n * 100 >= n_values && is_alone && is_round;
        let is_apart = self.distance() > self.spread;
        is_apart && (is_nines(self.value) || is_alone && is_round)
            || is_often && self.distance() > 0.25 * self.spread
    }
}

/// True for 999, 9999, 999.9 and on, and for these with a minus.
fn is_nines(value: f64) -> bool {
    let digits: String = value.abs().to_string();
    let digits = digits.replace('.', "");
    let n_min = if value < 0.0 { 2 } else { 3 };
    digits.len() >= n_min && digits.len() <= 12 && digits.bytes().all(|byte| byte == b'9')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extremes(values: impl Iterator<Item = f64>) -> (Extremes, u64) {
        let mut extremes = Extremes::default();
        let mut n = 0;
        for value in values {
            extremes.add(value);
            n += 1;
        }
        (extremes, n)
    }

    fn found(columns: &[&dyn Fn(u32) -> f64]) -> Vec<Vec<f64>> {
        let columns = columns.iter().enumerate();
        let columns: Vec<_> = columns
            .map(|(key, column)| {
                let (extremes, n) = extremes((0..500).map(column));
                (key, extremes, n)
            })
            .collect();
        let found = sentinels(&columns);
        let of = |key: &usize| {
            found
                .get(key)
                .into_iter()
                .flatten()
                .map(|(value, _)| *value)
        };
        (0..columns.len()).map(|key| of(&key).collect()).collect()
    }

    #[test]
    fn a_number_that_repeats_far_from_the_others_is_a_sentinel() {
        let wave = |row: u32| f64::from(row * 7 % 41) / 20.0 - 1.0;
        let with = |value: f64| move |row: u32| if row % 50 == 3 { value } else { wave(row) };
        assert_eq!(found(&[&with(-9999.0)]), [[-9999.0]]);
        assert_eq!(found(&[&with(999_999.0)]), [[999_999.0]]);
        assert_eq!(found(&[&with(9.0)]), [Vec::<f64>::new()]);
        assert_eq!(found(&[&wave]), [Vec::<f64>::new()]);
        let once = |row: u32| if row == 3 { -9999.0 } else { wave(row) };
        assert_eq!(found(&[&once]), [Vec::<f64>::new()]);
        let days = |row: u32| f64::from(row % 100) * 10.0 - 1.0;
        assert_eq!(found(&[&days]), [Vec::<f64>::new()]);
    }

    #[test]
    fn a_sentinel_of_one_column_is_one_of_another() {
        let small = |row: u32| {
            if row % 20 == 3 {
                -200.0
            } else {
                f64::from(row % 12)
            }
        };
        let wide = |row: u32| {
            if row % 30 == 3 {
                -200.0
            } else {
                f64::from(row) * 3.0
            }
        };
        assert_eq!(found(&[&small, &wide]), [[-200.0], [-200.0]]);
    }
}
