//! Bounded losses of two sides on the same example, so that their differences lie in [-1, 1].
//!
//! - A class, or the action that would have been right: half the Brier score of the probabilities
//!   (Brier 1950), in [0, 1].
//! - A value: the absolute error, as a part of four times the champion's mean absolute error so far, 1 at
//!   most.
//! - A reward: the doubly robust estimate of the policy's reward (Dudik, Langford and Li 2011), whose model is
//!   the mean of the earlier rewards of each action, with the sign turned, times the propensity floor of the
//!   policy: so differences stay in [-1, 1], and a margin, which is a part of the range of rewards, counts
//!   times the floor as well. Rewards are held between the smallest and the largest that came before. A policy
//!   without a floor above 0 gives no evidence: where one side would act as it never did, nothing is known.
//!   People see rewards: the estimate with its sign turned, as it was before the floor.
//!
//! Invariant: every scale is known before the label comes, so that it biases no difference.

use crate::learn::algorithms::learned::answers::RowOutputs;
use crate::model::weights::{Error, Tensors};
use crate::model::{Spec, Target, Task};

/// Mean absolute errors of a value that count as a full loss.
const FULL_ERRORS: f64 = 4.0;
/// Labels over which the mean absolute error is a plain mean; older ones fade.
const ERRORS_HORIZON: f64 = 1000.0;

/// The truth of a row, with the propensity of the action that earned a reward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Truth {
    pub target: Target,
    pub propensity: Option<f64>,
}

/// The answers of all sides to a row; none that is not finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SideAnswers {
    pub candidate: Option<RowOutputs>,
    pub champion: Option<RowOutputs>,
    pub contender: Option<RowOutputs>,
}

/// The losses of so many sides on one example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SideLosses<const N: usize> {
    /// Losses bounded to [-1, 1].
    pub bounded: [f64; N],
    /// Losses in the unit of the task: the estimated rewards of a bandit, with their sign turned.
    pub shown: [f64; N],
    /// Losses by which the source of the label is suspected, at least 0: of rewards, by how much the estimate
    /// is below that of the largest reward so far.
    pub blamed: [f64; N],
    /// The part of the margin that is the same for bounded losses.
    pub margin_part: f64,
    /// The bounded loss of one unit of the task.
    pub unit: f64,
}

/// The scales of losses, as earlier labels show them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LossScale {
    /// The number of the champion's absolute errors, up to the horizon, and their mean.
    errors: [f64; 2],
    /// The smallest and the largest reward.
    rewards: Option<[f64; 2]>,
    /// The number of rewards of each action, up to the horizon, and their mean.
    actions: Vec<[f64; 2]>,
}

/// A reward on the scale of those before it.
struct ScaledReward<'a> {
    scale: &'a LossScale,
    action: usize,
    /// The propensity of the action, and its floor.
    propensity: f64,
    floor: f64,
    /// The smallest reward so far, and the distance to the largest.
    low: f64,
    range: f64,
    /// The reward, as a part of the range above the smallest.
    earned: f64,
}

/// A reward whose sums stay finite: entries of before rewards had a range may hold any.
fn sane(reward: f64) -> f64 {
    reward.clamp(-1e100, 1e100)
}

/// The smallest propensity of any action; none where an action may have none, and where the deviations of
/// a posterior decide, which are not asked here.
fn propensity_floor(spec: &Spec) -> Option<f64> {
    let floor = spec.least_probability();
    (floor > 0.0 && !spec.policy.needs_posterior()).then_some(floor)
}

/// True if the examples of a model can be evidence: rewards are none where no action has a propensity floor.
pub(crate) fn gives_evidence(spec: &Spec) -> bool {
    !matches!(spec.task, Task::Bandit { .. }) || propensity_floor(spec).is_some()
}

impl<const N: usize> SideLosses<N> {
    /// Losses that are equal for every use.
    pub(super) fn plain(losses: [f64; N]) -> SideLosses<N> {
        SideLosses {
            bounded: losses,
            shown: losses,
            blamed: losses,
            margin_part: 1.0,
            unit: 1.0,
        }
    }
}

