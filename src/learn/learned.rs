//! All that is learned, of any kind: what a restore brings back, and what the digest covers.
//!
//! Invariant: nothing here knows positions, times, versions or which predictions wait.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::adapters::AdapterLearner;
use super::analytic::AnalyticLearner;
use super::auto::AutoLearner;
use super::gradient::{GradientLearner, Measure, Outcome};
use super::memory::Form;
use super::neighbours::NeighboursLearner;
use crate::event::{Batch, Column};
use crate::model::weights::{Error, Foreign, Tensors};
use crate::model::{
    self, Adapters, Device, Encoder, Function, Input, InputKind, LearnerKind, Model, Parameters,
    Scale, Spec, Target, TextEncoder,
};

/// What is learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// Of the texts whose encoders learn, by the place of their input.
    adapters: Vec<Option<AdapterLearner>>,
    encoder: Encoder,
    target: Scale,
    kind: Kind,
    n_examples: u64,
    /// The classes or actions known by now, in the order of the outputs.
    names: Arc<Vec<String>>,
}

/// How it is learned.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Gradient(Box<GradientLearner>),
    Analytic(Box<AnalyticLearner>),
    Auto(Box<AutoLearner>),
    Neighbours(NeighboursLearner),
}

/// An example that was learned, and turns out to be another one than it was learned as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amendment {
    /// The id that it was learned under.
    pub example: u128,
    /// What it was learned as.
    pub before: Target,
    /// What it is.
    pub after: Target,
    /// [`Learned::n_examples`] when it was learned.
    pub learned_at: u64,
}

impl Learned {
    /// Nothing yet.
    pub fn new(spec: &Spec) -> Learned {
        let n_buckets = match &spec.learner {
            LearnerKind::Auto => AutoLearner::n_buckets(spec),
            LearnerKind::Gradient(settings) => GradientLearner::n_buckets(spec, settings),
            LearnerKind::Neighbours(_) => model::n_buckets(spec, 1),
            LearnerKind::Analytic(_) => AnalyticLearner::n_buckets(spec),
        };
        let encoder = Encoder::new(spec, n_buckets);
        let n_dense = encoder.n_dense();
        let kind = match &spec.learner {
            LearnerKind::Auto => Kind::Auto(Box::new(AutoLearner::new(spec, n_dense))),
            LearnerKind::Gradient(settings) => {
                Kind::Gradient(Box::new(GradientLearner::new(spec, settings, n_dense)))
            }
            LearnerKind::Analytic(settings) => {
                Kind::Analytic(Box::new(AnalyticLearner::new(spec, settings, n_dense)))
            }
            LearnerKind::Neighbours(settings) => {
                Kind::Neighbours(NeighboursLearner::new(spec, settings, n_dense))
            }
        };
        let adapters = |input: &Input| match input.kind {
            InputKind::Embedded {
                adapters: Some(shape),
                length,
                ..
            } => Some(AdapterLearner::new(
                shape,
                length,
                spec.task.n_outputs(),
                spec.seed,
            )),
            _ => None,
        };
        Learned {
            adapters: spec.inputs.iter().map(adapters).collect(),
            encoder,
            target: spec.scale(),
            kind,
            n_examples: 0,
            names: Arc::new(spec.task.names().to_vec()),
        }
    }

    /// Nothing yet, but for the weights that the network arrives with.
    ///
    /// # Errors
    /// Names the first tensor that does not fit the description.
    pub fn starting(spec: &Spec, file: &Foreign) -> Result<Learned, Error> {
        let mut learned = Learned::new(spec);
        if let (Kind::Gradient(learner), LearnerKind::Gradient(settings)) =
            (&mut learned.kind, &spec.learner)
        {
            let (widths, n_buckets) = (model::widths(spec, settings), learned.encoder.n_buckets());
            learner.start(Parameters::starting(&widths, n_buckets, file)?);
        }
        Ok(learned)
    }

