//! `kind = "analytic"`: ridge regression on the inputs and on random features of them.
//!
//! Classes are regressed as one-hot targets on shared features (Zhuang et al. 2022, ACIL;
//! McDonnell et al. 2023, RanPAC): the order in which they come does not matter, and no example
//! is stored. Values and rewards are regressed in the scale of the target. Each action has a
//! regression of its own, fed where it was chosen; a correction teaches all of them.
//!
//! Invariant: an update is learned whole or not at all.

mod inverse_temperature;
mod recursion;

use std::ops::Range;

use super::example::{Amendment, Known, Outcome, weighted};
use super::retention::AnchorProbe;
use crate::learn::memory::{self, StoredExample, load_examples, save_examples};
use crate::model::weights::{Error, Tensors};
use crate::model::{
    self, Analytic, Encoded, RandomFeatureSettings, RandomFeatures, Rescale, Ridge, RidgeWeights,
    Scale, Scales, Spec, Target, Task, argmax,
};
pub(crate) use inverse_temperature::InverseTemperature;
pub(crate) use recursion::{Recursion, Settings};

/// Bytes that the matrices and weights of all outputs may take; features give way to it.
const BYTES_MAX: f64 = 512.0 * 1024.0 * 1024.0;
/// With more features than these, examples are learned in blocks: reading the matrix for each
/// would cost more than computing with it.
const SINGLE_MAX: usize = 1024;
/// The feature that is one in every row.
pub(crate) const BIAS: usize = 0;
/// Examples in such a block.
const BLOCK: usize = 64;

/// Regressions that learn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AnalyticLearner {
    settings: Analytic,
    features: RandomFeatures,
    /// The recursions: one, or one for each action.
    recursions: Vec<Recursion>,
    /// Classes have it.
    inverse_temperature: Option<InverseTemperature>,
    n_outputs: usize,
    is_bandit: bool,
    pending: Vec<StoredExample>,
}

impl AnalyticLearner {
    /// Regressions that have learned nothing.
    pub(crate) fn new(spec: &Spec, settings: &Analytic, n_dense: usize) -> AnalyticLearner {
        let n_outputs = spec.task.n_outputs();
        let is_bandit = matches!(spec.task, Task::Bandit { .. });
        let n_recursions = if is_bandit { n_outputs } else { 1 };
        let features = RandomFeatures::new(RandomFeatureSettings {
            seed: spec.seed,
            n_dense,
            n_buckets: Self::n_buckets(spec),
            n_units: settings.features,
            n_features_max: n_features_max(n_recursions, n_outputs),
        });
        let recursion = Recursion::new(Settings {
            n_features: features.n_features(),
            n_outputs: n_outputs / n_recursions,
            forgetting: settings.forgetting,
            ridge: settings.ridge,
        });
        let is_classes = matches!(spec.task, Task::Classification { .. });
        AnalyticLearner {
            settings: settings.clone(),
            features,
            recursions: vec![recursion; n_recursions],
            inverse_temperature: is_classes.then(InverseTemperature::default),
            n_outputs,
            is_bandit,
            pending: Vec::new(),
        }
    }

    /// The number of buckets of this description's hashed features.
    pub(crate) fn n_buckets(spec: &Spec) -> usize {
        model::n_buckets(spec, 1)
    }

    /// The function as it is now; matrices are shared, not copied.
    pub(crate) fn ridge(&self) -> Ridge {
        let posteriors = || self.recursions.iter().map(Recursion::posterior).collect();
        let weights = self.recursions.iter().flat_map(Recursion::served);
        Ridge {
            features: self.features.clone(),
            weights: RidgeWeights::new(self.features.n_features(), weights.collect()),
            inverse_temperature: self
                .inverse_temperature
                .as_ref()
                .map(InverseTemperature::factor),
            posteriors: self.is_bandit.then(posteriors),
        }
    }

    /// Asks an anchor of the retention set: whether the answer is right, as if the row had not been
    /// learned.
    pub(crate) fn ask(&self, anchor: &AnchorProbe) -> bool {
        let phi = self.features.phi(&anchor.row);
        let targets = anchor.one_hot(self.n_outputs);
        // Of those that wait for an update, the newest are not among the ones learned since.
        let n_since = anchor.n_since.saturating_sub(self.pending.len() as u64);
        let estimates = self.recursions[0].estimates_without(&phi, &targets, n_since);
        argmax(&estimates) == anchor.class as usize
    }

