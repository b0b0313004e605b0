//! The choice of a bandit's action, with the probability that it had.
//!
//! Invariant: an action is drawn from the very distribution whose value is reported as its
//! propensity, and the draw depends on nothing but that distribution, the seed of the description
//! and the prediction's id.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::loss::argmax;
use super::spec::{Policy, Spec};
use crate::event::PredictionId;

/// The estimates of every action for one row.
#[derive(Clone, Copy, Debug)]
pub struct Estimates<'a> {
    /// `[actions]`, expected rewards in standard deviations of the reward.
    pub scores: &'a [f32],
    /// `[actions]`, posterior deviations of the same; empty where there is no posterior.
    pub deviations: &'a [f32],
    /// Examples learned so far.
    pub n_examples: u64,
}

impl Policy {
    /// The probability of each action, `[actions]`; they sum to one.
    pub fn distribution(self, estimates: Estimates<'_>) -> Vec<f32> {
        let scores = estimates.scores;
        let n_actions = scores.len();
        match self {
            Policy::Greedy => certain(argmax(scores), n_actions),
            Policy::Epsilon(epsilon) => {
                let mut probabilities = vec![(epsilon / n_actions as f64) as f32; n_actions];
                probabilities[argmax(scores)] += (1.0 - epsilon) as f32;
                probabilities
            }
            Policy::Softmax(temperature) => {
                let best = scores[argmax(scores)];
                let weight = |score: &f32| {
                    let gap = f64::from(*score) - f64::from(best);
                    (gap / temperature).exp()
                };
                let weights: Vec<f64> = scores.iter().map(weight).collect();
                let total: f64 = weights.iter().sum();
                weights.iter().map(|w| (w / total) as f32).collect()
            }
            Policy::SquareCb(scale) => {
                inverse_gaps(scores, scale * (estimates.n_examples as f64).sqrt())
            }
            Policy::Thompson(scale) => best_of_draws(scores, estimates.deviations, scale),
            Policy::LinUcb(width) => {
                let bound = |(score, deviation): (&f32, &f32)| score + width as f32 * deviation;
                let bounds = scores.iter().zip(estimates.deviations).map(bound);
                certain(argmax(&bounds.collect::<Vec<f32>>()), n_actions)
            }
        }
    }
}

impl Spec {
    /// The probability of each action, `[actions]`: that of the policy, raised to the floor.
    pub(crate) fn action_probabilities(&self, estimates: Estimates<'_>) -> Vec<f32> {
        let mut probabilities = self.policy.distribution(estimates);
        let floor = self.exposure_floor;
        if floor > 0.0 {
            let left = 1.0 - floor * probabilities.len() as f64;
            let raise = |p: &mut f32| *p = (floor + left * f64::from(*p)) as f32;
            probabilities.iter_mut().for_each(raise);
        }
        probabilities
    }

    /// The least probability that any action has, whatever is learned.
    pub(crate) fn least_probability(&self) -> f64 {
        let (floor, n_actions) = (self.exposure_floor, self.task.names().len() as f64);
        let of_policy = match self.policy {
            Policy::Epsilon(epsilon) => epsilon / n_actions,
            _ => 0.0,
        };
        floor + (1.0 - floor * n_actions) * of_policy
    }
}