    /// The function as it is now, for good.
    pub fn model(&self, spec: &Arc<Spec>) -> Model {
        Model {
            spec: spec.clone(),
            names: self.names.clone(),
            n_examples: self.n_examples,
            adapters: self.adapters().collect(),
            encoder: self.encoder.clone(),
            target: self.target,
            function: match &self.kind {
                Kind::Gradient(learner) => Function::Network(learner.network_on(spec.device)),
                Kind::Analytic(learner) => Function::Ridge(learner.ridge()),
                Kind::Auto(learner) => Function::Portfolio {
                    portfolio: Box::new(learner.portfolio.clone()),
                    network: learner.network(),
                },
                Kind::Neighbours(learner) => Function::Neighbours(learner.nearest.clone()),
            },
        }
    }

    /// What the text encoders have learned, by the place of their input.
    pub fn adapters(&self) -> impl Iterator<Item = Option<Arc<Adapters>>> {
        let adapters = |learner: &AdapterLearner| learner.adapters().clone();
        self.adapters
            .iter()
            .map(move |learner| learner.as_ref().map(adapters))
    }

    /// The classes or actions known by now, in the order of the outputs.
    pub fn names(&self) -> &Arc<Vec<String>> {
        &self.names
    }

    /// The place of a class; one never seen takes the next place, while `classes_max` allows.
    pub(super) fn place(&mut self, class: &str, classes_max: usize) -> Option<u32> {
        let place = self.names.iter().position(|known| known == class);
        if place.is_none() && self.names.len() < classes_max {
            Arc::make_mut(&mut self.names).push(class.to_owned());
            return Some(self.names.len() as u32 - 1);
        }
        place.map(|place| place as u32)
    }

    /// Examples learned.
    pub fn n_examples(&self) -> u64 {
        self.n_examples
    }

    /// Examples in memory.
    pub fn n_remembered(&self) -> usize {
        match &self.kind {
            Kind::Gradient(learner) => learner.n_remembered(),
            Kind::Analytic(_) => 0,
            Kind::Auto(learner) => learner.n_remembered(),
            Kind::Neighbours(learner) => learner.nearest.memory.len(),
        }
    }

    /// The members of a portfolio with their shares.
    pub fn shares(&self) -> Vec<(String, f64)> {
        match &self.kind {
            Kind::Gradient(_) | Kind::Analytic(_) | Kind::Neighbours(_) => Vec::new(),
            Kind::Auto(learner) => {
                let names = learner.portfolio.names().into_iter();
                names
                    .zip(learner.portfolio.pool.shares.iter().copied())
                    .collect()
            }
        }
    }

    /// Takes the settings of a changed description of the same shape.
    pub(super) fn reconfigure(&mut self, spec: &Spec) {
        for (place, _, settings) in spec.adapted_encoders() {
            if let Some(learner) = &mut self.adapters[place] {
                learner.reconfigure(settings);
            }
        }
        match (&mut self.kind, &spec.learner) {
            (Kind::Gradient(learner), LearnerKind::Gradient(settings)) => {
                learner.reconfigure(spec, settings);
            }
            (Kind::Analytic(learner), LearnerKind::Analytic(settings)) => {
                learner.reconfigure(settings);
            }
            (Kind::Neighbours(learner), LearnerKind::Neighbours(settings)) => {
                learner.reconfigure(settings);
            }
            _ => {}
        }
    }

    /// Has a network computed on this device from now on; other kinds pass it by.
    pub(super) fn move_to(&mut self, device: Device) {
        if let Kind::Gradient(learner) = &mut self.kind {
            learner.move_to(device);
        }
    }

