//! Targets, and the loss of outputs against them.
//!
//! Formulas: cross-entropy of a softmax (Bridle 1990) for classes; half the squared error, in
//! standard deviations of the target, for values and rewards.

use super::spec::Task;
use crate::model::encoders::features::Scale;

/// The truth that an example carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The index of the true class.
    Class(u32),
    /// The true value, in its own unit.
    Value(f64),
    /// The reward of the served action.
    Reward {
        /// The index of the action.
        action: u32,
        /// The reward in its own unit.
        reward: f64,
    },
    /// The action that would have been right: it earns one, the others nothing.
    BestAction(u32),
    /// The reward of the served action turned out larger, or smaller, than it was learned.
    Correction {
        /// The index of the action.
        action: u32,
        /// The difference, in the unit of the reward.
        by: f64,
        /// The reward by now.
        reward: f64,
    },
}

impl Target {
    /// The group that a class-balanced memory keeps it in.
    pub(crate) fn stratum(&self) -> u32 {
        match *self {
            Target::Class(class) => class,
            Target::Value(_) => 0,
            Target::Reward { action, .. }
            | Target::BestAction(action)
            | Target::Correction { action, .. } => action,
        }
    }

    /// True if this is a correction of that reward.
    pub fn corrects(&self, other: Target) -> bool {
        match (*self, other) {
            (
                Target::Correction { action, by, reward },
                Target::Reward {
                    action: same,
                    reward: before,
                },
            ) => same == action && reward - before == by,
            _ => false,
        }
    }

    /// The class index or the value, where the example has the truth whatever was served.
    pub fn truth(&self) -> Option<f64> {
        match *self {
            Target::Class(class) => Some(f64::from(class)),
            Target::Value(value) => Some(value),
            Target::Reward { .. } | Target::BestAction(_) | Target::Correction { .. } => None,
        }
    }

    /// True if a model of this task can have this target.
    pub fn suits(&self, task: &Task) -> bool {
        match (self, task) {
            (Target::Class(class), Task::Classification { .. }) => {
                (*class as usize) < task.n_outputs()
            }
            (Target::Value(value), Task::Regression) => value.is_finite(),
            (Target::Reward { action, reward }, Task::Bandit { .. }) => {
                (*action as usize) < task.n_outputs() && reward.is_finite()
            }
            (Target::BestAction(action), Task::Bandit { .. }) => {
                (*action as usize) < task.n_outputs()
            }
            _ => false,
        }
    }

    /// The value or the reward, where it is one.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Target::Value(number) | Target::Reward { reward: number, .. } => Some(number),
            Target::Class(_) | Target::BestAction(_) | Target::Correction { .. } => None,
        }
    }

    /// Learns the scale of values and rewards; classes have none.
    pub fn observe(&self, scale: &mut Scale) {
        match *self {
            Target::Value(value) | Target::Reward { reward: value, .. } => scale.observe(value),
            // A single value has no scale.
            Target::BestAction(_) => [0.0, 1.0].into_iter().for_each(|one| scale.observe(one)),
            Target::Correction { reward, .. } => scale.observe(reward),
            Target::Class(_) => {}
        }
    }

    /// Writes the gradient of the loss at `outputs` into `gradient` (both `[n_outputs]`, in the scale
    /// of the target) and returns the loss.
    pub fn gradient(&self, outputs: &[f32], scale: &Scale, gradient: &mut [f32]) -> f32 {
        gradient.fill(0.0);
        let mut squared = |index: usize, target: f64| {
            let error = outputs[index] - scale.standardise(target);
            gradient[index] = error;
            0.5 * error * error
        };
        match *self {
            Target::Class(class) => {
                gradient.copy_from_slice(outputs);
                softmax(gradient);
                let loss = -gradient[class as usize].max(f32::MIN_POSITIVE).ln();
                gradient[class as usize] -= 1.0;
                loss
            }
            Target::Value(value) => squared(0, value),
            Target::Reward { action, reward } => squared(action as usize, reward),
            Target::BestAction(best) => {
                let reward = |action: usize| f64::from(u8::from(action == best as usize));
                let losses = (0..outputs.len()).map(|action| squared(action, reward(action)));
                losses.sum()
            }
            Target::Correction { action, by, .. } => {
                // The gradient of the squared error lacked this part when the example was learned.
                gradient[action as usize] = -scale.deviations(by);
                0.0
            }
        }
    }
}

/// Turns scores `[n]` into probabilities, in place.
pub fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - max).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The index of the largest value of `[n]`, the first of equals; 0 of none.
pub fn argmax(values: &[f32]) -> usize {
    let better = |best: usize, (index, value): (usize, &f32)| {
        if *value > values[best] { index } else { best }
    };
    values.iter().enumerate().fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_holds_the_derivatives_of_the_loss() {
        let mut scale = Scale::default();
        [0.0, 1.0, 0.5, 2.0]
            .iter()
            .for_each(|value| scale.observe(*value));
        let outputs = [0.3f32, -0.2, 0.9];
        for target in [
            Target::Class(1),
            Target::Value(0.7),
            Target::Reward {
                action: 2,
                reward: 1.5,
            },
            Target::BestAction(0),
        ] {
            let mut gradient = [0.0; 3];
            target.gradient(&outputs, &scale, &mut gradient);
            for index in 0..3 {
                let loss = |step: f32| {
                    let mut moved = outputs;
                    moved[index] += step;
                    target.gradient(&moved, &scale, &mut [0.0; 3])
                };
                let numeric = (loss(1e-2) - loss(-1e-2)) / 2e-2;
                assert!(
                    (numeric - gradient[index]).abs() < 1e-3,
                    "{target:?} {index}: {numeric} {gradient:?}"
                );
            }
        }
    }

    #[test]
    fn the_first_of_equals_wins() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[f32::NAN, 1.0]), 0);
    }

    #[test]
    fn a_softmax_survives_large_scores() {
        let mut scores = [1e30, -1e30, 1e30];
        softmax(&mut scores);
        assert_eq!(scores, [0.5, 0.0, 0.5]);
    }
}
