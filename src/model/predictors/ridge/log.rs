//! A ridge regression of the logarithm of a value, as it is served.
//!
//! Prices, sales and counts move in parts of themselves: their errors are alike on the logarithm. It
//! answers as long as every value was positive.
//!
//! Invariant: an answer is positive, and at most a factor of e beyond the values that have come.

use crate::model::encoders::features::Scale;
use crate::model::linear_algebra::matrix::dot_f32;

/// The largest distance of an answer beyond the logarithms that have come.
const BEYOND: f64 = 1.0;

/// The regression, and the logarithms that have come.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRidge {
    /// `[n_features]`.
    pub weights: Vec<f32>,
    /// The scale of the logarithms.
    pub scale: Scale,
    /// The smallest and the largest; none before the first.
    pub ends: Option<[f64; 2]>,
    /// True as long as every value was positive.
    pub is_positive: bool,
}

impl LogRidge {
    /// No value yet, of rows of so many features.
    pub fn new(n_features: usize) -> LogRidge {
        LogRidge {
            weights: vec![0.0; n_features],
            scale: Scale::default(),
            ends: None,
            is_positive: true,
        }
    }

    /// Takes in a value, and gives its logarithm; none from the first value on that is not positive.
    pub fn observe(&mut self, value: f64) -> Option<f64> {
        self.is_positive &= value > 0.0;
        if !self.is_positive {
            return None;
        }
        let log = value.ln();
        self.scale.observe(log);
        let [least, most] = self.ends.unwrap_or([log; 2]);
        self.ends = Some([least.min(log), most.max(log)]);
        Some(log)
    }

    /// The estimate of the logarithm for a row of features, in its own scale.
    pub fn score(&self, phi: &[f32]) -> f32 {
        dot_f32(&self.weights, phi)
    }

    /// The value for a row of features; none where it does not answer.
    pub fn value(&self, phi: &[f32]) -> Option<f64> {
        let [least, most] = self.ends.filter(|_| self.is_positive)?;
        let log = self.scale.value(self.score(phi));
        Some(log.clamp(least - BEYOND, most + BEYOND).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_while_every_value_is_positive() {
        let mut ridge = LogRidge::new(1);
        assert_eq!(ridge.value(&[1.0]), None);
        for value in [1.0, 100.0] {
            ridge.observe(value);
        }
        let answer = ridge.value(&[1.0]).expect("two values came");
        assert!((answer - 10.0).abs() < 1e-4, "{answer}");
        ridge.weights = vec![1e9];
        let answer = ridge.value(&[1.0]).expect("two values came");
        assert!((answer - 100.0 * 1f64.exp()).abs() < 1e-6, "{answer}");
        assert_eq!(ridge.observe(0.0), None);
        assert_eq!((ridge.observe(5.0), ridge.value(&[1.0])), (None, None));
    }
}
