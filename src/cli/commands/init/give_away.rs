//! Columns that alone give the target away.
//!
//! Invariant: bounded: [`VALUES_MAX`] values, or [`SAMPLE_MAX`] numbers.

use std::collections::HashMap;

use super::hashed::IdentityHasher;

/// Distinct values that are followed.
const VALUES_MAX: usize = 200;
/// Numbers that are kept to look for a threshold.
const SAMPLE_MAX: usize = 3000;
/// Fewer rows are no evidence that a column gives the target away.
const ROWS_MIN: usize = 100;
/// The share of rows that a column alone predicts.
const SHARE: f64 = 0.995;
/// The least correlation that is nearly perfect.
const CORRELATION: f64 = 0.9995;
/// The share of one class from which on no note is made.
const COMMONEST_MAX: f64 = 0.97;

/// The prediction of the class, or the value, by one column alone.
#[derive(Default)]
pub(super) struct GiveAway {
    /// Rows of each class by value; none once there were too many values.
    by_value: HashMap<u64, Vec<u32>, IdentityHasher>,
    is_full: bool,
    sample: Vec<(f64, usize)>,
    /// Numbers beside those of the target.
    pairs: Vec<(f64, f64)>,
    /// Sums of x, y, x*x, y*y, x*y, after the first pair was taken off.
    sums: [f64; 5],
    first: Option<(f64, f64)>,
    n_pairs: f64,
    n_classes: Vec<u32>,
}

impl GiveAway {
    /// Adds a row: the hash of its value, the number that it is, and its target as class and number.
    pub(super) fn add(
        &mut self,
        hash: u64,
        number: Option<f64>,
        class: Option<usize>,
        target: Option<f64>,
    ) {
        if let (Some(x), Some(y)) = (number.filter(|x| x.is_finite()), target) {
            if self.pairs.len() < SAMPLE_MAX {
                self.pairs.push((x, y));
            }
            let (x0, y0) = *self.first.get_or_insert((x, y));
            let (x, y) = (x - x0, y - y0);
            self.n_pairs += 1.0;
            for (sum, value) in self.sums.iter_mut().zip([x, y, x * x, y * y, x * y]) {
                *sum += value;
            }
        }
        let Some(class) = class else { return };
        count(&mut self.n_classes, class);
        if let Some(x) = number.filter(|x| x.is_finite())
            && self.sample.len() < SAMPLE_MAX
        {
            self.sample.push((x, class));
        }
        if self.is_full {
            return;
        }
        count(self.by_value.entry(hash).or_default(), class);
        if self.by_value.len() > VALUES_MAX {
            self.is_full = true;
            self.by_value.clear();
        }
    }

    /// Adds rows with a gap, by the number of them of each class.
    pub(super) fn add_gaps(&mut self, gap: u64, n_rows: Vec<u32>) {
        if n_rows.iter().any(|n| *n > 0) {
            self.n_classes.clone_from(&n_rows);
            self.by_value.insert(gap, n_rows);
        }
    }

    /// The share of rows whose class the column alone predicts, if it is nearly all.
    pub(super) fn of_classes(&self) -> Option<f64> {
        let n: u32 = self.n_classes.iter().sum();
        let most = self.n_classes.iter().max().copied().unwrap_or(0);
        let n = f64::from(n);
        if n < ROWS_MIN as f64 || f64::from(most) > COMMONEST_MAX * n {
            return None;
        }
        let commonest = self.by_value.values().map(|classes| classes.iter().max());
        let commonest: u32 = commonest.flatten().sum();
        let is_few = !self.is_full && self.by_value.len() as f64 * 5.0 <= n;
        let by_value = if is_few {
            f64::from(commonest) / n
        } else {
            0.0
        };
        let share = by_value.max(self.by_threshold());
        (share >= SHARE).then_some(share)
    }

    /// The share of the sample that the best threshold predicts.
    fn by_threshold(&self) -> f64 {
        if self.sample.len() < ROWS_MIN {
            return 0.0;
        }
        let mut sample = self.sample.clone();
        sample.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut above: HashMap<usize, usize> = HashMap::new();
        sample
            .iter()
            .for_each(|(_, class)| *above.entry(*class).or_default() += 1);
        // With many classes a threshold separates two at most.
        if above.len() != 2 {
            return 0.0;
        }
        let mut below: HashMap<usize, usize> = HashMap::new();
        let most = |counts: &HashMap<usize, usize>| counts.values().max().copied().unwrap_or(0);
        let mut best = 0;
        for (place, (x, class)) in sample.iter().enumerate() {
            *below.entry(*class).or_default() += 1;
            *above.entry(*class).or_default() -= 1;
            if sample.get(place + 1).is_none_or(|next| next.0 > *x) {
                best = best.max(most(&below) + most(&above));
            }
        }
        best as f64 / sample.len() as f64
    }

