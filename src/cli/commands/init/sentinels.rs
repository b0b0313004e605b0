//! Numbers that stand for no value: -999, 9999, -200.
//!
//! Invariant: a sentinel is an end of its column that repeats and stands apart from all other values,
//! in this column or, of the same number, in another one.

use std::collections::{BTreeMap, BTreeSet};

use super::extremes::Extremes;

/// Rows that make a number repeat.
const REPEATS_MIN: u64 = 3;

/// Numbers of an end that may stand for none.
const OF_AN_END_MAX: usize = 2;

/// The ends of whole numbers of 16 and 32 bits, of single and double floats: no value of a kind that
/// was measured.
const LIMITS: [f64; 10] = [
    32_767.0,
    -32_768.0,
    65_535.0,
    2_147_483_647.0,
    -2_147_483_648.0,
    4_294_967_295.0,
    3.402_823_466_385_288_6e38,
    -3.402_823_466_385_288_6e38,
    f64::MAX,
    f64::MIN,
];

/// Times the range of all other numbers that a number of no special form stands apart from them.
const FAR: f64 = 5.0;
/// Rows that make such a number repeat; they are one in a hundred as well.
const FAR_REPEATS_MIN: u64 = 5;
/// Other numbers without which their range proves little.
const OTHERS_MIN: usize = 6;

/// The sentinels of columns, by the keys of these, with how often each comes.
pub(super) fn sentinels(columns: &[(usize, &Extremes, u64)]) -> BTreeMap<usize, Vec<(f64, u64)>> {
    let of = |known: &BTreeSet<u64>| -> BTreeMap<usize, Vec<(f64, u64)>> {
        let found = columns.iter().map(|(key, extremes, n_values)| {
            let found = of_column(extremes, *n_values, known);
            (*key, found)
        });
        found.filter(|(_, values)| !values.is_empty()).collect()
    };
    let alone = of(&BTreeSet::new());
    let known = alone.values().flatten().map(|(value, _)| value.to_bits());
    of(&known.collect())
}

/// The sentinels of a column: the most of its ends that stand apart from the rest of it, so that two
/// of them do not hide each other.
fn of_column(extremes: &Extremes, n_values: u64, known: &BTreeSet<u64>) -> Vec<(f64, u64)> {
    let (low, high) = (&extremes.low, &extremes.high);
    let mut choices: Vec<(usize, usize)> = (0..=OF_AN_END_MAX)
        .flat_map(|n_low| (0..=OF_AN_END_MAX).map(move |n_high| (n_low, n_high)))
        .collect();
    choices.sort_by_key(|(n_low, n_high)| std::cmp::Reverse(n_low + n_high));
    for (n_low, n_high) in choices {
        let (Some(first), Some(last)) = (low.get(n_low), high.get(n_high)) else {
            continue;
        };
        let spread = last.0 - first.0;
        let others = low.iter().skip(n_low).chain(high.iter().skip(n_high));
        let in_range = others.filter(|(value, _)| (first.0..=last.0).contains(value));
        let others: BTreeSet<u64> = in_range.map(|(value, _)| value.to_bits()).collect();
        let below = low[..n_low].iter().map(|end| (end, first.0));
        let above = high[..n_high].iter().map(|end| (end, last.0));
        let mut ends = below.chain(above).map(|(&(value, n), next)| End {
            value,
            n,
            next,
            spread,
            n_others: others.len(),
        });
        if spread > 0.0 && ends.all(|end| end.is_sentinel(n_values) || end.is_known(known)) {
            let found = low[..n_low].iter().chain(&high[..n_high]);
            return found.copied().collect();
        }
    }
    Vec::new()
}

/// A number at an end of a column.
struct End {
    value: f64,
    n: u64,
    /// The nearest number that stands for itself.
    next: f64,
    /// The distance between the numbers that stand for themselves.
    spread: f64,
    /// The number of known values at both ends.
    n_others: usize,
}

impl End {
    fn distance(&self) -> f64 {
        (self.value - self.next).abs()
    }

    /// True if it repeats, and stands for none in another column.
    fn is_known(&self, known: &BTreeSet<u64>) -> bool {
        let is_apart = self.distance() > 0.05 * self.spread;
        self.n >= REPEATS_MIN && is_apart && known.contains(&self.value.to_bits())
    }

