//! Bounded losses of two sides on the same example, so that their differences lie in [-1, 1].
//!
//! - A class, or the action that would have been right: half the Brier score of the probabilities
//!   (Brier 1950), in [0, 1].
//! - A value: the absolute error, as a part of four times the champion's mean absolute error so far, 1 at
//!   most.
//! - A reward: the estimate of the policy's reward by its importance weight (Horvitz and Thompson 1952), with
//!   the sign turned, as a part of the largest that the propensity floor of the policy allows. Rewards are
//!   held between the smallest and the largest that came before. A policy without a floor above 0 gives no
//!   evidence: where one side would act as it never did, nothing is known.
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

/// The scales of losses, as earlier labels show them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LossScale {
    /// Of the champion's absolute errors: how many, up to the horizon, and their mean.
    errors: [f64; 2],
    /// The smallest and the largest reward.
    rewards: Option<[f64; 2]>,
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

impl LossScale {
    /// The loss of each side, none where the example is no evidence; an answer that is not finite is no
    /// answer, and has the full loss.
    pub(super) fn losses<const N: usize>(
        &self,
        spec: &Spec,
        truth: Truth,
        answers: [Option<&RowOutputs>; N],
    ) -> Option<[f64; N]> {
        let loss: Box<dyn Fn(&RowOutputs) -> f64> = match truth.target {
            Target::Class(right) | Target::BestAction(right) => {
                Box::new(move |answer| brier(&answer.outputs, right as usize) / 2.0)
            }
            Target::Value(value) => {
                Box::new(move |answer| self.error_loss(answer.outputs[0], value))
            }
            Target::Reward { action, reward } => {
                let floor = propensity_floor(spec)?;
                // The same f32 arithmetic gives the floor and the propensity.
                let propensity = truth.propensity.filter(|p| *p >= floor * (1.0 - 1e-5))?;
                let [low, high] = self.rewards.filter(|[low, high]| low < high)?;
                let earned = (reward.clamp(low, high) - low) / (high - low);
                Box::new(move |answer| {
                    let probability = answer.outputs[action as usize];
                    -(probability * floor / propensity).min(1.0) * earned
                })
            }
            Target::Correction { .. } => return None,
        };
        let most = match truth.target {
            Target::Reward { .. } => 0.0,
            _ => 1.0,
        };
        Some(answers.map(|answer| match answer {
            Some(answer) => loss(answer),
            None => most,
        }))
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
            Target::Reward { reward, .. } => {
                let [low, high] = self.rewards.unwrap_or([reward; 2]);
                self.rewards = Some([low.min(reward), high.max(reward)]);
            }
            Target::Class(_) | Target::BestAction(_) | Target::Correction { .. } => {}
        }
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        let [low, high] = self.rewards.unwrap_or([1.0, 0.0]);
        let values = vec![self.errors[0], self.errors[1], low, high];
        tensors.put_f64("scale", &[4], values);
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<LossScale, Error> {
        let values = tensors.take_f64("scale", &[Some(4)])?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::value("scale", "values that are not finite"));
        }
        Ok(LossScale {
            errors: [values[0], values[1]],
            rewards: (values[2] <= values[3]).then_some([values[2], values[3]]),
        })
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
            let [loss, none] = losses.expect("a class is evidence");
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
        assert_eq!(losses, Some([0.5, 1.0]));
    }

    #[test]
    fn rewards_are_evidence_where_every_action_has_a_propensity() {
        let bandit = "task = 'bandit'\nactions = ['a', 'b']";
        let mut scale = LossScale::default();
        let reward = |reward, propensity| Truth {
            target: Target::Reward { action: 1, reward },
            propensity,
        };
        scale.observe(reward(0.0, None), None);
        scale.observe(reward(2.0, None), None);
        let (takes, avoids) = (answer(&[0.1, 0.9]), answer(&[0.9, 0.1]));
        let check = |policy: &str, propensity, expected: Option<[f64; 2]>| {
            let spec = spec(&format!("{bandit}\n[policy]\n{policy}"));
            let answers = [Some(&takes), Some(&avoids)];
            let losses = scale.losses(&spec, reward(1.0, propensity), answers);
            match (losses, expected) {
                (Some(got), Some(expected)) => {
                    let far = got.iter().zip(expected).any(|(g, e)| (g - e).abs() > 1e-9);
                    assert!(!far, "{got:?}");
                }
                (got, expected) => assert_eq!(got, expected),
            }
        };
        let epsilon = "kind = 'epsilon'\nepsilon = 0.2";
        check(epsilon, Some(0.1), Some([-0.45, -0.05]));
        check(epsilon, Some(0.9), Some([-0.05, -0.005 / 0.9]));
        check(epsilon, Some(0.01), None);
        check(epsilon, None, None);
        check("kind = 'greedy'", Some(1.0), None);
        let floored = "kind = 'greedy'\nfloor = 0.1";
        check(floored, Some(0.1), Some([-0.45, -0.05]));
    }
}