impl LossScale {
    /// The loss of each side, none where the example is no evidence; an answer that is not finite is no
    /// answer, and has the full loss.
    pub(super) fn losses<const N: usize>(
        &self,
        spec: &Spec,
        truth: Truth,
        answers: [Option<&RowOutputs>; N],
    ) -> Option<SideLosses<N>> {
        let loss: Box<dyn Fn(&RowOutputs) -> f64> = match truth.target {
            Target::Class(right) | Target::BestAction(right) => {
                Box::new(move |answer| brier(&answer.outputs, right as usize) / 2.0)
            }
            Target::Value(value) => {
                Box::new(move |answer| self.error_loss(answer.outputs[0], value))
            }
            Target::Reward { action, reward } => {
                let propensity = truth.propensity?;
                let reward = self.scaled(spec, (action as usize, propensity, reward))?;
                return Some(reward.losses(answers));
            }
            Target::Correction { .. } => return None,
        };
        Some(SideLosses::plain(answers.map(|answer| match answer {
            Some(answer) => loss(answer),
            None => 1.0,
        })))
    }

    /// The reward of an action with its propensity, on the scale of those before it.
    fn scaled(
        &self,
        spec: &Spec,
        (action, propensity, reward): (usize, f64, f64),
    ) -> Option<ScaledReward<'_>> {
        let floor = propensity_floor(spec)?;
        // The same f32 arithmetic gives the floor and the propensity.
        if propensity < floor * (1.0 - 1e-5) {
            return None;
        }
        let [low, high] = self.rewards.filter(|[low, high]| low < high)?;
        let reward = sane(reward);
        Some(ScaledReward {
            scale: self,
            action,
            propensity: propensity.max(floor),
            floor,
            low,
            range: high - low,
            earned: (reward.clamp(low, high) - low) / (high - low),
        })
    }

    /// True once rewards were seen, whose estimates vary more than other losses.
    pub(super) fn has_rewards(&self) -> bool {
        self.rewards.is_some()
    }

    fn error_loss(&self, answer: f64, value: f64) -> f64 {
        let error = (answer - value).abs();
        let full = FULL_ERRORS * self.errors[1];
        if full > 0.0 {
            (error / full).min(1.0)
        } else {
            f64::from(u8::from(error > 0.0))
        }
    }

    /// Takes note of a label, and of the champion's answer to its row.
    pub(super) fn observe(&mut self, truth: Truth, champion: Option<&RowOutputs>) {
        match truth.target {
            Target::Value(value) => {
                let error = champion.map(|answer| (answer.outputs[0] - value).abs());
                if let Some(error) = error.filter(|error| error.is_finite()) {
                    let [n, mean] = &mut self.errors;
                    *n = (*n + 1.0).min(ERRORS_HORIZON);
                    *mean += (error.min(1e100) - *mean) / *n;
                }
            }
            Target::Reward { action, reward } => {
                let reward = sane(reward);
                let [low, high] = self.rewards.unwrap_or([reward; 2]);
                self.rewards = Some([low.min(reward), high.max(reward)]);
                let action = action as usize;
                if self.actions.len() <= action {
                    self.actions.resize(action + 1, [0.0; 2]);
                }
                let [n, mean] = &mut self.actions[action];
                *n = (*n + 1.0).min(ERRORS_HORIZON);
                *mean += (reward - *mean) / *n;
            }
            Target::Class(_) | Target::BestAction(_) | Target::Correction { .. } => {}
        }
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        let [low, high] = self.rewards.unwrap_or([1.0, 0.0]);
        let values = vec![self.errors[0], self.errors[1], low, high];
        tensors.put_f64("scale", &[4], values);
        if !self.actions.is_empty() {
            let actions = self.actions.iter().flatten().copied().collect();
            tensors.put_f64("scale.actions", &[self.actions.len(), 2], actions);
        }
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<LossScale, Error> {
        let values = tensors.take_f64("scale", &[Some(4)])?;
        let actions = if tensors.0.contains_key("scale.actions") {
            tensors.take_f64("scale.actions", &[None, Some(2)])?
        } else {
            Vec::new()
        };
        if values
            .iter()
            .chain(&actions)
            .any(|value| !value.is_finite())
        {
            return Err(Error::value("scale", "values that are not finite"));
        }
        let actions = actions.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        Ok(LossScale {
            actions: actions.collect(),
            errors: [values[0], values[1]],
            rewards: (values[2] <= values[3]).then_some([values[2], values[3]]),
        })
    }
}

