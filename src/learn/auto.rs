//! `kind = "auto"`: a portfolio whose members all learn, mixed by what each would have earned.
//!
//! Members are scored before they learn, and each learns from every example. Departure: linear
//! members take the implicit step on squared losses (Karampatziakis and Langford 2011, eq. 6), so
//! that no step size can make them diverge.

mod pool;

use super::analytic::{Recursion, Settings};
use super::gradient::GradientLearner;
use super::memory::Form;
use super::neighbours;
use crate::model::weights::{Error, Tensors};
use crate::model::{
    self, Encoded, Last, Network, Portfolio, RidgeWeights, Scale, Spec, Target, argmax, softmax,
};

/// Examples over which the last-label member's claim is a plain average; older ones fade.
const CLAIM_HORIZON: f64 = 1000.0;
/// Examples over which the length of a row is a plain average; older ones fade.
const LENGTH_HORIZON: f64 = 1000.0;
/// The penalty on the ridge regressions' squared weights.
const RIDGE: f64 = 1.0;
/// An error of so many deviations counts as a full loss.
const ERROR_MAX: f32 = 2.0;

/// A portfolio that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoLearner {
    pub portfolio: Portfolio,
    recursions: Vec<Recursion>,
    network: Option<Box<GradientLearner>>,
    /// Rows seen, up to the horizon, and their mean squared length, bias included.
    length: [f64; 2],
}

impl AutoLearner {
    /// Members that know nothing.
    pub fn new(spec: &Spec, n_dense: usize) -> AutoLearner {
        let portfolio = Portfolio::new(spec, n_dense, Self::n_buckets(spec));
        let recursion = |forgetting: &f64| {
            Recursion::new(Settings {
                n_features: portfolio.features.as_ref().map_or(1, |f| f.n_features()),
                n_outputs: portfolio.n_outputs(),
                forgetting: *forgetting,
                ridge: RIDGE,
            })
        };
        let forgetting = &portfolio.plan.forgetting[..portfolio.ridges.len()];
        let network = portfolio.plan.network.as_ref();
        AutoLearner {
            recursions: forgetting.iter().map(recursion).collect(),
            network: network.map(|s| Box::new(GradientLearner::new(&replaying(spec), s, n_dense))),
            length: [0.0, 0.0],
            portfolio,
        }
    }

    /// How many buckets the hashed features of this description fall into.
    pub fn n_buckets(spec: &Spec) -> usize {
        let plan = model::Plan::new(spec, 0);
        model::n_buckets(spec, plan.steps.len() * spec.task.n_outputs())
    }

    /// The network as it is now, where there is one.
    pub fn network(&self) -> Option<Network> {
        self.network.as_ref().map(|learner| learner.network())
    }

    /// Examples in memory.
    pub fn n_remembered(&self) -> usize {
        let replayed = self
            .network
            .as_ref()
            .map_or(0, |network| network.n_remembered());
        self.portfolio.memory.len() + replayed
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
        let network = self.network();
        let voices = self.portfolio.voices(row, scale, network.as_ref());
        let n_outputs = self.portfolio.n_outputs();
        if !voices.outputs.iter().all(|output| output.is_finite()) || !row.is_finite() {
            return false;
        }
        if let Target::Correction { .. } = target {
            // Nobody is scored again; the slopes lacked this when the example came.
            self.learn_linear(row, &voices.scores, target, scale);
            if let Some(network) = &mut self.network {
                network.observe(row.clone(), target, scale);
            }
            return true;
        }
        let losses: Vec<f64> = voices
            .outputs
            .chunks_exact(n_outputs)
            .map(|outputs| {
                let (loss, score) = judge(outputs, target, scale);
                scores.push(score);
                loss
            })
            .collect();
        pool::observe(&mut self.portfolio, &voices, &losses, target, scale);
        self.learn_linear(row, &voices.scores, target, scale);
        self.learn_ridges(&voices.phi, target, scale);
        if let Some(network) = &mut self.network {
            network.observe(row.clone(), target, scale);
        }
        let portfolio = &mut self.portfolio;
        portfolio.memory.push(row, target);
        portfolio.past.observe(target);
        if let Some(last) = &mut portfolio.last {
            learn_last(last, target);
        }
        true
    }

