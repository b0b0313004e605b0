//! The dependence of paired differences: how much more their sum varies than one of independent ones.
//!
//! The variance of a sum of `n` dependent values is `n` times their variance times an inflation. It is
//! taken from the first autocorrelation, as that of an autoregression, and from the sums of blocks of 2 to
//! 512 values; the larger counts.
//!
//! Invariant: a function of the values so far, at least 1, and of bounded size.

use crate::model::weights::{Error, Tensors};

/// Widths of blocks: 2, 4, and so on.
const WIDTHS: usize = 9;
/// Blocks of a width before their sums count.
const BLOCKS_MIN: f64 = 6.0;
/// Values between two estimates.
const EVERY: u64 = 8;
/// The largest autocorrelation that is believed.
const CORRELATION_MAX: f64 = 0.98;

/// Sums from which the inflation is estimated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dependence {
    n: u64,
    sum: f64,
    squares: f64,
    /// The products of neighbours.
    products: f64,
    last: f64,
    /// The sum of the block that is not full, of each width.
    open: [f64; WIDTHS],
    /// The squared sums of full blocks, of each width.
    blocks: [f64; WIDTHS],
    inflation: f64,
}

impl Default for Dependence {
    fn default() -> Dependence {
        Dependence {
            n: 0,
            sum: 0.0,
            squares: 0.0,
            products: 0.0,
            last: 0.0,
            open: [0.0; WIDTHS],
            blocks: [0.0; WIDTHS],
            inflation: 1.0,
        }
    }
}

impl Dependence {
    /// The inflation, at least 1.
    pub(super) fn inflation(&self) -> f64 {
        self.inflation
    }

    /// Values so far.
    pub(super) fn n(&self) -> u64 {
        self.n
    }

    /// The mean of the values; 0 of none.
    pub(super) fn mean(&self) -> f64 {
        self.sum / (self.n.max(1) as f64)
    }

    /// Takes note of a value.
    pub(super) fn observe(&mut self, x: f64) {
        self.products += self.last * x;
        self.last = x;
        self.n += 1;
        self.sum += x;
        self.squares += x * x;
        for (place, (open, squares)) in self.open.iter_mut().zip(&mut self.blocks).enumerate() {
            *open += x;
            if self.n.is_multiple_of(2 << place) {
                let sum = std::mem::take(open);
                *squares += sum * sum;
            }
        }
        if self.n.is_multiple_of(EVERY) {
            self.inflation = self.estimate();
        }
    }

    fn estimate(&self) -> f64 {
        let n = self.n as f64;
        let mean = self.sum / n;
        let variance = self.squares / n - mean * mean;
        if variance <= 1e-12 {
            return 1.0;
        }
        let correlation = (self.products / (n - 1.0) - mean * mean) / variance;
        let correlation = correlation.clamp(0.0, CORRELATION_MAX);
        let mut inflation = (1.0 + correlation) / (1.0 - correlation);
        for (place, squares) in self.blocks.iter().enumerate() {
            let width = (2_u64 << place) as f64;
            let n_blocks = (n / width).floor();
            if n_blocks < BLOCKS_MIN {
                break;
            }
            let of_sums = squares / n_blocks - width * width * mean * mean;
            // One standard error below: of independent values some width always seems to vary more.
            let certain = 1.0 + (2.0 / n_blocks).sqrt();
            inflation = inflation.max(of_sums / (width * variance) / certain);
        }
        inflation.max(1.0)
    }

    fn values(&self) -> Vec<f64> {
        let mut values = vec![
            self.n as f64,
            self.sum,
            self.squares,
            self.products,
            self.last,
            self.inflation,
        ];
        values.extend(self.open);
        values.extend(self.blocks);
        values
    }

    pub(super) fn save(&self, name: &str, tensors: &mut Tensors) {
        let values = self.values();
        tensors.put_f64(name, &[values.len()], values);
    }

    pub(super) fn load(name: &str, tensors: &mut Tensors) -> Result<Dependence, Error> {
        let values = tensors.take_f64(name, &[Some(6 + 2 * WIDTHS)])?;
        if values.iter().any(|value| !value.is_finite()) || values[5] < 1.0 {
            return Err(Error::value(
                name,
                "values that no sums can have".to_owned(),
            ));
        }
        let mut dependence = Dependence {
            n: values[0] as u64,
            sum: values[1],
            squares: values[2],
            products: values[3],
            last: values[4],
            inflation: values[5],
            ..Dependence::default()
        };
        dependence.open.copy_from_slice(&values[6..6 + WIDTHS]);
        dependence.blocks.copy_from_slice(&values[6 + WIDTHS..]);
        Ok(dependence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflation(values: impl Iterator<Item = f64>) -> f64 {
        let mut dependence = Dependence::default();
        values.for_each(|x| dependence.observe(x));
        dependence.inflation()
    }

    #[test]
    fn blocks_of_alike_values_inflate_the_variance_of_their_sum() {
        let hash = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63;
        let sign = |n: u64| if hash(n) == 0 { -0.5 } else { 0.5 };
        let independent = inflation((0..4096).map(sign));
        let blocks = inflation((0..4096).map(|n| sign(n / 16)));
        assert!(independent < 1.5, "{independent}");
        assert!((8.0..40.0).contains(&blocks), "{blocks}");
        assert_eq!(inflation((0..64).map(|_| 0.25)), 1.0, "a constant");
    }

    #[test]
    fn saved_sums_go_on_as_they_were() {
        let mut dependence = Dependence::default();
        (0..77).for_each(|n| dependence.observe(f64::from(n % 5) / 7.0));
        let mut tensors = Tensors::default();
        dependence.save("d", &mut tensors);
        assert_eq!(Dependence::load("d", &mut tensors), Ok(dependence));
    }
}
