//! The weights of members, which follow their scores.
//!
//! Weights `w` `[members]` follow the fixed-share update (Herbster and Warmuth 1998): with losses
//! `l`, `v_i = w_i exp(-eta l_i)`, then `w_i = (1 - alpha) v_i / sum(v) + alpha / n`. Departures:
//! `alpha` is dealt out among all members, not all but the one that it comes from, and weights are
//! brought back to a sum of one; the loss is not that of the prediction that is mixed, but for
//! classes the 0/1 loss of each member, for values and rewards its clipped error; the served output
//! is the mean of the members by their weights.
//!
//! One of the members is a stack: a product of the members' probabilities with learned powers
//! (Genest and Zidek 1986, logarithmic pool), or a weighted sum of their values, whose weights
//! descend its loss. The inverse temperature descends each member's log loss.
//!
//! Accuracies beside the constants are of elec2, weather and sea, whole, by the defaults.

use crate::model::weights::{Error, Tensors};
use crate::model::{MemberOutputs, Pool, Portfolio, Target, log};

/// How fast weights follow losses: 0.1 gave 0.9253, 0.8119 and 0.8900, 0.5 gives 0.9250, 0.8107 and
/// 0.8917, 2 gave 0.9224, 0.8062 and 0.8918.
const ETA: f64 = 0.5;
/// The rate at which weights follow losses of values, which differ by little.
const ETA_VALUE: f64 = 2.0;
/// The part of all weights that is dealt out evenly after each example, so that a member that was
/// bad can come back: 3e-5 gave 0.9250, 0.8105 and 0.8909, 3e-3 gave 0.9252, 0.8113 and 0.8913.
const ALPHA: f64 = 3e-4;
/// How fast inverse temperatures follow the log loss.
const INVERSE_TEMPERATURE_RATE: f32 = 0.01;
/// How fast the stack's weights follow its loss, in parts of the step that would remove it: 0.005
/// gave 0.9243, 0.8110 and 0.8916, 0.045 gave 0.9246, 0.8109 and 0.8918.
const STACK: f32 = 0.015;
/// Bounds of inverse temperatures and of the stack's weights.
const INVERSE_TEMPERATURE: [f32; 2] = [0.05, 50.0];
const WEIGHT_MAX: f32 = 4.0;

/// Where a value stands in the scale of the target.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ScaledTarget {
    pub value: f32,
    /// The stack learns from no larger error.
    pub reach: f32,
}

/// The factors on the rates of an example.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateFactors {
    /// Of labels that come late, on all but the inverse temperatures.
    pub slowness: f64,
    /// Of an example of a small weight: its weight.
    pub weight: f64,
}

/// Learns from the answers to a row and its truth.
pub(super) fn observe(
    portfolio: &mut Portfolio,
    (member_outputs, losses): (&MemberOutputs, &[f64]),
    target: Target,
    wanted: ScaledTarget,
    factors: RateFactors,
) {
    let n_outputs = portfolio.n_outputs();
    let eta = match target {
        Target::Value(_) => ETA_VALUE,
        _ => ETA,
    };
    let (both, weight) = (factors.slowness * factors.weight, factors.weight as f32);
    reweigh(&mut portfolio.pool.weights, losses, eta * both);
    let pool = &mut portfolio.pool;
    match target {
        Target::Class(class) => {
            let class = class as usize;
            let mixture = pool.mixture(&member_outputs.outputs, n_outputs);
            let mixed = pool.mix(&member_outputs.outputs, n_outputs, true);
            let members = member_outputs.scores.chunks_exact(n_outputs);
            let answered = member_outputs.outputs.chunks_exact(n_outputs);
            for ((scores, p), inverse_temperature) in
                members.zip(answered).zip(&mut pool.inverse_temperature)
            {
                follow(inverse_temperature, (scores, p), class, weight);
            }
            let scores: Vec<f32> = mixture.into_iter().map(log).collect();
            if let Some(inverse_temperature) = pool.inverse_temperature.last_mut() {
                follow(inverse_temperature, (&scores, &mixed), class, weight);
            }
            stack_classes(pool, &member_outputs.outputs, class, both as f32);
        }
        Target::Value(_) => stack_values(pool, &member_outputs.outputs, wanted, weight),
        Target::Reward { .. } | Target::BestAction(_) | Target::Correction { .. } => {}
    }
}

/// Learns by how much more, or less, each member has lost than was learned of it.
pub(super) fn amend(weights: &mut [f64], losses: &[f64]) {
    reweigh(weights, losses, ETA);
}