    fn learn_linear(&mut self, row: &Encoded, scores: &[f32], target: Target, scale: &Scale) {
        let squared_length = 1.0
            + row.dense.iter().map(|x| x * x).sum::<f32>()
            + row.sparse.iter().map(|(_, x)| x * x).sum::<f32>();
        let [count, mean] = &mut self.length;
        *count = (*count + 1.0).min(LENGTH_HORIZON);
        *mean += (f64::from(squared_length) - *mean) / *count;
        let typical = *mean as f32;
        let steps = self.portfolio.plan.steps;
        let n_outputs = self.portfolio.n_outputs();
        let mut slopes = scores[..steps.len() * n_outputs].to_vec();
        for (slopes, step) in slopes.chunks_exact_mut(n_outputs).zip(steps) {
            let step = step / typical;
            let rate = match target {
                Target::Class(class) => {
                    softmax(slopes);
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
    }

    fn learn_ridges(&mut self, phi: &[f32], target: Target, scale: &Scale) {
        let mut targets = vec![0.0; self.portfolio.n_outputs()];
        match target {
            Target::Class(class) => targets[class as usize] = 1.0,
            Target::Value(value) => targets[0] = scale.standardise(value),
            Target::Reward { .. } | Target::BestAction(_) | Target::Correction { .. } => return,
        }
        let served = self.portfolio.ridges.iter_mut();
        for (recursion, served) in self.recursions.iter_mut().zip(served) {
            recursion.observe(phi, &targets);
            *served = served_weights(recursion);
        }
    }

    /// The weights that are served.
    pub fn weights(&self) -> Tensors {
        let portfolio = &self.portfolio;
        let mut tensors = portfolio.bank.save(&portfolio.linear_names());
        tensors.nest("pool", pool::save(&portfolio.pool));
        tensors.nest(
            "memory",
            neighbours::save(&portfolio.memory, &portfolio.past),
        );
        for (index, recursion) in self.recursions.iter().enumerate() {
            tensors.nest(&format!("ridge.{index}"), recursion.weights());
        }
        if let Some(network) = &self.network {
            tensors.nest("network", network.weights());
        }
        if let Some(last) = &portfolio.last {
            let known = f64::from(u8::from(last.target.is_some()));
            let values = vec![known, last.target.unwrap_or(0.0), last.right, last.tried];
            tensors.put_f64("last", &[4], values);
        }
        tensors
    }

    /// All else that learning goes on from.
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_f64("length", &[2], self.length.to_vec());
        for (index, recursion) in self.recursions.iter().enumerate() {
            tensors.nest(&format!("ridge.{index}"), recursion.state());
        }
        if let Some(network) = &self.network {
            tensors.nest("network", network.state());
        }
        tensors
    }

    /// Replaces everything learned by what was saved.
    pub fn load(
        &mut self,
        spec: &Spec,
        form: Form,
        weights: &mut Tensors,
        state: &mut Tensors,
    ) -> Result<(), Error> {
        let wrong = |name: &str, what: String| Error::Value {
            name: name.to_owned(),
            what,
        };
        let portfolio = &mut self.portfolio;
        portfolio.bank.load(&portfolio.linear_names(), weights)?;
        pool::load(&mut portfolio.pool, &mut weights.unnest("pool"))?;
        let (memory, past) = (&mut portfolio.memory, &mut portfolio.past);
        neighbours::load(
            memory,
            past,
            (&spec.task, form),
            &mut weights.unnest("memory"),
        )?;
        let length = state.take_f64("length", &[Some(2)])?;
        if !length.iter().all(|value| (0.0..1e30).contains(value)) {
            return Err(wrong("length", format!("{length:?}")));
        }
        self.length = [length[0], length[1]];
        for (index, recursion) in self.recursions.iter_mut().enumerate() {
            let name = format!("ridge.{index}");
            let (mut weights, mut state) = (weights.unnest(&name), state.unnest(&name));
            *recursion = Recursion::load(recursion.settings(), &mut weights, &mut state)?;
            portfolio.ridges[index] = served_weights(recursion);
        }
        if let Some(network) = &mut self.network {
            let (mut weights, mut state) = (weights.unnest("network"), state.unnest("network"));
            network.load(&replaying(spec), &mut weights, &mut state)?;
        }
        let (n_outputs, classes) = (portfolio.n_outputs(), portfolio.is_classes());
        if let Some(last) = &mut portfolio.last {
            let values = weights.take_f64("last", &[Some(4)])?;
            if classes && !(0.0..n_outputs as f64).contains(&values[1]) {
                return Err(wrong("last", format!("class {} of {n_outputs}", values[1])));
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

/// The description that the network member learns under.
fn replaying(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    spec.memory.strategy = model::Strategy::Er;
    spec.memory.replay = 16;
    spec.memory.long_term = 2000;
    spec
}

fn served_weights(recursion: &Recursion) -> RidgeWeights {
    let n_features = recursion.settings().n_features;
    RidgeWeights::new(n_features, recursion.served().collect())
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
