//! `kind = "auto"`: a portfolio whose members all learn, mixed by what each would have earned.
//!
//! Fixed share (Herbster and Warmuth 1998) on losses in [0, 1]: for classes the 0/1 loss of each
//! member, for values and rewards its clipped error. Members are scored before they learn.
//! Departure: linear members take the implicit step on squared losses (Karampatziakis and
//! Langford 2011, eq. 6), so that no step size can make them diverge.

use crate::model::weights::{Error, Tensors};
use crate::model::{self, Encoded, Last, Portfolio, STEP_SIZES, Scale, Spec, Target, argmax};

/// How fast shares follow losses.
const ETA: f64 = 0.5;
/// The part of all shares that is dealt out evenly after each example, so that a member that
/// was bad can come back.
const SHARE: f64 = 1e-3;
/// Examples over which the last-label member's claim is a plain average; older ones fade.
const CLAIM_HORIZON: f64 = 1000.0;
/// An error of so many deviations counts as a full loss.
const ERROR_MAX: f32 = 2.0;

/// A portfolio that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoLearner {
    pub portfolio: Portfolio,
}

impl AutoLearner {
    /// Members that know nothing.
    pub fn new(spec: &Spec, n_dense: usize) -> AutoLearner {
        AutoLearner {
            portfolio: Portfolio::new(&spec.task, n_dense, Self::n_buckets(spec)),
        }
    }

    /// How many buckets the hashed features of this description fall into.
    pub fn n_buckets(spec: &Spec) -> usize {
        model::n_buckets(spec, STEP_SIZES.len() * spec.task.n_outputs())
    }

    /// Learns one example; false where it was not finite, and then nothing has changed.
    ///
    /// `scores` receives what each member earned: 1 or 0 for a class, its absolute error for a
    /// value or reward, in the unit of the target.
    pub fn observe(
        &mut self,
        row: &Encoded,
        target: Target,
        scale: &Scale,
        scores: &mut Vec<f64>,
    ) -> bool {
        if let Target::Correction { .. } = target {
            return self.correct(row, target, scale);
        }
        let members = self.portfolio.members(row, scale);
        let n_outputs = members.len() / self.portfolio.shares.len();
        if !members.iter().all(|output| output.is_finite()) || !row.is_finite() {
            return false;
        }
        let losses: Vec<f64> = members
            .chunks_exact(n_outputs)
            .map(|outputs| {
                let (loss, score) = judge(outputs, target, scale);
                scores.push(score);
                loss
            })
            .collect();
        self.reweigh(&losses);
        let squared_length = 1.0
            + row.dense.iter().map(|x| x * x).sum::<f32>()
            + row.sparse.iter().map(|(_, x)| x * x).sum::<f32>();
        let mut slopes = members[..STEP_SIZES.len() * n_outputs].to_vec();
        for (slopes, step) in slopes.chunks_exact_mut(n_outputs).zip(STEP_SIZES) {
            let rate = match target {
                Target::Class(class) => {
                    slopes[class as usize] -= 1.0;
                    step
                }
                _ => {
                    let outputs = slopes.to_vec();
                    target.slopes(&outputs, scale, slopes);
                    step / (1.0 + step * squared_length)
                }
            };
            slopes.iter_mut().for_each(|slope| *slope *= rate);
        }
        self.portfolio.bank.descend(row, &slopes);
        if let Some(last) = &mut self.portfolio.last {
            learn_last(last, target);
        }
        true
    }

