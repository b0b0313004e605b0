//! The inverse temperature of probabilities from estimates, learned online from the log loss.
//!
//! One number multiplies all estimates before the softmax (Guo et al. 2017, temperature scaling),
//! stepped by Newton's rule on its logarithm, with the Fisher information over about the last
//! thousand examples for a curvature.
//!
//! Invariant: between the two bounds, so it stays finite and positive.

use crate::model::softmax;
use crate::model::weights::{Error, Tensors};

/// One-hot regressions give estimates between zero and one: where nothing is known of them, the
/// best of two classes is believed at seven to one.
const FIRST: f64 = 2.0;
const MIN: f64 = 0.1;
const MAX: f64 = 100.0;
/// Examples over which the curvature is a sum; older ones fade.
const HORIZON: f64 = 1000.0;
/// The curvature before the first example: a few examples move it little.
const PRIOR: f64 = 1.0;

/// The factor on estimates before the softmax.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InverseTemperature {
    logarithm: f64,
    curvature: f64,
}

impl Default for InverseTemperature {
    fn default() -> InverseTemperature {
        InverseTemperature {
            logarithm: FIRST.ln(),
            curvature: PRIOR,
        }
    }
}

impl InverseTemperature {
    /// The factor as it is now.
    pub(crate) fn factor(&self) -> f32 {
        self.logarithm.exp() as f32
    }

    /// Learns from estimates `[classes]` that were made before their class was known, of an example of this
    /// weight.
    pub(crate) fn observe(&mut self, estimates: &[f32], class: usize, weight: f32) {
        let factor = self.factor();
        let mut p: Vec<f32> = estimates.iter().map(|z| factor * z).collect();
        softmax(&mut p);
        let moment = |power: i32| -> f64 {
            let terms = p.iter().zip(estimates);
            let term = |(p, z): (&f32, &f32)| f64::from(*p) * f64::from(*z).powi(power);
            terms.map(term).sum()
        };
        let (mean, factor) = (moment(1), f64::from(factor));
        let weight = f64::from(weight);
        let derivative = weight * factor * (mean - f64::from(estimates[class]));
        let information = weight * factor * factor * (moment(2) - mean * mean).max(0.0);
        let step = derivative / (self.curvature + information);
        if step.is_finite() {
            let moved = self.logarithm - step.clamp(-1.0, 1.0);
            self.logarithm = moved.clamp(MIN.ln(), MAX.ln());
            self.curvature = (1.0 - 1.0 / HORIZON) * self.curvature + information;
        }
        // Where estimates agree on nothing for long, a later example must not be believed whole.
        self.curvature = self.curvature.max(PRIOR);
    }

    /// F64 `sharpness` `[2]`.
    pub(crate) fn save(&self, tensors: &mut Tensors) {
        tensors.put_f64("sharpness", &[2], vec![self.logarithm, self.curvature]);
    }

    /// Reads the state that [`InverseTemperature::save`] wrote.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub(crate) fn load(tensors: &mut Tensors) -> Result<InverseTemperature, Error> {
        let values = tensors.take_f64("sharpness", &[Some(2)])?;
        let bounds = MIN.ln()..=MAX.ln();
        if !bounds.contains(&values[0]) || !(PRIOR..f64::INFINITY).contains(&values[1]) {
            let what = format!("{values:?} is out of bounds");
            return Err(Error::value("sharpness", what));
        }
        Ok(InverseTemperature {
            logarithm: values[0],
            curvature: values[1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_become_as_large_as_they_are_true() {
        // The estimates always favour class 0 by one; it is right nine times of ten.
        let mut inverse_temperature = InverseTemperature::default();
        for index in 0..5000 {
            inverse_temperature.observe(&[1.0, 0.0], usize::from(index % 10 == 9), 1.0);
        }
        let odds = f64::from(inverse_temperature.factor()).exp();
        assert!((odds - 9.0).abs() < 1.0, "{odds}");
        // The world becomes a coin.
        for index in 0..5000 {
            inverse_temperature.observe(&[1.0, 0.0], index % 2, 1.0);
        }
        assert!(
            inverse_temperature.factor() < 0.3,
            "{}",
            inverse_temperature.factor()
        );
    }

    #[test]
    fn hostile_estimates_leave_it_in_bounds() {
        let mut inverse_temperature = InverseTemperature::default();
        for index in 0..1000 {
            let huge = [1e30, -1e30, f32::MAX, 0.0, 1e-30];
            inverse_temperature.observe(&[huge[index % 5], huge[(index + 1) % 5]], index % 2, 1.0);
            let mut tensors = Tensors::default();
            inverse_temperature.save(&mut tensors);
            assert_eq!(
                InverseTemperature::load(&mut tensors),
                Ok(inverse_temperature.clone())
            );
        }
    }
}