    /// Learns row `row` of `batch`; `scores` receives what each member earned before it learned.
    ///
    /// `encoders` are those whose adapters learn, by the place of their input: what is learned of a
    /// text is what its encoder gives by now, whatever it gave when the text came. Where the row is
    /// remembered it carries the id `example`; under revision 1 there is none.
    pub(super) fn observe(
        &mut self,
        batch: &Batch,
        row: usize,
        target: Target,
        _example: Option<u128>,
        encoders: &[Option<Arc<TextEncoder>>],
        scores: &mut Vec<f64>,
    ) -> Outcome {
        if encoders.is_empty() {
            return self.learn(batch, row, target, scores);
        }
        let adapters: Vec<_> = self.adapters().collect();
        let Ok(batch) = embed_again(batch.row(row), encoders, &adapters) else {
            return Outcome::Rejected(1);
        };
        let outcome = self.learn(&batch, 0, target, scores);
        if !matches!(outcome, Outcome::Rejected(_)) {
            let columns = batch.columns.iter().zip(encoders);
            for ((column, encoder), learner) in columns.zip(&mut self.adapters) {
                if let (Column::Embedded { texts, vectors }, Some(encoder), Some(learner)) =
                    (column, encoder, learner)
                {
                    let width = vectors.len() / size_of::<f32>();
                    let vector: Vec<f32> = model::floats(vectors, 0, width).collect();
                    learner.observe(encoder, &texts[0], &vector, target, &self.target);
                }
            }
        }
        outcome
    }

    /// Makes good what was learned of an example that is another by now; no example is counted.
    pub(super) fn amend(
        &mut self,
        batch: &Batch,
        row: usize,
        amendment: Amendment,
        encoders: &[Option<Arc<TextEncoder>>],
    ) -> Outcome {
        let Amendment { before, after, .. } = amendment;
        let target = match (before, after) {
            (
                Target::Reward {
                    action,
                    reward: earlier,
                },
                Target::Reward {
                    action: same,
                    reward,
                },
            ) if action == same => Target::Correction {
                action,
                by: reward - earlier,
                reward,
            },
            _ => after,
        };
        let example = Some(amendment.example);
        let unscored = &mut Vec::new();
        match self.observe(batch, row, target, example, encoders, unscored) {
            Outcome::Updated(1) if !matches!(target, Target::Correction { .. }) => {
                self.n_examples -= 1;
                Outcome::Updated(0)
            }
            outcome => outcome,
        }
    }

    fn learn(
        &mut self,
        batch: &Batch,
        row: usize,
        target: Target,
        scores: &mut Vec<f64>,
    ) -> Outcome {
        let new = !matches!(target, Target::Correction { .. });
        if new {
            self.encoder.observe(batch, row);
        }
        target.observe(&mut self.target);
        let encoded = self.encoder.encode(batch, row);
        let outcome = match &mut self.kind {
            Kind::Gradient(learner) => {
                learner.observe(encoded, target, Measure::Plain(&self.target))
            }
            Kind::Analytic(learner) => learner.observe(encoded, target, &self.target),
            Kind::Auto(learner) => taken(
                learner.observe(&encoded, target, &self.target, scores),
                target,
            ),
            Kind::Neighbours(learner) => taken(learner.observe(&encoded, target), target),
        };
        if let Outcome::Updated(n_examples) = outcome {
            self.n_examples += n_examples;
        }
        outcome
    }

    /// The weights that are served.
    pub fn weights(&self) -> Tensors {
        let mut tensors = match &self.kind {
            Kind::Gradient(learner) => learner.weights(),
            Kind::Analytic(learner) => learner.weights(),
            Kind::Auto(learner) => learner.weights(),
            Kind::Neighbours(learner) => learner.weights(),
        };
        for (place, learner) in self.adapter_learners() {
            tensors.nest(&format!("adapters.{place}"), learner.weights());
        }
        tensors
    }

    /// Those that there are, with the places of their inputs.
    fn adapter_learners(&self) -> impl Iterator<Item = (usize, &AdapterLearner)> {
        let places = self.adapters.iter().enumerate();
        places.filter_map(|(place, learner)| Some((place, learner.as_ref()?)))
    }