/// Draws an action from `distribution` for the prediction `id`.
pub(super) fn draw(distribution: &[f32], seed: u64, id: PredictionId) -> usize {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..24].copy_from_slice(&id.0.to_le_bytes());
    let total: f64 = distribution.iter().map(|p| f64::from(*p)).sum();
    let mut left = total * ChaCha8Rng::from_seed(key).random::<f64>();
    let mut last = 0;
    for (action, probability) in distribution.iter().enumerate() {
        if *probability > 0.0 {
            last = action;
            left -= f64::from(*probability);
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

fn certain(action: usize, n_actions: usize) -> Vec<f32> {
    let mut probabilities = vec![0.0; n_actions];
    probabilities[action] = 1.0;
    probabilities
}

/// `1 / (actions + gamma * gap)` for all but the best action, which takes the rest.
fn inverse_gaps(scores: &[f32], gamma: f64) -> Vec<f32> {
    let best = argmax(scores);
    let n_actions = scores.len() as f64;
    let probability =
        |score: &f32| 1.0 / (n_actions + gamma * (f64::from(scores[best]) - f64::from(*score)));
    let mut probabilities: Vec<f64> = scores.iter().map(probability).collect();
    probabilities[best] = 0.0;
    probabilities[best] = 1.0 - probabilities.iter().sum::<f64>();
    probabilities.into_iter().map(|p| p as f32).collect()
}

/// Intervals over which the maximum of the draws is integrated.
const INTERVALS: usize = 96;
/// Deviations around the estimates that are looked at.
const REACH: f64 = 6.0;

/// The probability that each action's normal draw is the largest: for each interval, that the
/// action's draw falls into it and all others below it, the others taken at its middle.
fn best_of_draws(scores: &[f32], deviations: &[f32], scale: f64) -> Vec<f32> {
    let normals = scores.iter().zip(deviations).map(|(mean, deviation)| {
        let deviation = f64::from(*deviation) * scale;
        (f64::from(*mean), deviation.max(1e-9))
    });
    let normals: Vec<(f64, f64)> = normals.collect();
    let edge = |side: f64| {
        let edges = normals.iter().map(|(mean, sd)| mean + side * REACH * sd);
        edges.fold(f64::NEG_INFINITY, f64::max)
    };
    // The maximum is all but never below the highest lower edge.
    let (low, high) = (edge(-1.0), edge(1.0));
    let step = (high - low) / INTERVALS as f64;
    let below = |x: f64| {
        normals
            .iter()
            .map(move |(mean, sd)| normal((x - mean) / sd))
    };
    let mut probabilities = vec![0.0; normals.len()];
    let mut start: Vec<f64> = below(low).collect();
    for interval in 0..INTERVALS {
        let x = low + step * interval as f64;
        let end: Vec<f64> = below(x + step).collect();
        let middle: Vec<f64> = below(x + 0.5 * step).collect();
        // Products of all others, from both sides.
        let mut after = vec![1.0; normals.len() + 1];
        for action in (0..normals.len()).rev() {
            after[action] = after[action + 1] * middle[action];
        }
        let mut before = 1.0;
        for action in 0..normals.len() {
            probabilities[action] += (end[action] - start[action]) * before * after[action + 1];
            before *= middle[action];
        }
        start = end;
    }
    let total: f64 = probabilities.iter().sum();
    if total > 0.0 {
        probabilities.iter().map(|p| (p / total) as f32).collect()
    } else {
        certain(argmax(scores), scores.len())
    }
}

/// The distribution function of the standard normal, to 1e-7 (Abramowitz and Stegun 1964, 26.2.17).
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let coefficients = [
        1.330_274_429,
        -1.821_255_978,
        1.781_477_937,
        -0.356_563_782,
        0.319_381_530,
    ];
    let sum = coefficients.iter().fold(0.0, |sum, c| (sum + c) * t);
    let tail = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if z < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [Policy; 6] = [
        Policy::Greedy,
        Policy::Epsilon(0.2),
        Policy::Softmax(0.5),
        Policy::SquareCb(0.5),
        Policy::Thompson(1.0),
        Policy::LinUcb(1.0),
    ];

    fn estimates<'a>(scores: &'a [f32], deviations: &'a [f32]) -> Estimates<'a> {
        Estimates {
            scores,
            deviations,
            n_examples: 100,
        }
    }

    #[test]
    fn propensities_sum_to_one_and_match_observed_frequencies() {
        let known = estimates(&[0.1, 0.5, -0.3, 0.45], &[0.3, 0.1, 0.9, 0.2]);
        for policy in POLICIES {
            let probabilities = policy.distribution(known);
            let total: f64 = probabilities.iter().map(|p| f64::from(*p)).sum();
            assert!((total - 1.0).abs() < 1e-6, "{policy:?}: {total}");
            let n_draws = 40_000;
            let mut counts = [0.0; 4];
            for id in 0..n_draws {
                counts[draw(&probabilities, 7, PredictionId(id))] += 1.0;
            }
            for (probability, count) in probabilities.iter().zip(counts) {
                let (probability, n) = (f64::from(*probability), n_draws as f64);
                let deviation = (probability * (1.0 - probability) / n).sqrt();
                let off = (count / n - probability).abs();
                assert!(
                    off <= 4.5 * deviation,
                    "{policy:?}: {probability} {}",
                    count / n
                );
            }
        }
    }

    #[test]
    fn wild_estimates_still_give_a_distribution() {
        let wild = [f32::MAX, -f32::MAX, 0.0];
        for (scores, deviations) in [
            (wild, [0.0; 3]),
            ([0.0; 3], [0.0; 3]),
            (wild, [f32::MAX; 3]),
        ] {
            for policy in POLICIES {
                let probabilities = policy.distribution(estimates(&scores, &deviations));
                let total: f64 = probabilities.iter().map(|p| f64::from(*p)).sum();
                let sound = probabilities.iter().all(|p| (0.0..=1.0).contains(p));
                assert!(
                    sound && (total - 1.0).abs() < 1e-5,
                    "{policy:?}: {probabilities:?}"
                );
            }
        }
    }

    #[test]
    fn thompson_takes_an_action_as_often_as_it_is_the_best_draw() {
        // Two normals: the difference is normal with the sum of the variances.
        let probabilities = best_of_draws(&[0.2, 0.0], &[0.3, 0.4], 1.0);
        let expected = normal(0.2 / 0.5);
        assert!(
            (f64::from(probabilities[0]) - expected).abs() < 1e-3,
            "{probabilities:?}"
        );
        // No doubt left: the best one, alone.
        let probabilities = best_of_draws(&[0.2, 0.1], &[0.0, 0.0], 1.0);
        assert!(
            probabilities[0] == 1.0 && probabilities[1] < 1e-8,
            "{probabilities:?}"
        );
        // Much doubt about one action gives it some probability.
        let probabilities = best_of_draws(&[0.5, 0.0], &[1e-6, 1.0], 1.0);
        assert!(
            (f64::from(probabilities[1]) - normal(-0.5)).abs() < 0.02,
            "{probabilities:?}"
        );
    }

    #[test]
    fn a_better_posterior_bound_wins_under_linucb() {
        let known = estimates(&[0.5, 0.4], &[0.1, 0.4]);
        assert_eq!(Policy::LinUcb(1.0).distribution(known), [0.0, 1.0]);
        assert_eq!(Policy::LinUcb(0.1).distribution(known), [1.0, 0.0]);
    }

    #[test]
    fn every_action_has_the_floor_and_the_rest_is_divided_as_before() {
        let check = |policy: &str, scores: &[f32], expected: [f32; 3]| {
            let toml = format!(
                "task = 'bandit'\nactions = ['a', 'b', 'c']\n[[input]]\nname = 'x'\nkind = 'number'\n\
                 [policy]\n{policy}\n"
            );
            let spec = Spec::parse(&toml).expect("a description");
            let probabilities = spec.action_probabilities(estimates(scores, &[]));
            assert_eq!(probabilities, expected, "{policy}");
            let least = probabilities.iter().copied().fold(1.0, f32::min);
            assert!(
                f64::from(least) >= spec.least_probability() - 1e-7,
                "{policy}"
            );
        };
        check("kind = 'greedy'", &[0.0, 1.0, 0.5], [0.0, 1.0, 0.0]);
        check(
            "kind = 'greedy'\nfloor = 0.125",
            &[0.0, 1.0, 0.5],
            [0.125, 0.75, 0.125],
        );
        check(
            "kind = 'epsilon'\nepsilon = 0.75\nfloor = 0.25",
            &[0.0, 1.0, 0.5],
            [0.3125, 0.375, 0.3125],
        );
    }

    #[test]
    fn squarecb_narrows_as_examples_come() {
        let probability = |n_examples| {
            let known = Estimates {
                scores: &[1.0, 0.0],
                deviations: &[],
                n_examples,
            };
            Policy::SquareCb(1.0).distribution(known)[1]
        };
        assert_eq!(probability(0), 0.5);
        assert!(probability(100) > probability(10_000) && probability(10_000) > 0.0);
    }

    #[test]
    fn the_normal_distribution_is_close() {
        for (z, expected) in [(0.0, 0.5), (1.0, 0.841_344_746), (-2.0, 0.022_750_132)] {
            assert!((normal(z) - expected).abs() < 1e-6, "{z}");
        }
    }
}