impl ScaledReward<'_> {
    fn losses<const N: usize>(&self, answers: [Option<&RowOutputs>; N]) -> SideLosses<N> {
        let estimates = answers.map(|answer| answer.map_or(0.0, |one| self.estimate(one)));
        SideLosses {
            bounded: estimates.map(|estimate| -self.floor * estimate),
            shown: estimates.map(|estimate| -(self.low + self.range * estimate)),
            blamed: answers.map(|answer| {
                let weight =
                    answer.map_or(1.0, |one| self.share(one, self.action) / self.propensity);
                self.range * weight * (1.0 - self.earned)
            }),
            margin_part: self.floor,
            unit: self.floor / self.range,
        }
    }

    /// The doubly robust estimate of the reward, as a part of the range.
    fn estimate(&self, answer: &RowOutputs) -> f64 {
        let modelled =
            (0..answer.outputs.len()).map(|action| self.share(answer, action) * self.mean(action));
        let weight = self.share(answer, self.action) / self.propensity;
        modelled.sum::<f64>() + weight * (self.earned - self.mean(self.action))
    }

    fn share(&self, answer: &RowOutputs, action: usize) -> f64 {
        answer.outputs.get(action).copied().unwrap_or(0.0)
    }

    /// The mean of the earlier rewards of an action, as a part of the range; half of it before any.
    fn mean(&self, action: usize) -> f64 {
        match self.scale.actions.get(action) {
            Some([n, mean]) if *n > 0.0 => ((mean - self.low) / self.range).clamp(0.0, 1.0),
            _ => 0.5,
        }
    }
}

