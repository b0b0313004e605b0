//! All that is learned as tensors, and back.
//!
//! Invariant: saved tensors are checked before they are used, and give an equal learner.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::adapters::AdapterLearner;
use super::super::example::amends_rewards;
use super::super::retention::Retention;
use super::{Kind, Learned};
use crate::learn::memory::ExampleBounds;
use crate::learn::memory::class_shares::ClassShares;
use crate::learn::memory::first_rows::FirstRows;
use crate::learn::memory::output_counts::OutputCounts;
use crate::model::weights::{Data, Error, Foreign, Tensors};
use crate::model::{self, Encoder, LearnerKind, Parameters, Scale, Spec};

/// Parts of the names of tensors that are kept of rows that wait.
const OF_WAITING: [&str; 2] = [".past.asked.", ".late.asked."];

impl Learned {
    /// The state with the weights of a file in its network, if it has one of its own.
    ///
    /// # Errors
    /// Names the first tensor that does not fit the description.
    pub(crate) fn with_weights(mut self, spec: &Spec, file: &Foreign) -> Result<Learned, Error> {
        if let (Kind::Gradient(learner), LearnerKind::Gradient(settings)) =
            (&mut self.kind, &spec.learner)
        {
            let (widths, n_buckets) = (model::widths(spec, settings), self.encoder.n_buckets());
            learner.start(Parameters::starting(&widths, n_buckets, file)?);
        }
        Ok(self)
    }

    /// The Euclidean norm of the weights of a network, also of that in a portfolio; none of other kinds, whose
    /// state is no weights alone.
    pub(crate) fn network_norm(&self) -> Option<f64> {
        let weights = match &self.kind {
            Kind::Gradient(learner) => learner.weights(),
            Kind::Auto(learner) => learner.network_learner()?.weights(),
            Kind::Analytic(_) | Kind::Neighbours(_) => return None,
        };
        let squares = weights.0.values().map(|tensor| match &tensor.data {
            Data::F32(values) => values.iter().map(|one| f64::from(*one).powi(2)).sum(),
            _ => 0.0,
        });
        Some(squares.sum::<f64>().sqrt())
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

    /// The adapter learners, with the places of their inputs.
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
        if let Some(newest) = &self.newest {
            newest.save("target.newest", &mut tensors);
        }
        if let Some(counts) = &self.counts {
            counts.save(&mut tensors);
        }
        if let Some(first_rows) = &self.first_rows {
            tensors.nest("first_rows", first_rows.save());
        }
        if let Some(retention) = &self.retention {
            tensors.nest("retention", retention.save());
        }
        if let Some(shares) = &self.class_shares {
            shares.save(&mut tensors);
        }
        self.save_relearning(&mut tensors);
        tensors.nest("encoder", self.encoder.save());
        let lengths: Vec<u32> = self.names.iter().map(|name| name.len() as u32).collect();
        tensors.put_u32("names.lengths", &[lengths.len()], lengths);
        let names = self.names.concat().into_bytes();
        tensors.put_u8("names", &[names.len()], names);
        tensors
    }

    /// BLAKE3 over the learned state. Outputs kept for rows that wait for their labels are not in it: their
    /// order is that of the ids of predictions, and a digest knows no names.
    pub fn digest(&self) -> blake3::Hash {
        let mut all = Tensors::default();
        all.nest("weights", self.weights());
        all.nest("state", self.state());
        let of_waiting = |name: &str| OF_WAITING.iter().any(|part| name.contains(part));
        all.0.retain(|name, _| !of_waiting(name));
        all.digest()
    }

    /// Reads the state that [`Learned::weights`] and [`Learned::state`] gave.
    ///
    /// # Errors
    /// When the tensors are not of this description.
    pub fn load(spec: &Spec, weights: &mut Tensors, state: &mut Tensors) -> Result<Learned, Error> {
        let mut learned = Learned::new(spec);
        let n_buckets = learned.encoder.n_buckets();
        let form = ExampleBounds::of(spec, learned.encoder.n_dense(), n_buckets);
        learned.target = Scale::load("target", state)?;
        learned.n_examples = state.take_u64("n_examples", &[Some(1)])?[0];
        if state.0.contains_key("target.newest") {
            learned.newest = Some(Scale::load("target.newest", state)?);
            learned.counts = Some(OutputCounts::load(spec.task.n_outputs(), state)?);
        } else if amends_rewards(spec) {
            // It was saved under the first revision.
            (learned.newest, learned.counts) = (None, None);
            learned.begin_amending(spec);
        }
        let mut first_rows = state.unnest("first_rows");
        learned.first_rows = if first_rows.0.is_empty() {
            (spec.revision >= 2).then(FirstRows::default)
        } else {
            Some(FirstRows::load(form, &mut first_rows)?)
        };
        let mut retention = state.unnest("retention");
        if learned.retention.is_some() && !retention.0.is_empty() {
            learned.retention = Some(Retention::load(spec, form, &mut retention)?);
        }
        if learned.class_shares.is_some() && state.0.contains_key("class_shares") {
            let n_outputs = spec.task.n_outputs();
            learned.class_shares = Some(ClassShares::load(n_outputs, state)?);
        }
        learned.load_relearning(spec, state)?;
        learned.names = Arc::new(load_names(spec, state)?);
        for (place, learner) in learned.adapters.iter_mut().enumerate() {
            if let Some(learner) = learner {
                let name = format!("adapters.{place}");
                learner.load(&mut weights.unnest(&name), &mut state.unnest(&name))?;
            }
        }
        learned.encoder = Encoder::load(spec, n_buckets, &mut state.unnest("encoder"))?;
        learned.stand_in_scales();
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
    if sound && range.contains(&names.len()) {
        Ok(names)
    } else {
        Err(wrong(format!(
            "{} names, expected the {} described and new ones up to {}",
            names.len(),
            described.len(),
            range.end()
        )))
    }
}
