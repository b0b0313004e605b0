//! The answer that keeps: its updates by new examples and the anchors of the retention set.
//!
//! The powers descend the log loss of the kept answer, by a step that is normalised by the mean square
//! of its gradient; of a new example by a part of the step, since there are more of them than of
//! anchors. The weights of the three answers follow the fixed-share update (Herbster and Warmuth
//! 1998) on their 0/1 losses, where an anchor counts less than a new example: the current answer is given
//! up only for five times as much of the kept one. Figures beside the constants are of streams in
//! blocks and of elec2, in `benches/forgetting`.

use crate::model::weights::{Error, Tensors};
use crate::model::{KeptAnswers, RetainedAnswer, argmax};

/// How far the powers follow, in parts of the step that would remove the loss.
const STEP: f32 = 0.06;
/// The part of a step that a new example takes.
const STEP_NEW: f32 = 0.2;
const POWER_MAX: f32 = 4.0;
/// How fast the weights follow, and the part that is dealt out evenly after each loss.
const ETA: f64 = 0.1;
const ALPHA: f64 = 1e-4;
/// How much the loss of an anchor counts, of one for each example.
const KEPT: f64 = 0.2;
/// Examples over which the recent distribution fades.
const RECENT: f32 = 50.0;

/// The row whose class is known: a new example or an anchor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ExampleOrigin {
    /// A new example of this weight, at most 1, before it is learned.
    New { weight: f32 },
    /// An anchor, which was learned once; one is asked to `every` so many examples.
    Anchor { every: u64 },
}

/// Follows the answers to a row of this class, at `slowness` of the rates.
pub(super) fn observe(
    kept: &mut RetainedAnswer,
    answers: &KeptAnswers,
    class: u32,
    (evidence, slowness): (ExampleOrigin, f64),
) {
    let place = class as usize;
    let n_outputs = kept.recent.len();
    let p = &answers.answers[1];
    let logs = answers.logs.chunks_exact(n_outputs);
    let derivative = |logs: &[f32]| {
        let expected: f32 = logs.iter().zip(p).map(|(log, p)| log * p).sum();
        expected - logs[place]
    };
    let gradient: Vec<f32> = logs.map(derivative).collect();
    let squares: f32 = gradient.iter().map(|one| one * one).sum();
    let part = match evidence {
        ExampleOrigin::New { weight } => weight * STEP_NEW,
        ExampleOrigin::Anchor { .. } => 1.0,
    };
    let rate = slowness as f32 * part * STEP / (1.0 + squares / gradient.len() as f32);
    for (power, derivative) in kept.powers.iter_mut().zip(gradient) {
        *power = (*power - rate * derivative).clamp(0.0, POWER_MAX);
    }
    let counts = match evidence {
        ExampleOrigin::New { weight } => f64::from(weight),
        ExampleOrigin::Anchor { every } => KEPT * every as f64,
    };
    for (weight, answer) in kept.weights.iter_mut().zip(&answers.answers) {
        let loss = f64::from(u8::from(argmax(answer) != place));
        *weight *= (-ETA * slowness * counts * loss).exp();
    }
    let total: f64 = kept.weights.iter().sum();
    let n = kept.weights.len() as f64;
    for weight in &mut kept.weights {
        *weight = (1.0 - ALPHA) * *weight / total + ALPHA / n;
    }
    if let ExampleOrigin::New { weight } = evidence {
        for (other, recent) in kept.recent.iter_mut().enumerate() {
            let came = f32::from(u8::from(other == place));
            *recent += weight * (came - *recent) / RECENT;
        }
    }
}

/// F32 `powers` and `recent`, F64 `weights`.
pub(super) fn save(kept: &RetainedAnswer) -> Tensors {
    let mut tensors = Tensors::default();
    tensors.put_f32("powers", &[kept.powers.len()], kept.powers.clone());
    tensors.put_f32("recent", &[kept.recent.len()], kept.recent.clone());
    tensors.put_f64("weights", &[kept.weights.len()], kept.weights.to_vec());
    tensors
}

pub(super) fn load(kept: &mut RetainedAnswer, tensors: &mut Tensors) -> Result<(), Error> {
    let powers = tensors.take_f32("powers", &[Some(kept.powers.len())])?;
    if !powers.iter().all(|power| (0.0..=POWER_MAX).contains(power)) {
        return Err(Error::value("powers", format!("{powers:?}")));
    }
    let recent = tensors.take_f32("recent", &[Some(kept.recent.len())])?;
    let total: f32 = recent.iter().sum();
    if !recent.iter().all(|share| (0.0..=1.0).contains(share)) || !(0.99..1.01).contains(&total) {
        return Err(Error::value("recent", format!("shares of {total}")));
    }
    let weights = tensors.take_f64("weights", &[Some(kept.weights.len())])?;
    let total: f64 = weights.iter().sum();
    if !weights.iter().all(|weight| *weight > 0.0) || !(0.999..1.001).contains(&total) {
        return Err(Error::value("weights", format!("{weights:?}")));
    }
    kept.weights.copy_from_slice(&weights);
    (kept.powers, kept.recent) = (powers, recent);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Keep;

    /// Two members of two classes: the first knows both, the second repeats the current one.
    fn answers(kept: &RetainedAnswer, class: usize, current: usize) -> KeptAnswers {
        let p = |right: usize, sure: f32| {
            let mut p = vec![1.0 - sure; 2];
            p[right] = sure;
            p
        };
        let members = [p(class, 0.9), p(current, 0.99)].concat();
        kept.answers(p(current, 0.99), &members, &[1.0, 1.0])
    }

    #[test]
    fn anchors_win_over_what_is_current_where_nothing_is_lost_by_it() {
        let mut kept = RetainedAnswer::new(Keep::Balanced, 2, 2);
        for turn in 0..2_000 {
            let now = answers(&kept, 0, 0);
            observe(
                &mut kept,
                &now,
                0,
                (ExampleOrigin::New { weight: 1.0 }, 1.0),
            );
            let then = answers(&kept, turn % 2, 0);
            observe(
                &mut kept,
                &then,
                (turn % 2) as u32,
                (ExampleOrigin::Anchor { every: 2 }, 1.0),
            );
        }
        let old = answers(&kept, 1, 0).answers;
        assert_eq!(argmax(&kept.mix(&old)), 1, "{kept:?}");
        assert!(kept.powers[0] > kept.powers[1], "{kept:?}");
        let mut loaded = RetainedAnswer::new(Keep::Balanced, 2, 2);
        load(&mut loaded, &mut save(&kept)).expect("it was saved");
        assert_eq!(loaded, kept);
    }

    #[test]
    fn what_is_current_wins_where_anchors_cost_more() {
        let mut kept = RetainedAnswer::new(Keep::Balanced, 2, 2);
        for turn in 0..2_000u32 {
            // The first member is wrong now; of the anchors it knows a little more.
            let now = answers(&kept, 1, 0);
            observe(
                &mut kept,
                &now,
                0,
                (ExampleOrigin::New { weight: 1.0 }, 1.0),
            );
            let class = turn % 10;
            let then = answers(&kept, usize::from(class == 1), 0);
            observe(
                &mut kept,
                &then,
                u32::from(class == 1),
                (ExampleOrigin::Anchor { every: 2 }, 1.0),
            );
        }
        let now = answers(&kept, 1, 0).answers;
        assert_eq!(argmax(&kept.mix(&now)), 0, "{kept:?}");
    }
}
