//! All that is learned, of either kind: what a restore brings back, and what the digest covers.
//!
//! Invariant: nothing here knows positions, times, versions or which predictions wait.

use std::sync::Arc;

use super::analytic::AnalyticLearner;
use super::auto::AutoLearner;
use super::gradient::{GradientLearner, Outcome};
use crate::event::Batch;
use crate::model::weights::{Error, Tensors};
use crate::model::{Encoder, Function, LearnerKind, Model, Scale, Spec, Target};

/// What is learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    encoder: Encoder,
    target: Scale,
    kind: Kind,
    n_examples: u64,
}

/// How it is learned.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Gradient(Box<GradientLearner>),
    Analytic(Box<AnalyticLearner>),
    Auto(AutoLearner),
}

impl Learned {
    /// Nothing yet.
    pub fn new(spec: &Spec) -> Learned {
        let n_buckets = match &spec.learner {
            LearnerKind::Auto => AutoLearner::n_buckets(spec),
            LearnerKind::Gradient(settings) => GradientLearner::n_buckets(spec, settings),
            LearnerKind::Analytic(_) => AnalyticLearner::n_buckets(spec),
        };
        let encoder = Encoder::new(spec, n_buckets);
        let n_dense = encoder.n_dense();
        let kind = match &spec.learner {
            LearnerKind::Auto => Kind::Auto(AutoLearner::new(spec, n_dense)),
            LearnerKind::Gradient(settings) => {
                Kind::Gradient(Box::new(GradientLearner::new(spec, settings, n_dense)))
            }
            LearnerKind::Analytic(settings) => {
                Kind::Analytic(Box::new(AnalyticLearner::new(spec, settings, n_dense)))
            }
        };
        Learned {
            encoder,
            target: Scale::default(),
            kind,
            n_examples: 0,
        }
    }

    /// The function as it is now, for good.
    pub fn model(&self, spec: &Arc<Spec>) -> Model {
        Model {
            spec: spec.clone(),
            encoder: self.encoder.clone(),
            target: self.target,
            function: match &self.kind {
                Kind::Gradient(learner) => Function::Network(learner.network()),
                Kind::Analytic(learner) => Function::Ridge(learner.ridge()),
                Kind::Auto(learner) => Function::Portfolio(learner.portfolio.clone()),
            },
        }
    }

    /// Examples learned.
    pub fn n_examples(&self) -> u64 {
        self.n_examples
    }

    /// Examples in memory.
    pub fn n_remembered(&self) -> usize {
        match &self.kind {
            Kind::Gradient(learner) => learner.n_remembered(),
            Kind::Analytic(_) | Kind::Auto(_) => 0,
        }
    }

    /// The members of a portfolio with their shares.
    pub fn shares(&self) -> Vec<(String, f64)> {
        match &self.kind {
            Kind::Gradient(_) | Kind::Analytic(_) => Vec::new(),
            Kind::Auto(learner) => {
                let names = learner.portfolio.names().into_iter();
                names
                    .zip(learner.portfolio.shares.iter().copied())
                    .collect()
            }
        }
    }

    /// Takes the settings of a changed description of the same shape.
    pub(super) fn reconfigure(&mut self, spec: &Spec) {
        match (&mut self.kind, &spec.learner) {
            (Kind::Gradient(learner), LearnerKind::Gradient(settings)) => {
                learner.reconfigure(spec, settings);
            }
            (Kind::Analytic(learner), LearnerKind::Analytic(settings)) => {
                learner.reconfigure(settings);
            }
            _ => {}
        }
    }

    /// Learns row `row` of `batch`; `scores` receives what each member earned before it learned.
    pub(super) fn observe(
        &mut self,
        batch: &Batch,
        row: usize,
        target: Target,
        scores: &mut Vec<f64>,
    ) -> Outcome {
        self.encoder.observe(batch, row);
        target.observe(&mut self.target);
        let encoded = self.encoder.encode(batch, row);
        let outcome = match &mut self.kind {
            Kind::Gradient(learner) => learner.observe(encoded, target, &self.target),
            Kind::Analytic(learner) => learner.observe(encoded, target, &self.target),
            Kind::Auto(learner) => match learner.observe(&encoded, target, &self.target, scores) {
                true => Outcome::Updated(1),
                false => Outcome::Rejected(1),
            },
        };
        if let Outcome::Updated(n_examples) = outcome {
            self.n_examples += n_examples;
        }
        outcome
    }

    /// The value or reward that was learned of a row is larger by `delta` after all; false where
    /// this kind cannot take that back, or the number is not finite.
    pub fn correct(&mut self, batch: &Batch, row: usize, output_index: usize, delta: f64) -> bool {
        let encoded = self.encoder.encode(batch, row);
        match &mut self.kind {
            Kind::Analytic(learner) => learner.correct(&encoded, output_index, delta, &self.target),
            Kind::Gradient(_) | Kind::Auto(_) => false,
        }
    }

    /// The weights that are served.
    pub fn weights(&self) -> Tensors {
        match &self.kind {
            Kind::Gradient(learner) => learner.weights(),
            Kind::Analytic(learner) => learner.weights(),
            Kind::Auto(learner) => learner.weights(),
        }
    }

    /// All else that was learned.
    pub fn state(&self) -> Tensors {
        let mut tensors = match &self.kind {
            Kind::Gradient(learner) => learner.state(),
            Kind::Analytic(learner) => learner.state(),
            Kind::Auto(_) => Tensors::default(),
        };
        tensors.put_u64("n_examples", &[1], vec![self.n_examples]);
        tensors.put_f64("target", &[3], self.target.moments().to_vec());
        tensors.nest("encoder", self.encoder.save());
        tensors
    }

    /// BLAKE3 over all of it.
    pub fn digest(&self) -> [u8; 32] {
        let mut all = Tensors::default();
        all.nest("weights", self.weights());
        all.nest("state", self.state());
        all.digest()
    }

    /// Reads back what [`Learned::weights`] and [`Learned::state`] gave.
    ///
    /// # Errors
    /// When the tensors are not of this description.
    pub fn load(spec: &Spec, weights: &mut Tensors, state: &mut Tensors) -> Result<Learned, Error> {
        let mut learned = Learned::new(spec);
        let n_buckets = match &spec.learner {
            LearnerKind::Auto => AutoLearner::n_buckets(spec),
            LearnerKind::Gradient(settings) => GradientLearner::n_buckets(spec, settings),
            LearnerKind::Analytic(_) => AnalyticLearner::n_buckets(spec),
        };
        let moments = state.take_f64("target", &[Some(3)])?;
        learned.target = Scale::from_moments([moments[0], moments[1], moments[2]]);
        learned.n_examples = state.take_u64("n_examples", &[Some(1)])?[0];
        learned.encoder = Encoder::load(spec, n_buckets, &mut state.unnest("encoder"))?;
        match &mut learned.kind {
            Kind::Gradient(learner) => learner.load(spec, weights, state)?,
            Kind::Analytic(learner) => learner.load(weights, state)?,
            Kind::Auto(learner) => learner.load(weights)?,
        }
        Ok(learned)
    }
}
