//! The learned state of a model, of any kind: restores bring it back, and the digest covers it.
//!
//! Invariant: nothing here knows positions, times or versions, and of predictions only the values known
//! when the newest of them were asked.

mod amend;
pub(crate) mod answers;
mod relearning;
mod rows;
mod saved;

use std::sync::Arc;

use super::adapters::AdapterLearner;
use super::analytic::AnalyticLearner;
use super::auto::AutoLearner;
use super::example::{Known, NewExample, Outcome, amends_rewards};
use super::gradient::GradientLearner;
use super::neighbours::NeighboursLearner;
use super::output_loss::OutputLoss;
use super::retention::Retention;
use crate::event::{Batch, Column, Prediction};
use crate::learn::memory::class_shares::ClassShares;
use crate::learn::memory::first_rows::FirstRows;
use crate::learn::memory::output_counts::OutputCounts;
use crate::model::weights::{Error, Foreign};
use crate::model::{
    self, Adapters, Costs, Device, Encoder, EncoderError, Function, Input, InputKind, LearnerKind,
    Model, Scale, Spec, Target, TextEncoder,
};
use relearning::{Relearning, relearns};
use rows::{embed_again, has_class_shares};

/// The state of a learner of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The adapters of the texts whose encoders learn, by the place of their input.
    adapters: Vec<Option<AdapterLearner>>,
    encoder: Encoder,
    /// The scale of values, of rewards and of the outputs of every kind.
    target: Scale,
    /// The current scale of rewards: `target` stays where it is until it is far from this one, so that an
    /// example that is amended stands in the scale that it was learned in. None under the first revision, and
    /// of all else than rewards.
    newest: Option<Scale>,
    /// The counts of outputs, of rewards.
    counts: Option<OutputCounts>,
    /// Whether memories store rows raw.
    stores_raw_rows: bool,
    /// The first rows; none under the first revision.
    first_rows: Option<FirstRows>,
    /// The retention set; none where [`Spec::retains`] is false.
    retention: Option<Retention>,
    /// The shares of classes, from the third revision on.
    class_shares: Option<ClassShares>,
    /// The relearning of rewards, from the third revision on.
    relearning: Option<Box<Relearning>>,
    kind: Kind,
    n_examples: u64,
    /// The classes or actions known by now, in the order of the outputs.
    names: Arc<Vec<String>>,
}

/// The learner of each kind, with its state.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Gradient(Box<GradientLearner>),
    Analytic(Box<AnalyticLearner>),
    Auto(Box<AutoLearner>),
    Neighbours(NeighboursLearner),
}