    fn is_sentinel(&self, n_values: u64) -> bool {
        let repeats = self.n >= REPEATS_MIN && self.n * 1000 >= n_values;
        if !repeats {
            return false;
        }
        let is_alone = self.value < 0.0 && self.next >= 0.0;
        let is_round = is_nines(self.value) || self.value % 100.0 == 0.0;
        let is_often = self.n * 100 >= n_values && is_alone && is_round;
        let is_apart = self.distance() > self.spread;
        let is_special = is_nines(self.value) || LIMITS.contains(&self.value);
        is_apart && (is_special || is_alone && is_round)
            || is_often && self.distance() > 0.25 * self.spread
            || self.is_far(n_values)
    }

    /// True if it repeats so far from all others that it is no end of them. Nothing is a value.
    fn is_far(&self, n_values: u64) -> bool {
        let repeats =
            self.n >= FAR_REPEATS_MIN && self.n * 100 >= n_values && self.n * 2 <= n_values;
        let is_far = self.distance() > FAR * self.spread;
        repeats && is_far && self.n_others >= OTHERS_MIN && self.value != 0.0
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
        let shared: Vec<_> = columns
            .iter()
            .map(|(key, ends, n)| (*key, ends, *n))
            .collect();
        let found = sentinels(&shared);
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
        let two = |one: f64, other: f64| {
            move |row: u32| match row % 50 {
                3 => one,
                17 => other,
                _ => wave(row),
            }
        };
        assert_eq!(
            found(&[&two(-9999.0, 999_999.0)]),
            [[-9999.0, 999_999.0]],
            "they do not hide each other"
        );
        assert_eq!(found(&[&two(-999.0, -9999.0)]), [[-9999.0, -999.0]]);
        let once = |row: u32| if row == 3 { -9999.0 } else { wave(row) };
        assert_eq!(found(&[&once]), [Vec::<f64>::new()]);
        let days = |row: u32| f64::from(row % 100) * 10.0 - 1.0;
        assert_eq!(found(&[&days]), [Vec::<f64>::new()]);
    }

    #[test]
    fn a_number_of_any_form_is_a_sentinel_far_from_all_others() {
        let wave = |row: u32| f64::from(row * 7 % 41) / 20.0 - 1.0;
        let with = |value: f64| move |row: u32| if row % 50 == 3 { value } else { wave(row) };
        for value in [
            1e6,
            1e10,
            -1e30,
            888.0,
            99.0,
            -88.0,
            -9998.0,
            65_535.0,
            -32_768.0,
            2_147_483_647.0,
            f64::MAX,
        ] {
            assert_eq!(found(&[&with(value)]), [[value]]);
        }
        // Limits stand for none among wide values, too, and other numbers do not.
        let wide = |value: f64| {
            move |row: u32| match row % 50 {
                3 => value,
                _ => f64::from(row * 37 % 500) * 40.0,
            }
        };
        assert_eq!(found(&[&wide(65_535.0)]), [[65_535.0]]);
        assert_eq!(found(&[&wide(50_000.0)]), [Vec::<f64>::new()]);
    }

    #[test]
    fn heavy_tails_counts_and_ends_of_scales_are_values() {
        let uniform = |row: u32| f64::from(row * 193 % 499 + 1) / 500.0;
        let normal = move |row: u32| -> f64 {
            (0..6).map(|n| uniform(row * 31 + n * 7919)).sum::<f64>() - 3.0
        };
        let check = |column: &dyn Fn(u32) -> f64| {
            assert_eq!(found(&[column]), [Vec::<f64>::new()]);
        };
        let log_normal = move |row: u32| (100.0 * (2.0 * normal(row)).exp()).round();
        check(&log_normal);
        check(&|row| if row % 3 == 0 { log_normal(row) } else { 0.0 });
        check(&|row| {
            if row % 10 == 0 {
                1000.0 + f64::from(row % 100)
            } else {
                0.0
            }
        });
        check(&|row| log_normal(row).min(300.0));
        check(&|row| (50.0 + 30.0 * normal(row)).clamp(0.0, 100.0).round());
        // Counts with one value far out, which repeats.
        check(&|row| {
            if row % 60 == 0 {
                40.0
            } else {
                f64::from(row % 11)
            }
        });
        check(&|row| {
            if row % 20 == 0 {
                1000.0
            } else {
                f64::from(row % 3)
            }
        });
        check(&|row| f64::from(row % 2));
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
