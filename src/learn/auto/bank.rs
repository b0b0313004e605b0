//! One step of all linear and logistic members.
//!
//! Departure: on squared losses linear members take the implicit step (Karampatziakis and
//! Langford 2011, eq. 6), so that no step size can make them diverge. Logistic members have
//! bounded slopes.

use super::AutoLearner;
use crate::model::{Encoded, Range, Scale, Target, logistic_share, softmax};

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
        let mut members = slopes.chunks_exact_mut(n_outputs);
        for (voice, (slopes, step)) in members.by_ref().zip(plan.steps).enumerate() {
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
        for (slopes, step) in members.zip(plan.logistic) {
            logistic_slopes(slopes, target, &self.portfolio.range);
            let rate = step / typical;
            slopes.iter_mut().for_each(|slope| *slope *= rate);
        }
        self.portfolio.bank.descend(row, &slopes);
    }
}

/// Makes of scores the slopes of the logistic loss on shares of the range.
fn logistic_slopes(scores: &mut [f32], target: Target, range: &Range) {
    let slope = |score: f32, reward: f64| logistic_share(score) - range.share(reward);
    match target {
        Target::BestAction(best) => {
            for (action, score) in scores.iter_mut().enumerate() {
                let reward = f64::from(u8::from(action == best as usize));
                *score = slope(*score, reward);
            }
        }
        Target::Reward { action, reward } => {
            let slope = slope(scores[action as usize], reward);
            scores.fill(0.0);
            scores[action as usize] = slope;
        }
        Target::Correction { action, by } => {
            scores.fill(0.0);
            scores[action as usize] = -range.part(by);
        }
        Target::Class(_) | Target::Value(_) => scores.fill(0.0),
    }
}