impl Learned {
    /// A learner that has learned nothing yet.
    pub fn new(spec: &Spec) -> Learned {
        let n_buckets = match &spec.learner {
            LearnerKind::Auto(_) => AutoLearner::n_buckets(spec),
            LearnerKind::Gradient(settings) => GradientLearner::n_buckets(spec, settings),
            LearnerKind::Neighbours(_) => model::n_buckets(spec, 1),
            LearnerKind::Analytic(_) => AnalyticLearner::n_buckets(spec),
        };
        let encoder = Encoder::new(spec, n_buckets);
        let n_dense = encoder.n_dense();
        let kind = match &spec.learner {
            LearnerKind::Auto(_) => Kind::Auto(Box::new(AutoLearner::new(spec, n_dense))),
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
        let mut learned = Learned {
            adapters: spec.inputs.iter().map(adapters).collect(),
            encoder,
            target: spec.scale(),
            newest: amends_rewards(spec).then(|| spec.scale()),
            stores_raw_rows: spec.stores_raw_rows(),
            first_rows: (spec.revision >= 2).then(FirstRows::default),
            retention: spec.retains().then(|| Retention::new(spec)),
            class_shares: has_class_shares(spec).then(|| ClassShares::new(spec.task.n_outputs())),
            counts: amends_rewards(spec).then(|| OutputCounts::new(spec.task.n_outputs())),
            relearning: relearns(spec).then(Box::default),
            kind,
            n_examples: 0,
            names: Arc::new(spec.task.names().to_vec()),
        };
        learned.stand_in_scales();
        learned
    }

    /// A learner that has learned nothing, but for the weights that the network arrives with.
    ///
    /// # Errors
    /// Names the first tensor that does not fit the description.
    pub fn starting(spec: &Spec, file: &Foreign) -> Result<Learned, Error> {
        Learned::new(spec).with_weights(spec, file)
    }

    /// The function as it is now, for good.
    pub fn model(&self, spec: &Arc<Spec>) -> Model {
        Model {
            spec: spec.clone(),
            names: self.names.clone(),
            costs: self.costs(spec),
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

    /// The cost of missing each class that is known by now, where costs decide.
    fn costs(&self, spec: &Spec) -> Option<Arc<[f32]>> {
        match &spec.costs {
            Costs::None => None,
            Costs::Given(costs) => {
                let cost = |name: &String| costs.get(name).map_or(1.0, |cost| *cost as f32);
                Some(self.names.iter().map(cost).collect())
            }
            Costs::Balanced => {
                let shares = self.class_shares.as_ref()?;
                Some(shares.costs(self.names.len()).into())
            }
        }
    }

    /// The adapters of the text encoders, by the place of their input.
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
    pub(crate) fn place(&mut self, class: &str, classes_max: usize) -> Option<u32> {
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

    /// The number of the next example: as many were learned or wait to be by then, itself counted.
    pub fn next_number(&self) -> u64 {
        let n_waiting = match &self.kind {
            Kind::Gradient(learner) => learner.n_waiting(),
            Kind::Analytic(learner) => learner.n_waiting(),
            Kind::Auto(_) | Kind::Neighbours(_) => 0,
        };
        self.n_examples + n_waiting as u64 + 1
    }

    /// The number of the next example, where examples are known by their numbers.
    fn next_known(&self) -> Option<u64> {
        self.first_rows.is_some().then(|| self.next_number())
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

    /// The members of a portfolio with their weights.
    pub fn member_weights(&self) -> Vec<(String, f64)> {
        match &self.kind {
            Kind::Gradient(_) | Kind::Analytic(_) | Kind::Neighbours(_) => Vec::new(),
            Kind::Auto(learner) => {
                let names = learner.portfolio.names().into_iter();
                names
                    .zip(learner.portfolio.pool.weights.iter().copied())
                    .collect()
            }
        }
    }

    /// The share of the anchors of the retention set that are answered right, fading; none where
    /// none was asked.
    pub fn retention(&self) -> Option<f64> {
        self.retention.as_ref()?.scores().first().copied()
    }

    /// The numbers of the examples that are anchors of the retention set, the newest anchor last.
    pub(crate) fn anchored(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.retention.iter().flat_map(Retention::examples)
    }

    /// The retention score of each member of a portfolio.
    pub fn member_retention(&self) -> &[f64] {
        let scores = self.retention.as_ref().map_or(&[][..], Retention::scores);
        scores.get(1..).unwrap_or_default()
    }

    /// Asks the anchors whose turn it is.
    fn ask_anchors(&mut self) {
        let number = self.next_number();
        let Some(retention) = &mut self.retention else {
            return;
        };
        if let Kind::Gradient(learner) = &self.kind {
            let right = learner.ask(&retention.batch_due(number, &self.encoder));
            right
                .into_iter()
                .for_each(|right| retention.score([right].into_iter()));
            return;
        }
        let Some(anchor) = retention.due(number, &self.encoder) else {
            return;
        };
        let right = match &mut self.kind {
            Kind::Analytic(learner) => Some(vec![learner.ask(&anchor)]),
            Kind::Auto(learner) => learner.ask(&anchor, &self.target),
            Kind::Gradient(_) | Kind::Neighbours(_) => None,
        };
        retention.score(right.into_iter().flatten());
    }

    /// Takes the settings of a changed description of the same shape.
    pub(crate) fn reconfigure(&mut self, spec: &Spec) {
        self.reconfigure_relearning(spec, self.has_settings_of(spec));
        self.stores_raw_rows = spec.stores_raw_rows();
        if spec.revision >= 2 {
            _ = self.first_rows.get_or_insert_default();
        } else {
            self.first_rows = None;
        }
        self.stand_in_scales();
        if spec.retains() {
            self.retention.get_or_insert_with(|| Retention::new(spec));
        }
        if has_class_shares(spec) {
            let begin = || ClassShares::new(spec.task.n_outputs());
            self.class_shares.get_or_insert_with(begin);
        }
        if amends_rewards(spec) {
            self.begin_amending(spec);
        } else {
            (self.newest, self.counts) = (None, None);
        }
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
            (Kind::Auto(learner), LearnerKind::Auto(_)) => learner.reconfigure(spec),
            _ => {}
        }
    }

    /// True if this description changes nothing of how examples are learned.
    fn has_settings_of(&self, spec: &Spec) -> bool {
        match (&self.kind, &spec.learner) {
            (Kind::Gradient(learner), LearnerKind::Gradient(settings)) => {
                learner.has_settings_of(spec, settings)
            }
            _ => true,
        }
    }

    /// Takes up the state that amending rewards needs, where learning began without it.
    fn begin_amending(&mut self, spec: &Spec) {
        self.newest.get_or_insert(self.target);
        let begun = || OutputCounts::begun(spec.task.n_outputs(), self.n_examples);
        self.counts.get_or_insert_with(begun);
    }

    /// Has a network computed on this device from now on; other kinds pass it by.
    pub(crate) fn move_to(&mut self, device: Device) {
        if let Kind::Gradient(learner) = &mut self.kind {
            learner.move_to(device);
        }
    }

    /// Notes the state when the rows of a prediction are asked, for when they are learned.
    pub(crate) fn note_asked(&mut self, prediction: &Prediction) {
        if let Kind::Auto(learner) = &mut self.kind {
            learner.note_asked(prediction, &self.encoder, &self.target, self.n_examples);
        }
    }

    /// Learns row `row` of `batch`; `scores` receives the score of each member before it learned.
    ///
    /// `encoders` are those whose adapters learn, by the place of their input: an example of a text
    /// is its vector by the encoder as it is now, whatever the vector was when the text came.
    pub(crate) fn observe(
        &mut self,
        (batch, row): (&Batch, usize),
        new: NewExample,
        encoders: &[Option<Arc<TextEncoder>>],
        scores: &mut Vec<f64>,
    ) -> Outcome {
        if encoders.is_empty() {
            self.hold_start();
            let outcome = self.learn(batch, row, new, scores);
            self.keep((batch, row), new, &outcome);
            return outcome;
        }
        let adapters: Vec<_> = self.adapters().collect();
        let batch = match embed_again(batch.row(row), encoders, &adapters) {
            Ok(batch) => batch,
            Err(error) => return not_encoded(&error, 1),
        };
        let example = self.next_known();
        let mut outcome = self.learn(&batch, 0, new, scores);
        if !matches!(outcome, Outcome::Rejected(_)) {
            let scale = self.target;
            let known = Known {
                example,
                weight: new.weight,
                ..new.target.into()
            };
            self.each_adapted(&batch, encoders, |learner, encoder, text, vector| {
                let observed = learner.observe(encoder, (text, vector), known, &scale);
                if let Err(error) = observed {
                    outcome = Outcome::Failed(error.to_string());
                }
            });
        }
        outcome
    }

    /// Passes every text of the only row whose encoder learns, with its vector.
    fn each_adapted(
        &mut self,
        batch: &Batch,
        encoders: &[Option<Arc<TextEncoder>>],
        mut pass: impl FnMut(&mut AdapterLearner, &TextEncoder, &str, &[f32]),
    ) {
        let columns = batch.columns.iter().zip(encoders);
        for ((column, encoder), learner) in columns.zip(&mut self.adapters) {
            if let (Column::Embedded { texts, vectors }, Some(encoder), Some(learner)) =
                (column, encoder, learner)
            {
                let width = vectors.len() / size_of::<f32>();
                let vector: Vec<f32> = model::floats(vectors, 0, width).collect();
                pass(learner, encoder, &texts[0], &vector);
            }
        }
    }

    /// Expresses all that is learned in the scale that rewards have by now, where it is far from
    /// the one that they were learned in.
    fn rescale(&mut self) {
        let Some(newest) = self.newest else {
            return;
        };
        if !self.target.is_far_from(&newest) {
            return;
        }
        let change = self.target.to(&newest);
        self.target = newest;
        match &mut self.kind {
            Kind::Gradient(learner) => learner.rescale(change),
            Kind::Analytic(learner) => learner.rescale(change),
            Kind::Auto(learner) => {
                let counts = self.counts.as_ref().map_or(&[][..], OutputCounts::counts);
                learner.rescale(change, counts);
            }
            // Remembered rows are in no scale.
            Kind::Neighbours(_) => {}
        }
        let adapters = self.adapters.iter_mut().flatten();
        adapters.for_each(|learner| learner.rescale(change));
    }

    fn learn(
        &mut self,
        batch: &Batch,
        row: usize,
        new: NewExample,
        scores: &mut Vec<f64>,
    ) -> Outcome {
        let NewExample {
            target,
            weight,
            asked,
        } = new;
        if !matches!(target, Target::Correction { .. }) {
            self.encoder.observe(batch, row);
        }
        target.observe(self.newest.as_mut().unwrap_or(&mut self.target));
        self.rescale();
        let past = match &self.kind {
            Kind::Auto(learner) => learner.past(batch, row, asked),
            _ => None,
        };
        let place = row;
        let (mut row, raw) = self.encode(batch, place);
        let example = self.next_known();
        self.ask_anchors();
        // An anchor is asked as if its row had been learned once.
        let may_be = row.is_finite() && weight == 1.0;
        let is_anchor = may_be && self.is_anchor((batch, place), target, example);
        if let (Some(first_rows), Some(example)) = (&mut self.first_rows, example) {
            first_rows.observe(example, &row);
        }
        row.past = past;
        let scale = &self.target;
        let known = Known {
            target,
            example,
            weight,
            is_anchor,
            raw: raw.as_ref(),
            asked,
            n_learned: self.n_examples,
        };
        let outcome = match &mut self.kind {
            Kind::Gradient(learner) => learner.observe(row, known, OutputLoss::Plain(scale)),
            Kind::Analytic(learner) => learner.observe(row, known, scale),
            Kind::Auto(learner) => taken(learner.observe(&row, known, scale, scores), target),
            Kind::Neighbours(learner) => taken(learner.observe(&row, known), target),
        };
        if let (Kind::Auto(learner), Outcome::Updated(_), Some(id)) =
            (&mut self.kind, &outcome, asked)
        {
            learner.forget_asked(id);
        }
        self.count((target, weight), &outcome);
        outcome
    }

    /// Counts an example, or forgets a rejected one.
    fn count(&mut self, (target, weight): (Target, f32), outcome: &Outcome) {
        match *outcome {
            Outcome::Rejected(n_examples) => {
                // Rows that waited with it are not learned either.
                let before = n_examples.saturating_sub(1);
                self.counts.iter_mut().for_each(|all| all.forget(before));
                let first_rows = self.first_rows.iter_mut();
                first_rows.for_each(|rows| rows.forget_after(self.n_examples));
                let retention = self.retention.iter_mut();
                retention.for_each(|all| all.forget_after(self.n_examples));
            }
            Outcome::Updated(n_examples) => self.n_examples += n_examples,
            Outcome::Waits | Outcome::Failed(_) => {}
        }
        if !matches!(outcome, Outcome::Rejected(_)) {
            self.counts.iter_mut().for_each(|all| all.observe(target));
            let shares = self.class_shares.iter_mut();
            shares.for_each(|all| all.observe(target, weight));
        }
    }
}

/// The outcome of an example whose texts cannot be encoded again: a text that its encoder refuses is
/// refused by every replay, and a device that fails is of this one alone.
fn not_encoded(error: &EncoderError, n_rejected: u64) -> Outcome {
    if error.is_of_device() {
        Outcome::Failed(error.to_string())
    } else {
        Outcome::Rejected(n_rejected)
    }
}

/// The outcome of an example that is learned at once, or not at all.
fn taken(learned: bool, target: Target) -> Outcome {
    match (learned, target) {
        (false, _) => Outcome::Rejected(1),
        (true, Target::Correction { .. }) => Outcome::Updated(0),
        (true, _) => Outcome::Updated(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_a_text_is_rejected_only_where_every_replay_rejects_it() {
        let check = |error: fn(String) -> EncoderError, expected: Outcome| {
            assert_eq!(not_encoded(&error("so".to_owned()), 1), expected);
        };
        check(EncoderError::Values, Outcome::Rejected(1));
        check(EncoderError::Unsupported, Outcome::Rejected(1));
        check(EncoderError::NoRoom, Outcome::Failed("so".to_owned()));
        check(EncoderError::Device, Outcome::Failed("so".to_owned()));
    }
}