/// The sum of squared differences between the probabilities and the class that is right.
fn brier(probabilities: &[f64], right: usize) -> f64 {
    let squares: f64 = probabilities.iter().map(|p| p * p).sum();
    match probabilities.get(right) {
        Some(p) => (squares - 2.0 * p + 1.0).clamp(0.0, 2.0),
        // A class that this side does not know.
        None => (squares + 1.0).clamp(0.0, 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(toml: &str) -> Spec {
        let input = "[[input]]\nname = 'x'\nkind = 'number'\n";
        Spec::parse(&format!("{toml}\n{input}")).expect("a description")
    }

    fn answer(outputs: &[f64]) -> RowOutputs {
        RowOutputs {
            outputs: outputs.to_vec(),
        }
    }

    fn truth(target: Target) -> Truth {
        Truth {
            target,
            propensity: None,
        }
    }

    #[test]
    fn probabilities_are_judged_by_half_their_brier_score() {
        let spec = spec("task = 'classification'\nclasses = ['a', 'b']\nclasses_max = 3");
        let check = |outputs: &[f64], class, expected: f64| {
            let answer = answer(outputs);
            let answers = [Some(&answer), None];
            let losses = LossScale::default().losses(&spec, truth(Target::Class(class)), answers);
            let [loss, none] = losses.expect("a class is evidence").bounded;
            assert!((loss - expected).abs() < 1e-12, "{loss}");
            assert_eq!(none, 1.0);
        };
        check(&[1.0, 0.0], 0, 0.0);
        check(&[1.0, 0.0], 1, 1.0);
        check(&[0.5, 0.5], 1, 0.25);
        check(&[0.5, 0.5], 2, 0.75);
    }

    #[test]
    fn errors_are_parts_of_four_earlier_mean_errors() {
        let spec = spec("task = 'regression'");
        let mut scale = LossScale::default();
        let (near, far) = (answer(&[2.0]), answer(&[100.0]));
        scale.observe(truth(Target::Value(1.0)), Some(&near));
        let answers = [Some(&near), Some(&far)];
        let losses = scale.losses(&spec, truth(Target::Value(4.0)), answers);
        assert_eq!(losses, Some(SideLosses::plain([0.5, 1.0])));
    }

    fn reward(reward: f64, propensity: Option<f64>) -> Truth {
        Truth {
            target: Target::Reward { action: 1, reward },
            propensity,
        }
    }

    const BANDIT: &str = "task = 'bandit'\nactions = ['a', 'b']";

    #[test]
    fn rewards_are_evidence_where_every_action_has_a_propensity() {
        let mut scale = LossScale::default();
        scale.observe(reward(0.0, None), None);
        scale.observe(reward(2.0, None), None);
        let (takes, avoids) = (answer(&[0.1, 0.9]), answer(&[0.9, 0.1]));
        let check = |policy: &str, propensity, expected: Option<[f64; 2]>| {
            let spec = spec(&format!("{BANDIT}\n[policy]\n{policy}"));
            let answers = [Some(&takes), Some(&avoids)];
            let losses = scale.losses(&spec, reward(1.5, propensity), answers);
            match (losses.map(|losses| losses.bounded), expected) {
                (Some(got), Some(expected)) => {
                    let far = got.iter().zip(expected).any(|(g, e)| (g - e).abs() > 1e-9);
                    assert!(!far, "{got:?}");
                }
                (got, expected) => assert_eq!(got, expected),
            }
        };
        // Half of the range is expected of both actions, and a quarter more came.
        let epsilon = "kind = 'epsilon'\nepsilon = 0.2";
        check(epsilon, Some(0.1), Some([-0.275, -0.075]));
        check(epsilon, Some(0.9), Some([-0.075, -0.05 - 0.0025 / 0.9]));
        check(epsilon, Some(0.01), None);
        check(epsilon, None, None);
        check("kind = 'greedy'", Some(1.0), None);
        let floored = "kind = 'greedy'\nfloor = 0.1";
        check(floored, Some(0.1), Some([-0.275, -0.075]));
    }

    #[test]
    fn people_see_rewards_and_differences_stay_within_one() {
        let spec = spec(&format!(
            "{BANDIT}\n[policy]\nkind = 'epsilon'\nepsilon = 0.2"
        ));
        let mut scale = LossScale::default();
        scale.observe(reward(-1.0, None), None);
        scale.observe(reward(3.0, None), None);
        let (takes, avoids) = (answer(&[0.0, 1.0]), answer(&[1.0, 0.0]));
        for propensity in [0.1, 0.5, 0.9] {
            for earned in [-1.0, 0.0, 3.0] {
                let answers = [Some(&takes), Some(&avoids), None];
                let losses = scale.losses(&spec, reward(earned, Some(propensity)), answers);
                let losses = losses.expect("it is evidence");
                let [takes, avoids, _] = losses.bounded;
                assert!((takes - avoids).abs() <= 1.0, "{losses:?}");
                // Of the action that is avoided the mean is known, and of the other its reward.
                let expected = 1.0 + (earned - 1.0) / propensity;
                assert!((losses.shown[0] + expected).abs() < 1e-9, "{losses:?}");
                assert!((losses.shown[1] + 1.0).abs() < 1e-9, "{losses:?}");
                let difference = (losses.shown[0] - losses.shown[1]) * losses.unit;
                assert!((difference - (takes - avoids)).abs() < 1e-9, "{losses:?}");
                assert!((losses.blamed[0] - (3.0 - earned) / propensity).abs() < 1e-9);
                assert_eq!(losses.blamed[1], 0.0);
                assert!((losses.margin_part - 0.1).abs() < 1e-9);
            }
        }
        let mut tensors = Tensors::default();
        scale.save(&mut tensors);
        assert_eq!(LossScale::load(&mut tensors), Ok(scale));
    }
}