fn reweigh(weights: &mut [f64], losses: &[f64], eta: f64) {
    let n = weights.len() as f64;
    for (weight, loss) in weights.iter_mut().zip(losses) {
        *weight *= (-eta * loss).exp();
    }
    let total: f64 = weights.iter().sum();
    for weight in weights.iter_mut() {
        *weight = (1.0 - ALPHA) * *weight / total + ALPHA / n;
    }
}

/// One step of the inverse temperature down the log loss of `p`, which is the softmax of it times
/// `scores`, by so much of the rate.
fn follow(inverse_temperature: &mut f32, (scores, p): (&[f32], &[f32]), class: usize, weight: f32) {
    let expected: f32 = scores.iter().zip(p).map(|(score, p)| score * p).sum();
    let derivative = (expected - scores[class]) * *inverse_temperature;
    let step = weight * INVERSE_TEMPERATURE_RATE * derivative.clamp(-5.0, 5.0);
    let moved = *inverse_temperature * (-step).exp();
    *inverse_temperature = moved.clamp(INVERSE_TEMPERATURE[0], INVERSE_TEMPERATURE[1]);
}

fn stack_classes(pool: &mut Pool, member_outputs: &[f32], class: usize, factor: f32) {
    let n_members = pool.stack.len();
    let n_outputs = member_outputs.len() / (n_members + 1);
    let stacked = member_outputs[n_members * n_outputs..].to_vec();
    let members = member_outputs.chunks_exact(n_outputs).take(n_members);
    let gradient: Vec<f32> = members
        .map(|p| {
            let expected: f32 = p.iter().zip(&stacked).map(|(p, s)| log(*p) * s).sum();
            expected - log(p[class])
        })
        .collect();
    let squares: f32 = gradient
        .iter()
        .map(|derivative| derivative * derivative)
        .sum();
    let rate = 4.0 * STACK * factor / (1.0 + squares / n_members as f32);
    for (weight, derivative) in pool.stack.iter_mut().zip(gradient) {
        *weight = (*weight - rate * derivative).clamp(-WEIGHT_MAX, WEIGHT_MAX);
    }
}

fn stack_values(pool: &mut Pool, member_outputs: &[f32], wanted: ScaledTarget, factor: f32) {
    let n_members = pool.stack.len();
    let error = member_outputs[n_members] - wanted.value;
    let error = error.clamp(-wanted.reach, wanted.reach);
    let squares: f32 = member_outputs[..n_members]
        .iter()
        .map(|value| value * value)
        .sum();
    let rate = factor * STACK / (0.1 + squares);
    for (weight, value) in pool.stack.iter_mut().zip(member_outputs) {
        *weight = (*weight - rate * error * value).clamp(-WEIGHT_MAX, WEIGHT_MAX);
    }
}

pub(super) fn save(pool: &Pool) -> Tensors {
    let mut tensors = Tensors::default();
    tensors.put_f64("shares", &[pool.weights.len()], pool.weights.clone());
    tensors.put_f32(
        "sharpness",
        &[pool.inverse_temperature.len()],
        pool.inverse_temperature.clone(),
    );
    tensors.put_f32("stack", &[pool.stack.len()], pool.stack.clone());
    tensors
}

pub(super) fn load(pool: &mut Pool, tensors: &mut Tensors) -> Result<(), Error> {
    let wrong = |name: &str, what: String| Err(Error::value(name, what));
    let weights = tensors.take_f64("shares", &[Some(pool.weights.len())])?;
    let sum: f64 = weights.iter().sum();
    if !weights.iter().all(|weight| *weight > 0.0) || !(0.999..1.001).contains(&sum) {
        return wrong("shares", format!("{weights:?} are no shares of one"));
    }
    let inverse_temperature =
        tensors.take_f32("sharpness", &[Some(pool.inverse_temperature.len())])?;
    let [low, high] = INVERSE_TEMPERATURE;
    if !inverse_temperature
        .iter()
        .all(|one| (low..=high).contains(one))
    {
        return wrong("sharpness", format!("{inverse_temperature:?}"));
    }
    let stack = tensors.take_f32("stack", &[Some(pool.stack.len())])?;
    if !stack.iter().all(|weight| weight.abs() <= WEIGHT_MAX) {
        return wrong("stack", format!("{stack:?}"));
    }
    *pool = Pool {
        weights,
        inverse_temperature,
        stack,
    };
    Ok(())
}
