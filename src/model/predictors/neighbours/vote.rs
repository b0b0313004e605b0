//! The vote of the nearest rows.
//!
//! Votes weigh by inverse squared distance (Dudani 1976, in the form of Shepard 1968), smoothed
//! towards the distribution of all truths, so that few votes claim little.

use crate::model::encoders::features::Scale;
use crate::model::loss::Target;

/// A vote weighs as if it stood at least at this part of the farthest neighbour's squared
/// distance.
const NEAR: f32 = 0.01;
/// The weight of the distribution of all truths, in votes.
const PRIOR: f32 = 0.25;
/// Examples over which the distribution of all truths is a plain average; older ones fade.
const HORIZON: f64 = 5000.0;
/// A neighbour's value counts at most so many deviations from the median of all of them.
const WILD: f32 = 2.0;

/// A remembered row that is near.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its squared distance.
    pub squared: f32,
    /// How many rows came after it.
    pub age: u32,
    /// Its target.
    pub target: Target,
    /// How much its vote counts beside that of an example of weight 1.
    pub weight: f32,
}

/// The base rates: for each output how many examples had it, fading, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseRates {
    /// `[n_outputs]`, fading.
    pub counts: Vec<f64>,
    /// Fading sums of rewards, `[n_outputs]`.
    pub sums: Vec<f64>,
}

impl BaseRates {
    /// Nothing yet.
    pub fn new(n_outputs: usize) -> BaseRates {
        BaseRates {
            counts: vec![0.0; n_outputs],
            sums: vec![0.0; n_outputs],
        }
    }

    /// Learns one truth, of an example of this weight.
    pub fn observe(&mut self, target: Target, weight: f32) {
        let weight = f64::from(weight);
        let fade = 1.0 - 1.0 / HORIZON;
        let observe_one = |base_rates: &mut BaseRates, index: usize, value: f64| {
            base_rates.counts[index] = base_rates.counts[index] * fade + weight;
            base_rates.sums[index] = base_rates.sums[index] * fade + weight * value;
        };
        match target {
            Target::Class(class) => {
                self.counts.iter_mut().for_each(|count| *count *= fade);
                self.counts[class as usize] += weight;
            }
            Target::Value(_) => {}
            Target::Correction { action, by, .. } => {
                self.sums[action as usize] += by.clamp(-1e100, 1e100);
            }
            // Larger rewards would leave no finite sum.
            Target::Reward { action, reward } => {
                observe_one(self, action as usize, reward.clamp(-1e100, 1e100));
            }
            Target::BestAction(best) => (0..self.counts.len()).for_each(|action| {
                observe_one(self, action, f64::from(u8::from(action == best as usize)));
            }),
        }
    }
}

impl BaseRates {
    /// Puts a truth right, of an example of this weight that `n_since` examples have come after.
    pub fn amend(&mut self, [before, after]: [Target; 2], weight: f32, n_since: u64) {
        let left = f64::from(weight) * (1.0 - 1.0 / HORIZON).powf(n_since as f64);
        let value = |target, action: usize| match target {
            Target::Reward { action: of, reward } if of as usize == action => {
                reward.clamp(-1e100, 1e100)
            }
            Target::BestAction(best) => f64::from(u8::from(best as usize == action)),
            _ => 0.0,
        };
        if let (Target::Class(before), Target::Class(after)) = (before, after) {
            let moved = left.min(self.counts[before as usize]);
            self.counts[before as usize] -= moved;
            self.counts[after as usize] += moved;
            return;
        }
        for (action, sum) in self.sums.iter_mut().enumerate() {
            *sum += left * (value(after, action) - value(before, action));
        }
    }
}

/// The weighting of neighbours' votes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voters {
    /// The weight of a vote beside a newer one from the same place: 1 counts them alike, 0 only the
    /// newest.
    pub repeat: f32,
}