    /// Examples that wait for an update.
    pub(crate) fn n_waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes the settings of a changed description of the same shape.
    pub(crate) fn reconfigure(&mut self, settings: &Analytic) {
        self.settings = settings.clone();
        for recursion in &mut self.recursions {
            recursion.reconfigure(settings.forgetting, settings.ridge);
        }
    }

    /// Examples that make up one update.
    fn examples_per_update(&self) -> usize {
        let by_size = match self.features.n_features() {
            0..=SINGLE_MAX => 1,
            _ => BLOCK,
        };
        self.settings.examples_per_update.unwrap_or(by_size)
    }

    /// Learns one example, now or once enough have come.
    pub(crate) fn observe(&mut self, row: Encoded, known: Known, scale: &Scale) -> Outcome {
        let Known {
            target, example, ..
        } = known;
        if let Target::Correction { action, by, .. } = target {
            return match self.correct(&row, action as usize, by, scale) {
                false => Outcome::Rejected(1),
                true if self.pending.is_empty() => Outcome::Updated(0),
                true => Outcome::Waits,
            };
        }
        self.pending.push(StoredExample {
            row: row.into(),
            target,
            example,
            weight: known.weight,
            is_anchor: false,
            outputs: Vec::new(),
        });
        if self.pending.len() < self.examples_per_update() {
            return Outcome::Waits;
        }
        let examples = std::mem::take(&mut self.pending);
        let n_new = examples.len() as u64;
        let phi = examples
            .iter()
            .flat_map(|stored| self.features.phi(&stored.row.encoded(&Scales::default())));
        let phi: Vec<f32> = phi.collect();
        if !phi.iter().all(|x| x.is_finite()) {
            return Outcome::Rejected(n_new);
        }
        let n_features = self.features.n_features();
        if let Some(inverse_temperature) = &mut self.inverse_temperature {
            for (stored, phi) in examples.iter().zip(phi.chunks_exact(n_features)) {
                if let Target::Class(class) = stored.target {
                    let scores = self.recursions[0].scores(phi);
                    inverse_temperature.observe(&scores, class as usize, stored.weight);
                }
            }
        }
        for (index, recursion) in self.recursions.iter_mut().enumerate() {
            let (mut rows, mut wanted) = (Vec::new(), Vec::new());
            for (stored, phi) in examples.iter().zip(phi.chunks_exact(n_features)) {
                let (mut targets, weight) = (Vec::new(), stored.weight);
                if push_targets(stored.target, index, self.n_outputs, scale, &mut targets) {
                    rows.extend_from_slice(&weighted(phi, weight));
                    wanted.extend_from_slice(&weighted(&targets, weight));
                }
            }
            recursion.observe(&rows, &wanted);
        }
        Outcome::Updated(n_new)
    }

    /// Makes good an example that turned out to be another: every regression is as if it had been
    /// that from the start.
    pub(crate) fn amend(&mut self, row: &Encoded, amendment: &Amendment, scale: &Scale) -> Outcome {
        let waits = |stored: &&mut StoredExample| stored.example == Some(amendment.example);
        if let Some(stored) = self.pending.iter_mut().find(waits) {
            stored.target = amendment.after;
            return Outcome::Waits;
        }
        let (phi, weight) = (self.features.phi(row), amendment.weight);
        for (index, recursion) in self.recursions.iter_mut().enumerate() {
            let wanted = |target| {
                let mut wanted = Vec::new();
                let has_some = push_targets(target, index, self.n_outputs, scale, &mut wanted);
                has_some.then(|| weighted(&wanted, weight).into_owned())
            };
            let left = recursion.left_after(amendment.n_since);
            if let (Some(before), Some(after)) = (wanted(amendment.before), wanted(amendment.after))
                && !recursion.amend(&weighted(&phi, weight), [&before, &after], left)
            {
                return Outcome::Rejected(0);
            }
        }
        if let (Some(inverse_temperature), Target::Class(class)) =
            (&mut self.inverse_temperature, amendment.after)
        {
            // The gradient of the example depended on the estimates of that time.
            let scores = self.recursions[0].scores(&phi);
            inverse_temperature.observe(&scores, class as usize, weight);
        }
        Outcome::Updated(0)
    }

