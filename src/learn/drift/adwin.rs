//! ADWIN (Bifet and Gavalda 2007): a window of the newest values that grows while their mean stays,
//! and loses its oldest part where two parts of it differ.
//!
//! Departures from the paper: cuts are looked for at every eighth value; the share of false cuts is
//! divided among all cuts that are looked at, where the paper divides by the logarithm of the length.
//! The bound takes the variance of the window for the true one, as the paper's does.
//!
//! Invariant: values are in [0, 1]; memory is logarithmic in the length of the window.

use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// Buckets of one size, at most.
const PER_ROW: usize = 5;
/// Cuts are looked for once in so many values.
const EVERY: u64 = 8;
/// Values on either side of a cut, at least.
const PART_MIN: f64 = 5.0;
/// Sizes of buckets at most: windows of up to 2^40 values.
const ROWS_MAX: usize = 40;

/// A bucket of values, twice as many as in the row before: their sum, and the sum of their squared
/// deviations.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    sum: f64,
    deviation: f64,
}

/// A window whose mean has not changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Adwin {
    /// Buckets by size, the smallest first; in each the oldest first.
    rows: Vec<Vec<Bucket>>,
    n_values: f64,
    sum: f64,
    deviation: f64,
    n_seen: u64,
}

impl Adwin {
    /// The length of the window, and its mean.
    pub(super) fn window(&self) -> (f64, f64) {
        (self.n_values, self.sum / self.n_values.max(1.0))
    }

    /// Takes a value; the largest rise of the mean at a cut, where the window was cut at one.
    /// `false_cuts` is how many cuts a value may cost where nothing has changed.
    pub(super) fn observe(&mut self, value: f64, false_cuts: f64) -> Option<f64> {
        self.n_seen += 1;
        self.push(value);
        if !self.n_seen.is_multiple_of(EVERY) {
            return None;
        }
        let mut rise = None;
        while let Some(by) = self.cut(false_cuts * EVERY as f64) {
            self.drop_oldest();
            if by > 0.0 {
                rise = Some(by.max(rise.unwrap_or(0.0)));
            }
        }
        rise
    }

    fn push(&mut self, value: f64) {
        if self.n_values > 0.0 {
            let off = value - self.sum / self.n_values;
            self.deviation += off * off * self.n_values / (self.n_values + 1.0);
        }
        self.n_values += 1.0;
        self.sum += value;
        let mut carried = Some(Bucket {
            sum: value,
            deviation: 0.0,
        });
        let mut row = 0;
        while let Some(bucket) = carried.take() {
            if row == self.rows.len() {
                self.rows.push(Vec::new());
            }
            self.rows[row].push(bucket);
            if self.rows[row].len() > PER_ROW && row + 1 < ROWS_MAX {
                let pair: Vec<Bucket> = self.rows[row].drain(..2).collect();
                let size = size(row);
                let off = (pair[0].sum - pair[1].sum) / size;
                carried = Some(Bucket {
                    sum: pair[0].sum + pair[1].sum,
                    deviation: pair[0].deviation + pair[1].deviation + off * off * size / 2.0,
                });
            }
            row += 1;
        }
    }

    /// The rise of the mean of the newer part above that of the older one, at the first cut where they
    /// differ; equation 3.1 of the paper.
    fn cut(&self, false_cuts: f64) -> Option<f64> {
        let n_cuts: usize = self.rows.iter().map(Vec::len).sum();
        let bound = ln_above(2.0 * n_cuts as f64 / false_cuts);
        let variance = self.deviation.max(0.0) / self.n_values;
        let (mut n_older, mut sum_older) = (0.0, 0.0);
        for (row, buckets) in self.rows.iter().enumerate().rev() {
            for bucket in buckets {
                n_older += size(row);
                sum_older += bucket.sum;
                let n_newer = self.n_values - n_older;
                if n_newer < PART_MIN {
                    return None;
                }
                let by = (self.sum - sum_older) / n_newer - sum_older / n_older;
                let inverse = 1.0 / n_older + 1.0 / n_newer;
                let least = (2.0 * inverse * variance * bound).sqrt() + inverse * bound * 2.0 / 3.0;
                if n_older >= PART_MIN && by.abs() > least {
                    return Some(by);
                }
            }
        }
        None
    }