    /// All else that was learned.
    pub fn state(&self) -> Tensors {
        let mut tensors = match &self.kind {
            Kind::Gradient(learner) => learner.state(),
            Kind::Analytic(learner) => learner.state(),
            Kind::Auto(learner) => learner.state(),
            Kind::Neighbours(_) => Tensors::default(),
        };
        for (place, learner) in self.adapter_learners() {
            tensors.nest(&format!("adapters.{place}"), learner.state());
        }
        tensors.put_u64("n_examples", &[1], vec![self.n_examples]);
        self.target.save("target", &mut tensors);
        tensors.nest("encoder", self.encoder.save());
        let lengths: Vec<u32> = self.names.iter().map(|name| name.len() as u32).collect();
        tensors.put_u32("names.lengths", &[lengths.len()], lengths);
        let names = self.names.concat().into_bytes();
        tensors.put_u8("names", &[names.len()], names);
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
        let n_buckets = learned.encoder.n_buckets();
        let form = Form {
            n_dense: learned.encoder.n_dense(),
            n_buckets,
            n_outputs: spec.task.n_outputs(),
        };
        learned.target = Scale::load("target", state)?;
        learned.n_examples = state.take_u64("n_examples", &[Some(1)])?[0];
        learned.names = Arc::new(load_names(spec, state)?);
        for (place, learner) in learned.adapters.iter_mut().enumerate() {
            if let Some(learner) = learner {
                let name = format!("adapters.{place}");
                learner.load(&mut weights.unnest(&name), &mut state.unnest(&name))?;
            }
        }
        learned.encoder = Encoder::load(spec, n_buckets, &mut state.unnest("encoder"))?;
        match &mut learned.kind {
            Kind::Gradient(learner) => learner.load(spec, weights, state)?,
            Kind::Analytic(learner) => learner.load(weights, state)?,
            Kind::Auto(learner) => learner.load(spec, form, weights, state)?,
            Kind::Neighbours(learner) => learner.load(&spec.task, form, weights)?,
        }
        Ok(learned)
    }
}

/// The names that a state was saved with: those of the description, and those that came since.
fn load_names(spec: &Spec, state: &mut Tensors) -> Result<Vec<String>, Error> {
    let lengths = state.take_u32("names.lengths", &[None])?;
    let bytes = state.take_u8("names", &[None])?;
    let wrong = |what: String| Error::value("names", what);
    let mut rest = bytes.as_slice();
    let mut names: Vec<String> = Vec::new();
    for length in lengths {
        let split = rest.split_at_checked(length as usize);
        let (name, after) = split.ok_or_else(|| wrong("shorter than its lengths".to_owned()))?;
        let name = str::from_utf8(name).map_err(|error| wrong(error.to_string()))?;
        names.push(name.to_owned());
        rest = after;
    }
    let described = spec.task.names();
    let range = described.len()..=spec.task.n_outputs().max(described.len());
    let unique: BTreeSet<&String> = names.iter().collect();
    let sound = names.starts_with(described) && unique.len() == names.len();
    match sound && range.contains(&names.len()) {
        true => Ok(names),
        false => Err(wrong(format!(
            "{} names, expected the {} described and new ones up to {}",
            names.len(),
            described.len(),
            range.end()
        ))),
    }
}

/// A row whose texts are as the encoders among `encoders` give them with these adapters.
fn embed_again(
    mut row: Batch,
    encoders: &[Option<Arc<TextEncoder>>],
    adapters: &[Option<Arc<Adapters>>],
) -> Result<Batch, String> {
    for ((column, encoder), adapters) in row.columns.iter_mut().zip(encoders).zip(adapters) {
        if let (Column::Embedded { texts, vectors }, Some(encoder)) = (column, encoder) {
            let again = encoder.embed(&[&texts[0]], adapters.as_deref())?;
            let bytes: Vec<u8> = again.iter().flat_map(|value| value.to_le_bytes()).collect();
            *vectors = Bytes::from(bytes);
        }
    }
    Ok(row)
}

/// What becomes of an example that is learned at once, or not at all.
fn taken(learned: bool, target: Target) -> Outcome {
    match (learned, target) {
        (false, _) => Outcome::Rejected(1),
        (true, Target::Correction { .. }) => Outcome::Updated(0),
        (true, _) => Outcome::Updated(1),
    }
}
