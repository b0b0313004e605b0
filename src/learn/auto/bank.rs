//! One step of all linear and logistic members.
//!
//! Departure: on squared losses linear members take the implicit step (Karampatziakis and
//! Langford 2011, eq. 6), so that no step size can make them diverge. Logistic members have
//! bounded slopes.

use super::AutoLearner;
use crate::model::{Encoded, Scale, Target, softmax};

/// Examples over which the length of a row is a plain average; older ones fade.
const LENGTH_HORIZON: f64 = 1000.0;

impl AutoLearner {
    /// Learns from the members' scores before this example.
    pub(super) fn learn_bank(
        &mut self,
        row: &Encoded,
        scores: &[f32],
        target: Target,
        scale: &Scale,
    ) {
        let row = &*self.portfolio.with_last(row, scale);
        let squared_length = self.portfolio.bank.squared_length(row);
        let [count, mean] = &mut self.length;
        *count = (*count + 1.0).min(LENGTH_HORIZON);
        *mean += (f64::from(squared_length) - *mean) / *count;
        let typical = *mean as f32;
        let plan = &self.portfolio.plan;
        let n_outputs = self.portfolio.n_outputs();
        let mut slopes = scores[..plan.n_bank() * n_outputs].to_vec();
        let (linear, logistic) = slopes.split_at_mut(plan.steps.len() * n_outputs);
        let members = linear.chunks_exact_mut(n_outputs);
        for (voice, (slopes, step)) in members.zip(plan.steps).enumerate() {
            let step = step / typical;
            let rate = match target {
                Target::Class(class) => {
                    softmax(slopes);
                    slopes[class as usize] -= 1.0;
                    step
                }
                Target::Value(value) => {
                    slopes[0] = self.spread.held(voice, slopes[0] - scale.distance(value));
                    step / (1.0 + step * squared_length)
                }
                _ => {
                    let outputs = slopes.to_vec();
                    target.slopes(&outputs, scale, slopes);
                    step / (1.0 + step * squared_length)
                }
            };
            slopes.iter_mut().for_each(|slope| *slope *= rate);
        }
        let mut members = logistic.chunks_exact_mut(n_outputs);
        if self.revision < 2 {
            // The first revision passed one over, and gave the second the step of the first.
            members.next();
        }
        for (slopes, step) in members.zip(plan.logistic) {
            let scores = slopes.to_vec();
            self.portfolio.range.slopes(target, &scores, slopes);
            let rate = step / typical;
            slopes.iter_mut().for_each(|slope| *slope *= rate);
        }
        self.portfolio.bank.descend(row, &slopes);
    }
}