    /// Learns what the slopes lacked when the example came; nobody is scored again.
    fn correct(&mut self, row: &Encoded, target: Target, scale: &Scale) -> bool {
        if !row.is_finite() {
            return false;
        }
        let squared_length = 1.0
            + row.dense.iter().map(|x| x * x).sum::<f32>()
            + row.sparse.iter().map(|(_, x)| x * x).sum::<f32>();
        let n_outputs = self.portfolio.n_outputs();
        let mut slopes = vec![0.0; STEP_SIZES.len() * n_outputs];
        for (slopes, step) in slopes.chunks_exact_mut(n_outputs).zip(STEP_SIZES) {
            target.slopes(&[], scale, slopes);
            let rate = step / (1.0 + step * squared_length);
            slopes.iter_mut().for_each(|slope| *slope *= rate);
        }
        self.portfolio.bank.descend(row, &slopes);
        true
    }

    fn reweigh(&mut self, losses: &[f64]) {
        let shares = &mut self.portfolio.shares;
        let n_members = shares.len() as f64;
        for (share, loss) in shares.iter_mut().zip(losses) {
            *share *= (-ETA * loss).exp();
        }
        let total: f64 = shares.iter().sum();
        for share in shares.iter_mut() {
            *share = (1.0 - SHARE) * *share / total + SHARE / n_members;
        }
    }

    /// The weights that are served.
    pub fn weights(&self) -> Tensors {
        let mut tensors = self.portfolio.bank.save(&self.portfolio.names());
        let shares = self.portfolio.shares.clone();
        tensors.put_f64("shares", &[shares.len()], shares);
        if let Some(last) = &self.portfolio.last {
            let known = f64::from(u8::from(last.target.is_some()));
            let values = vec![known, last.target.unwrap_or(0.0), last.right, last.tried];
            tensors.put_f64("last", &[4], values);
        }
        tensors
    }

    /// Replaces everything learned by what was saved.
    pub fn load(&mut self, weights: &mut Tensors) -> Result<(), Error> {
        let names = self.portfolio.names();
        self.portfolio.bank.load(&names, weights)?;
        let shares = weights.take_f64("shares", &[Some(names.len())])?;
        let sound = shares.iter().all(|share| *share > 0.0) && shares.iter().sum::<f64>() < 1.001;
        if !sound {
            return Err(Error::Value {
                name: "shares".to_owned(),
                what: format!("{shares:?} are no shares of one"),
            });
        }
        self.portfolio.shares = shares;
        let (n_outputs, classes) = (self.portfolio.n_outputs(), self.portfolio.is_classes());
        if let Some(last) = &mut self.portfolio.last {
            let values = weights.take_f64("last", &[Some(4)])?;
            if classes && !(0.0..n_outputs as f64).contains(&values[1]) {
                return Err(Error::Value {
                    name: "last".to_owned(),
                    what: format!("class {} of {n_outputs}", values[1]),
                });
            }
            *last = Last {
                target: (values[0] == 1.0).then_some(values[1]),
                right: values[2],
                tried: values[3],
            };
        }
        Ok(())
    }
}

/// The loss in [0, 1] of one member's outputs, and its score as reports give it.
fn judge(outputs: &[f32], target: Target, scale: &Scale) -> (f64, f64) {
    let error = |index: usize, wanted: f64| {
        let error = (outputs[index] - scale.standardise(wanted)).abs();
        let loss = f64::from((error / ERROR_MAX).min(1.0));
        (
            loss,
            (f64::from(scale.restore(outputs[index])) - wanted).abs(),
        )
    };
    match target {
        Target::Class(class) => {
            let right = f64::from(u8::from(argmax(outputs) == class as usize));
            (1.0 - right, right)
        }
        Target::Value(value) => error(0, value),
        Target::Reward { action, reward } => error(action as usize, reward),
        Target::BestAction(best) => error(best as usize, 1.0),
        Target::Correction { .. } => (0.0, 0.0),
    }
}

fn learn_last(last: &mut Last, target: Target) {
    let Some(now) = target.truth() else {
        return;
    };
    if let Some(before) = last.target {
        let fade = 1.0 - 1.0 / CLAIM_HORIZON;
        last.right = last.right * fade + f64::from(u8::from(before == now));
        last.tried = last.tried * fade + 1.0;
    }
    last.target = Some(now);
}
