//! How the weights of members follow what they earn.
//!
//! Shares `w` `[voices]` follow the fixed-share update (Herbster and Warmuth 1998): with losses `l`,
//! `v_i = w_i exp(-eta l_i)`, then `w_i = (1 - alpha) v_i / sum(v) + alpha / n`. Departures:
//! `alpha` is dealt out among all voices, not all but the one that it comes from, and shares are
//! brought back to a sum of one; the loss is not that of the prediction that is mixed, but for
//! classes the 0/1 loss of each voice, for values and rewards its clipped error; what is served is
//! the mean of the voices by their shares.
//!
//! One of the voices is a stack: a product of the members' probabilities with learned powers
//! (Genest and Zidek 1986, logarithmic pool), or a weighted sum of their values, whose weights
//! descend its loss. Sharpness descends each voice's log loss.
//!
//! Accuracies beside the constants are of elec2, weather and sea, whole, by the defaults.

use crate::model::weights::{Error, Tensors};
use crate::model::{Pool, Portfolio, Scale, Target, Voices, log};

/// How fast shares follow losses: 0.1 gave 0.9253, 0.8119 and 0.8900, 0.5 gives 0.9250, 0.8107 and
/// 0.8917, 2 gave 0.9224, 0.8062 and 0.8918.
const ETA: f64 = 0.5;
/// The same for values: their losses differ by little.
const ETA_VALUE: f64 = 2.0;
/// The part of all shares that is dealt out evenly after each example, so that a voice that was
/// bad can come back: 3e-5 gave 0.9250, 0.8105 and 0.8909, 3e-3 gave 0.9252, 0.8113 and 0.8913.
const SHARE: f64 = 3e-4;
/// How fast sharpness follows the log loss.
const SHARPEN: f32 = 0.01;
/// How fast the stack's weights follow its loss, in parts of the step that would remove it: 0.005
/// gave 0.9243, 0.8110 and 0.8916, 0.045 gave 0.9246, 0.8109 and 0.8918.
const STACK: f32 = 0.015;
/// Bounds of sharpness and of the stack's weights.
const SHARPNESS: [f32; 2] = [0.05, 50.0];
const WEIGHT_MAX: f32 = 4.0;

/// Learns from what was said of a row and what was true.
pub fn observe(
    portfolio: &mut Portfolio,
    voices: &Voices,
    losses: &[f64],
    target: Target,
    scale: &Scale,
) {
    let n_outputs = portfolio.n_outputs();
    let eta = match target {
        Target::Value(_) => ETA_VALUE,
        _ => ETA,
    };
    reweigh(&mut portfolio.pool.shares, losses, eta);
    let pool = &mut portfolio.pool;
    match target {
        Target::Class(class) => {
            let class = class as usize;
            let mixture = pool.mixture(&voices.outputs, n_outputs);
            let mixed = pool.mix(&voices.outputs, n_outputs, true);
            let members = voices.scores.chunks_exact(n_outputs);
            let said = voices.outputs.chunks_exact(n_outputs);
            for ((scores, p), sharpness) in members.zip(said).zip(&mut pool.sharpness) {
                follow(sharpness, scores, p, class);
            }
            let scores: Vec<f32> = mixture.into_iter().map(log).collect();
            if let Some(sharpness) = pool.sharpness.last_mut() {
                follow(sharpness, &scores, &mixed, class);
            }
            stack_classes(pool, &voices.outputs, n_outputs, class);
        }
        Target::Value(value) => stack_values(pool, &voices.outputs, scale.distance(value)),
        Target::Reward { .. } | Target::BestAction(_) | Target::Correction { .. } => {}
    }
}

/// Learns by how much more, or less, each voice has lost than was learned of it.
pub fn amend(shares: &mut [f64], losses: &[f64]) {
    reweigh(shares, losses, ETA);
}

fn reweigh(shares: &mut [f64], losses: &[f64], eta: f64) {
    let n = shares.len() as f64;
    for (share, loss) in shares.iter_mut().zip(losses) {
        *share *= (-eta * loss).exp();
    }
    let total: f64 = shares.iter().sum();
    for share in shares.iter_mut() {
        *share = (1.0 - SHARE) * *share / total + SHARE / n;
    }
}

/// One step of sharpness down the log loss of `p`, which is the softmax of sharpness times
/// `scores`.
fn follow(sharpness: &mut f32, scores: &[f32], p: &[f32], class: usize) {
    let expected: f32 = scores.iter().zip(p).map(|(score, p)| score * p).sum();
    let slope = (expected - scores[class]) * *sharpness;
    let moved = *sharpness * (-SHARPEN * slope.clamp(-5.0, 5.0)).exp();
    *sharpness = moved.clamp(SHARPNESS[0], SHARPNESS[1]);
}

fn stack_classes(pool: &mut Pool, voices: &[f32], n_outputs: usize, class: usize) {
    let n_members = pool.stack.len();
    let stacked = voices[n_members * n_outputs..].to_vec();
    let members = voices.chunks_exact(n_outputs).take(n_members);
    let slopes: Vec<f32> = members
        .map(|p| {
            let expected: f32 = p.iter().zip(&stacked).map(|(p, s)| log(*p) * s).sum();
            expected - log(p[class])
        })
        .collect();
    let squares: f32 = slopes.iter().map(|slope| slope * slope).sum();
    let rate = 4.0 * STACK / (1.0 + squares / n_members as f32);
    for (weight, slope) in pool.stack.iter_mut().zip(slopes) {
        *weight = (*weight - rate * slope).clamp(-WEIGHT_MAX, WEIGHT_MAX);
    }
}

fn stack_values(pool: &mut Pool, voices: &[f32], wanted: f32) {
    let n_members = pool.stack.len();
    let error = voices[n_members] - wanted;
    let squares: f32 = voices[..n_members].iter().map(|value| value * value).sum();
    let rate = STACK / (0.1 + squares);
    for (weight, value) in pool.stack.iter_mut().zip(voices) {
        *weight = (*weight - rate * error * value).clamp(-WEIGHT_MAX, WEIGHT_MAX);
    }
}

pub fn save(pool: &Pool) -> Tensors {
    let mut tensors = Tensors::default();
    tensors.put_f64("shares", &[pool.shares.len()], pool.shares.clone());
    tensors.put_f32("sharpness", &[pool.sharpness.len()], pool.sharpness.clone());
    tensors.put_f32("stack", &[pool.stack.len()], pool.stack.clone());
    tensors
}

pub fn load(pool: &mut Pool, tensors: &mut Tensors) -> Result<(), Error> {
    let wrong = |name: &str, what: String| Err(Error::value(name, what));
    let shares = tensors.take_f64("shares", &[Some(pool.shares.len())])?;
    let sum: f64 = shares.iter().sum();
    if !shares.iter().all(|share| *share > 0.0) || !(0.999..1.001).contains(&sum) {
        return wrong("shares", format!("{shares:?} are no shares of one"));
    }
    let sharpness = tensors.take_f32("sharpness", &[Some(pool.sharpness.len())])?;
    let [low, high] = SHARPNESS;
    if !sharpness.iter().all(|one| (low..=high).contains(one)) {
        return wrong("sharpness", format!("{sharpness:?}"));
    }
    let stack = tensors.take_f32("stack", &[Some(pool.stack.len())])?;
    if !stack.iter().all(|weight| weight.abs() <= WEIGHT_MAX) {
        return wrong("stack", format!("{stack:?}"));
    }
    *pool = Pool {
        shares,
        sharpness,
        stack,
    };
    Ok(())
}