    /// Expresses the learned state in another scale of rewards.
    pub(crate) fn rescale(&mut self, change: Rescale) {
        for recursion in &mut self.recursions {
            let shifts = vec![change.shift; recursion.settings().n_outputs];
            recursion.rescale(change.factor, &shifts, BIAS);
        }
    }

    /// Corrects a learned row whose reward or value was larger by `delta`, in the unit of
    /// the target. No new example is counted. False where a number is not finite.
    pub(crate) fn correct(
        &mut self,
        row: &Encoded,
        output_index: usize,
        delta: f64,
        scale: &Scale,
    ) -> bool {
        let variance = scale.variance();
        let deviation = variance.sqrt().max(f64::MIN_POSITIVE);
        let delta = (delta / deviation).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        let phi = self.features.phi(row);
        if self.is_bandit {
            self.recursions[output_index].correct(&phi, 0, delta)
        } else {
            self.recursions[0].correct(&phi, output_index, delta)
        }
    }

    /// The weights that are served.
    pub(crate) fn weights(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, recursion) in self.named() {
            tensors.nest(&name, recursion.weights());
        }
        if let Some(inverse_temperature) = &self.inverse_temperature {
            inverse_temperature.save(&mut tensors);
        }
        tensors
    }

    /// All else that learning goes on from.
    pub(crate) fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, recursion) in self.named() {
            tensors.nest(&name, recursion.state());
        }
        tensors.nest("pending", save_examples(self.pending.iter()));
        tensors
    }

    fn named(&self) -> impl Iterator<Item = (String, &Recursion)> {
        let numbers: Range<usize> = 0..self.recursions.len();
        numbers.map(name).zip(&self.recursions)
    }

    /// Replaces the learned state by a saved one.
    pub(crate) fn load(&mut self, weights: &mut Tensors, state: &mut Tensors) -> Result<(), Error> {
        for (index, recursion) in self.recursions.iter_mut().enumerate() {
            let mut weights = weights.unnest(&name(index));
            let mut state = state.unnest(&name(index));
            *recursion = Recursion::load(recursion.settings(), &mut weights, &mut state)?;
        }
        if let Some(inverse_temperature) = &mut self.inverse_temperature {
            *inverse_temperature = InverseTemperature::load(weights)?;
        }
        let form = self.features.form();
        let form = memory::ExampleBounds {
            n_dense: form.n_dense,
            n_buckets: form.n_buckets,
            n_outputs: self.n_outputs,
            ..memory::ExampleBounds::default()
        };
        self.pending = load_examples(form, &mut state.unnest("pending"))?;
        Ok(())
    }
}

/// The name that a regression is saved under.
fn name(index: usize) -> String {
    format!("ridge-{index}")
}

/// The number of features that the budget of bytes has room for: two matrices of f64 for each regression, and
/// moments and weights for each output.
fn n_features_max(n_recursions: usize, n_outputs: usize) -> usize {
    let (squares, lines) = (16.0 * n_recursions as f64, 20.0 * n_outputs as f64);
    let root = (lines * lines + 4.0 * squares * BYTES_MAX).sqrt();
    ((root - lines) / (2.0 * squares)).max(1.0) as usize
}

/// Appends the value that regression `index` learns of a target; false where that is nothing.
fn push_targets(
    target: Target,
    index: usize,
    n_outputs: usize,
    scale: &Scale,
    wanted: &mut Vec<f32>,
) -> bool {
    let standardised = match target {
        Target::Class(class) => {
            let is_class = |output| f32::from(u8::from(output == class as usize));
            wanted.extend((0..n_outputs).map(is_class));
            return true;
        }
        Target::Value(value) => scale.standardise(value),
        Target::Correction { .. } => return false,
        Target::Reward { action, .. } if action as usize != index => return false,
        Target::Reward { reward, .. } => scale.standardise(reward),
        Target::BestAction(best) => scale.standardise(f64::from(u8::from(best as usize == index))),
    };
    wanted.push(standardised);
    true
}

#[cfg(test)]
mod tests;