impl Voters {
    /// The outputs for a row, `[n_outputs]`: probabilities of classes, or values in the scale of
    /// the target.
    pub fn outputs(self, near: &[Neighbour], base_rates: &BaseRates, scale: &Scale) -> Vec<f32> {
        let weights = self.weights(near);
        let voter = near
            .iter()
            .map(|one| one.target)
            .zip(weights.iter().copied());
        let n_outputs = base_rates.counts.len();
        let Some(first) = near.first() else {
            let even = 1.0 / n_outputs as f32;
            let none = base_rates.counts.iter().all(|count| *count == 0.0);
            return vec![if none && n_outputs > 1 { even } else { 0.0 }; n_outputs];
        };
        match first.target {
            Target::Class(_) => {
                let sum: f32 = weights.iter().sum();
                let squares: f32 = weights.iter().map(|weight| weight * weight).sum();
                let n_votes = sum * sum / squares;
                let n_past: f64 = base_rates.counts.iter().sum();
                let share = |count: &f64| PRIOR * (count / n_past.max(1e-30)) as f32;
                let mut outputs: Vec<f32> = base_rates.counts.iter().map(share).collect();
                for (target, weight) in voter {
                    outputs[target.stratum() as usize] += n_votes * weight / sum;
                }
                let total = n_votes + PRIOR;
                outputs.iter_mut().for_each(|p| *p = (*p / total).min(1.0));
                outputs
            }
            Target::Value(_) => {
                let value = |target| match target {
                    Target::Value(value) => scale.standardise(value),
                    _ => 0.0,
                };
                vec![settled(
                    voter.map(|(t, weight)| (value(t), weight)).collect(),
                )]
            }
            Target::Reward { .. } | Target::BestAction(_) | Target::Correction { .. } => {
                let nearest = weights[0] / first.weight;
                estimates(voter, base_rates, scale, nearest.max(f32::MIN_POSITIVE))
            }
        }
    }

    fn weights(self, near: &[Neighbour]) -> Vec<f32> {
        let farthest = near.last().map_or(0.0, |last| last.squared).max(1e-12);
        let mut weights: Vec<f32> = near
            .iter()
            .map(|one| one.weight / (one.squared / farthest + NEAR))
            .collect();
        let here = near.partition_point(|one| one.squared <= NEAR * farthest);
        if self.repeat < 1.0 {
            let mut ages: Vec<usize> = (0..here).collect();
            ages.sort_by_key(|place| near[*place].age);
            for (rank, place) in ages.into_iter().enumerate() {
                weights[place] *= self.repeat.powi(rank as i32);
            }
        }
        weights
    }
}

/// The weighted mean of values, those far from the median held at a border.
fn settled(mut values: Vec<(f32, f32)>) -> f32 {
    let median = median(&mut values);
    let mut distances: Vec<(f32, f32)> = values
        .iter()
        .map(|(value, weight)| ((value - median).abs(), *weight))
        .collect();
    let reach = WILD * 1.4826 * self::median(&mut distances) + 1e-6;
    let (mut sum, mut total) = (0.0, 0.0);
    for (value, weight) in values {
        sum += weight * value.clamp(median - reach, median + reach);
        total += weight;
    }
    sum / total
}

fn median(values: &mut [(f32, f32)]) -> f32 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = 0.5 * values.iter().map(|(_, weight)| weight).sum::<f32>();
    let mut passed = 0.0;
    for (value, weight) in values.iter() {
        passed += weight;
        if passed >= half {
            return *value;
        }
    }
    values.last().map_or(0.0, |last| last.0)
}

/// The estimate of every action: its neighbours' rewards, towards its own mean.
fn estimates(
    voters: impl Iterator<Item = (Target, f32)>,
    base_rates: &BaseRates,
    scale: &Scale,
    nearest: f32,
) -> Vec<f32> {
    let mut sums: Vec<(f32, f32)> = base_rates
        .counts
        .iter()
        .zip(&base_rates.sums)
        .map(|(count, sum)| {
            if *count > 0.0 && scale.knows(sum / count) {
                (PRIOR * scale.standardise(sum / count), PRIOR)
            } else {
                (0.0, PRIOR)
            }
        })
        .collect();
    let mut add_reward = |action: usize, reward: f64, weight: f32| {
        sums[action].0 += weight / nearest * scale.standardise(reward);
        sums[action].1 += weight / nearest;
    };
    for (target, weight) in voters {
        match target {
            Target::Reward { action, reward } => add_reward(action as usize, reward, weight),
            Target::BestAction(best) => (0..base_rates.counts.len()).for_each(|action| {
                add_reward(action, f64::from(u8::from(action == best as usize)), weight);
            }),
            Target::Class(_) | Target::Value(_) | Target::Correction { .. } => {}
        }
    }
    sums.into_iter().map(|(sum, weight)| sum / weight).collect()
}