    /// The correlation with the target, if it is nearly perfect.
    pub(super) fn of_values(&self) -> Option<f64> {
        let [x, y, xx, yy, xy] = self.sums;
        let n = self.n_pairs;
        let (vx, vy) = (xx - x * x / n, yy - y * y / n);
        if n < ROWS_MIN as f64 || vx <= 0.0 || vy <= 0.0 {
            return None;
        }
        let r = (xy - x * y / n) / (vx * vy).sqrt();
        (r.abs() >= CORRELATION).then_some(r)
    }

    /// The rank correlation with the target over the first rows, if it is nearly perfect: the column is
    /// a function of the target that rises or falls, as its logarithm.
    pub(super) fn of_ranks(&self) -> Option<f64> {
        if self.pairs.len() < ROWS_MIN {
            return None;
        }
        let (xs, ys): (Vec<f64>, Vec<f64>) = self.pairs.iter().copied().unzip();
        let r = correlation(&ranks(&xs), &ranks(&ys))?;
        (r.abs() >= CORRELATION).then_some(r)
    }
}

/// The correlation of two rows of numbers of the same length, none where one of them is constant.
fn correlation(xs: &[f64], ys: &[f64]) -> Option<f64> {
    let n = xs.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (mx, my) = (mean(xs), mean(ys));
    let pairs = || xs.iter().zip(ys).map(|(x, y)| (x - mx, y - my));
    let (vx, vy): (f64, f64) = (
        pairs().map(|(x, _)| x * x).sum(),
        pairs().map(|(_, y)| y * y).sum(),
    );
    let xy: f64 = pairs().map(|(x, y)| x * y).sum();
    (vx > 0.0 && vy > 0.0).then(|| xy / (vx * vy).sqrt())
}

/// The rank of each number, the mean one of equal numbers.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let n = order[start..]
            .iter()
            .take_while(|at| values[**at] == value)
            .count();
        let rank = start as f64 + (n - 1) as f64 / 2.0;
        order[start..start + n]
            .iter()
            .for_each(|at| ranks[*at] = rank);
        start += n;
    }
    ranks
}

/// Counts a row of a class.
fn count(n_rows: &mut Vec<u32>, class: usize) {
    if n_rows.len() <= class {
        n_rows.resize(class + 1, 0);
    }
    n_rows[class] += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_the_target_alone_is_noticed() {
        let of_classes = |value: &dyn Fn(u64) -> u64, number: &dyn Fn(u64) -> f64| {
            let mut column = GiveAway::default();
            for row in 0..400 {
                let class = (row % 2) as usize;
                column.add(value(row), Some(number(row)), Some(class), None);
            }
            column.of_classes().is_some()
        };
        let wave = |row: u64| (row * 7 % 31) as f64;
        assert!(of_classes(&|row| row % 4, &wave));
        assert!(!of_classes(&|row| row % 3, &wave));
        assert!(!of_classes(&|row| row, &wave));
        let apart = |row: u64| wave(row) + 100.0 * (row % 2) as f64;
        assert!(of_classes(&|row| row, &apart));
    }

    #[test]
    fn a_value_that_is_the_target_in_another_unit_is_noticed() {
        let check = |noise: f64, expected: bool| {
            let mut column = GiveAway::default();
            for row in 0..400 {
                let y = 1e9 + (row * 7 % 31) as f64;
                let x = 3.0 * y + noise * (row % 5) as f64;
                column.add(row, Some(x), None, Some(y));
            }
            assert_eq!(column.of_values().is_some(), expected, "{noise}");
        };
        check(0.0, true);
        check(20.0, false);
    }

    #[test]
    fn a_function_of_the_target_that_rises_or_falls_is_noticed() {
        let check = |function: &dyn Fn(f64) -> f64, noise: f64, expected: bool| {
            let mut column = GiveAway::default();
            for row in 0..400_u64 {
                let y = 1.0 + (row * 7 % 311) as f64;
                let x = function(y) + noise * (row % 5) as f64;
                column.add(row, Some(x), None, Some(y));
            }
            assert!(column.of_values().is_none());
            assert_eq!(column.of_ranks().is_some(), expected, "{noise}");
        };
        check(&f64::ln, 0.0, true);
        check(&|y| -y.sqrt(), 0.0, true);
        check(&|y| 1.0 / y, 0.0, true);
        check(&f64::ln, 0.5, false);
        check(&|y| (y - 150.0).powi(2), 0.0, false);
    }
}
