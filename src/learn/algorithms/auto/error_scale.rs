//! The scale of errors of a regression: a median absolute error for each member.
//!
//! A median is followed by small steps (Robbins and Monro 1951, on the sign of the difference), so
//! that outliers move it no more than anything else. Members learn from errors that are held at a
//! few medians (Huber 1964, winsorised residuals), and the loss of a member is in medians of
//! the mixture.
//!
//! Invariant: medians are finite and positive.

use crate::model::weights::{Error, Tensors};

/// How far a median moves with each error, as a part of itself: at first, and in the end.
const RATES: [f32; 2] = [0.5, 0.05];
/// Errors after which it moves half as far as at first.
const SETTLING: f32 = 8.0;
/// Errors are counted so far.
const COUNT_MAX: f32 = 1000.0;
/// Medians stay within these, in deviations of the target.
const BOUNDS: [f32; 2] = [1e-6, 100.0];
/// Errors count up to so many medians: about two deviations of a normal error.
const HELD: f32 = 3.0;
/// The stack learns from errors up to so many medians of the mixture: one row after a shift of the level
/// may not decide it.
const REACH: f32 = 10.0;
/// A loss is one at so many medians of the mixture.
const FULL: f32 = 4.0;

/// The usual errors, in deviations of the target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ErrorScale {
    /// Of every member, and of the mixture behind them.
    medians: Vec<f32>,
    /// Errors of each so far, up to a bound.
    count: f32,
}

impl ErrorScale {
    /// One deviation each.
    pub(super) fn new(n_members: usize) -> ErrorScale {
        ErrorScale {
            medians: vec![1.0; n_members + 1],
            count: 0.0,
        }
    }

    /// An error as its member learns from it.
    pub(super) fn held(&self, member: usize, error: f32) -> f32 {
        let reach = HELD * self.medians[member];
        error.clamp(-reach, reach)
    }

    /// The farthest that the stack learns from, in the scale of the target.
    pub(super) fn reach(&self) -> f32 {
        REACH * self.medians[self.medians.len() - 1]
    }

    /// The loss of an error, in [0, `most`].
    pub(super) fn loss(&self, error: f32, most: f64) -> f64 {
        let mixture = self.medians[self.medians.len() - 1];
        f64::from(error.abs() / (FULL * mixture)).min(most)
    }

    /// Follows the error of every member, and of the mixture behind them.
    pub(super) fn observe(&mut self, errors: impl Iterator<Item = f32>) {
        let [least, most] = BOUNDS;
        let rate = (RATES[0] / (1.0 + self.count / SETTLING)).max(RATES[1]);
        self.count = (self.count + 1.0).min(COUNT_MAX);
        for (median, error) in self.medians.iter_mut().zip(errors) {
            let step = if error.abs() > *median { rate } else { -rate };
            *median = (*median * step.exp()).clamp(least, most);
        }
    }

    /// The tensors that [`ErrorScale::load`] reads.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        tensors.put_f32("spread", &[self.medians.len()], self.medians.clone());
        tensors.put_f32("spread.count", &[1], vec![self.count]);
    }

    /// Reads the saved state of as many members.
    pub(super) fn load(&mut self, tensors: &mut Tensors) -> Result<(), Error> {
        let medians = tensors.take_f32("spread", &[Some(self.medians.len())])?;
        let count = tensors.take_f32("spread.count", &[Some(1)])?[0];
        let [least, most] = BOUNDS;
        let sound = medians.iter().all(|median| (least..=most).contains(median));
        if !sound || !(0.0..=COUNT_MAX).contains(&count) {
            return Err(Error::value("spread", format!("{medians:?} of {count}")));
        }
        (self.medians, self.count) = (medians, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_found_and_outliers_do_not_move_it() {
        let mut error_scale = ErrorScale::new(1);
        for i in 0..4000 {
            let error = match i % 20 {
                0 => 1e9,
                _ => 0.01 * (i % 19) as f32,
            };
            error_scale.observe([error, -error].into_iter());
        }
        let median = error_scale.medians[0];
        assert!((0.07..0.12).contains(&median), "{median}");
        assert_eq!(error_scale.medians[1], median);
        assert_eq!(error_scale.held(0, -1e9), -3.0 * median);
        assert_eq!(error_scale.held(0, 0.05), 0.05);
        assert_eq!(
            (error_scale.loss(1e9, 1.0), error_scale.loss(0.0, 1.0)),
            (1.0, 0.0)
        );
    }

    #[test]
    fn medians_stay_within_bounds() {
        let mut error_scale = ErrorScale::new(0);
        (0..9000).for_each(|_| error_scale.observe([0.0].into_iter()));
        assert_eq!(error_scale.medians, [1e-6]);
        (0..9000).for_each(|_| error_scale.observe([f32::MAX].into_iter()));
        assert_eq!(error_scale.medians, [100.0]);
    }
}
