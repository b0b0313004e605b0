//! The range of rewards, and rewards as shares of it.
//!
//! A logistic member regresses shares (Papke and Wooldridge 1996): where rewards are 0 or 1 it
//! estimates their probability, which a linear one passes on both sides.
//!
//! Invariant: a share is in [0, 1], and finite whatever rewards came.

use crate::model::encoders::features::Rescale;
use crate::model::loss::Target;

/// Rewards beyond this count as this: their difference stays finite.
const HUGE: f64 = 1e100;

/// The smallest and the largest reward so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// Both; none before the first.
    pub ends: Option<[f64; 2]>,
}

impl Range {
    /// Takes in a reward.
    pub fn observe(&mut self, reward: f64) {
        let reward = reward.clamp(-HUGE, HUGE);
        let [low, high] = self.ends.unwrap_or([reward; 2]);
        self.ends = Some([low.min(reward), high.max(reward)]);
    }

    /// How a share of it is expressed as one of another range; none where that is the same, or where
    /// there was none before.
    pub fn to(&self, other: &Range) -> Option<Rescale> {
        let ([low, high], [other_low, other_high]) = (self.ends?, other.ends?);
        let width = other_high - other_low;
        (self != other && width > 0.0).then(|| Rescale {
            factor: (high - low) / width,
            shift: (low - other_low) / width,
        })
    }

    /// A difference of two rewards, as a share of the range: -1 to 1.
    pub fn part(&self, difference: f64) -> f32 {
        match self.ends {
            Some([low, high]) if high > low => (difference / (high - low)).clamp(-1.0, 1.0) as f32,
            _ => 0.0,
        }
    }

    /// A reward as a share of the range.
    pub fn share(&self, reward: f64) -> f32 {
        let reward = reward.clamp(-HUGE, HUGE);
        self.ends.map_or(0.0, |[low, _]| self.part(reward - low))
    }

    /// The reward that a share stands for; 0 before the first.
    pub fn reward(&self, share: f32) -> f64 {
        self.ends
            .map_or(0.0, |[low, high]| low + f64::from(share) * (high - low))
    }
}

impl Range {
    /// Writes the gradient `[actions]` of the logistic loss on shares in the scores `[actions]`, and
    /// returns the loss. Both are nothing for a target that is no reward.
    pub fn gradient(&self, target: Target, scores: &[f32], gradient: &mut [f32]) -> f32 {
        gradient.fill(0.0);
        let mut of_action = |action: usize, reward: f64| {
            let (share, wanted) = (logistic_share(scores[action]), self.share(reward));
            gradient[action] = share - wanted;
            // The loss of a score far out is its distance from zero.
            let score = scores[action];
            score.max(0.0) - wanted * score + (-score.abs()).exp().ln_1p()
        };
        match target {
            Target::BestAction(best) => {
                let reward = |action: usize| f64::from(u8::from(action == best as usize));
                (0..scores.len())
                    .map(|action| of_action(action, reward(action)))
                    .sum()
            }
            Target::Reward { action, reward } => of_action(action as usize, reward),
            Target::Correction { action, by, .. } => {
                gradient[action as usize] = -self.part(by);
                0.0
            }
            Target::Class(_) | Target::Value(_) => 0.0,
        }
    }
}

/// The share that a logistic member's score stands for.
pub(crate) fn logistic_share(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_shares_of_what_was_seen() {
        let mut range = Range::default();
        assert_eq!((range.share(3.0), range.reward(0.5)), (0.0, 0.0));
        range.observe(2.0);
        assert_eq!((range.share(3.0), range.reward(0.5)), (0.0, 2.0));
        range.observe(-2.0);
        assert_eq!((range.share(1.0), range.reward(0.25)), (0.75, -1.0));
        assert_eq!(range.part(-1.0), -0.25);
        range.observe(f64::MAX);
        range.observe(f64::MIN);
        assert!(range.share(f64::MAX) == 1.0 && range.reward(1.0).is_finite());
    }

    #[test]
    fn the_gradient_holds_the_derivatives_of_the_loss() {
        let range = Range {
            ends: Some([-1.0, 3.0]),
        };
        let scores = [0.3f32, -0.2, 0.9];
        let reward = Target::Reward {
            action: 2,
            reward: 0.5,
        };
        for target in [reward, Target::BestAction(0)] {
            let mut gradient = [9.0; 3];
            range.gradient(target, &scores, &mut gradient);
            for index in 0..3 {
                let loss = |step: f32| {
                    let mut moved = scores;
                    moved[index] += step;
                    range.gradient(target, &moved, &mut [0.0; 3])
                };
                let numeric = (loss(1e-2) - loss(-1e-2)) / 2e-2;
                assert!(
                    (numeric - gradient[index]).abs() < 1e-3,
                    "{target:?} {index}"
                );
            }
        }
        let by = Target::Correction {
            action: 1,
            by: 1.0,
            reward: 1.0,
        };
        let mut gradient = [9.0; 3];
        assert_eq!(range.gradient(by, &scores, &mut gradient), 0.0);
        assert_eq!(gradient, [0.0, -0.25, 0.0]);
    }

    #[test]
    fn wild_scores_are_shares() {
        let shares = [f32::MIN, -1e3, 0.0, 1e3, f32::MAX].map(logistic_share);
        assert_eq!(shares, [0.0, 0.0, 0.5, 1.0, 1.0]);
    }
}