    fn drop_oldest(&mut self) {
        let row = self.rows.len() - 1;
        let oldest = self.rows[row].remove(0);
        let (n_dropped, n_left) = (size(row), self.n_values - size(row));
        let off = oldest.sum / n_dropped - (self.sum - oldest.sum) / n_left;
        let between = off * off * n_dropped * n_left / self.n_values;
        self.deviation = (self.deviation - oldest.deviation - between).max(0.0);
        self.n_values = n_left;
        self.sum -= oldest.sum;
        while self.rows.last().is_some_and(Vec::is_empty) {
            self.rows.pop();
        }
    }

    pub(super) fn save(&self, out: &mut Writer) {
        out.counts([self.n_seen, self.rows.len() as u64]);
        out.counts(self.rows.iter().map(|row| row.len() as u64));
        out.numbers(&[self.n_values, self.sum, self.deviation]);
        for bucket in self.rows.iter().flatten() {
            out.numbers(&[bucket.sum, bucket.deviation]);
        }
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<Adwin, Error> {
        let [n_seen, n_rows] = saved.counts()?;
        let n_rows = usize::try_from(n_rows).ok().filter(|n| *n <= ROWS_MAX);
        let lengths = saved.many_counts(n_rows.ok_or_else(SavedReader::wrong)?)?;
        let totals = saved.many_numbers(3)?;
        let row = |length: u64| {
            let length = usize::try_from(length).ok().filter(|n| *n <= PER_ROW);
            let numbers = saved.many_numbers(2 * length.ok_or_else(SavedReader::wrong)?)?;
            let bucket = |pair: &[f64]| Bucket {
                sum: pair[0],
                deviation: pair[1],
            };
            Ok(numbers.chunks_exact(2).map(bucket).collect())
        };
        Ok(Adwin {
            rows: lengths.into_iter().map(row).collect::<Result<_, _>>()?,
            n_values: totals[0],
            sum: totals[1],
            deviation: totals[2],
            n_seen,
        })
    }
}

/// An upper bound of the natural logarithm of a number from one on, above it by 0.06 at most: the same
/// bits on every machine.
fn ln_above(x: f64) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    let exponent = (x.to_bits() >> MANTISSA_BITS) as f64 - 1023.0;
    let mantissa = f64::from_bits(x.to_bits() & ((1 << MANTISSA_BITS) - 1) | 1f64.to_bits());
    // log2(1 + m) is above m by 0.0861 at most.
    std::f64::consts::LN_2 * (exponent + (mantissa - 1.0) + 0.0861)
}

fn size(row: usize) -> f64 {
    (1u64 << row) as f64
}

#[cfg(test)]
mod tests {
    use super::super::bins::draw;
    use super::*;

    fn error(share: f64, n: u64) -> f64 {
        f64::from(u8::from(draw(5, n) < share))
    }

    #[test]
    fn the_bound_is_above_the_logarithm() {
        for x in [1.0, 1.5, 2.0, 3.0, 1e6, 1.4427e6, 3.7e11] {
            let above = ln_above(x) - f64::ln(x);
            assert!((0.0..0.0601).contains(&above), "{x}: {above}");
        }
    }

    #[test]
    fn a_rise_is_found_and_a_fall_shortens_the_window_in_silence() {
        let mut window = Adwin::default();
        let mut found = |share, range: std::ops::Range<u64>| {
            let mut rises = range.filter(|n| window.observe(error(share, *n), 1e-6).is_some());
            (rises.next(), window.window())
        };
        let (rise, (length, mean)) = found(0.2, 0..20_000);
        assert_eq!((rise, length), (None, 20_000.0));
        assert!((mean - 0.2).abs() < 0.01, "{mean}");
        let (rise, _) = found(0.5, 20_000..20_400);
        assert!(rise.is_some_and(|n| n < 20_200), "{rise:?}");
        let (rise, (length, mean)) = found(0.05, 20_400..25_000);
        assert_eq!(rise, None);
        assert!(length < 5000.0 && mean < 0.1, "{length} {mean}");
    }

    #[test]
    fn a_steady_window_is_not_cut_and_stays_small() {
        let mut window = Adwin::default();
        for n in 0..200_000 {
            assert_eq!(window.observe(error(0.1, n), 1e-5), None, "{n}");
        }
        assert_eq!(window.window().0, 200_000.0);
        let n_buckets: usize = window.rows.iter().map(Vec::len).sum();
        assert!(n_buckets < 90, "{n_buckets}");
        let mut out = Writer::default();
        window.save(&mut out);
        assert_eq!(Adwin::load(&mut SavedReader::of(out)), Ok(window));
    }
}
