//! The answer of a learned state to a row, as a model of it would give it.
//!
//! Invariant: answering changes nothing, and encodes the row by this state's own scales.

use std::borrow::Cow;
use std::sync::Arc;

use super::rows::embed_again;
use super::{Kind, Learned};
use crate::event::{Batch, PredictionId};
use crate::model::{
    Encoded, Encoder, Estimates, Function, Model, OutputForm, Past, Series, Spec, Task,
    TextEncoder, argmax, finish,
};

/// A row that is answered.
#[derive(Clone, Copy)]
pub(crate) struct AskedRow<'a> {
    pub batch: &'a Batch,
    pub row: usize,
    /// The past of its target, as it was when it was asked.
    pub past: Option<&'a Arc<Past>>,
    /// The encoders whose adapters learn, by the place of their input.
    pub encoders: &'a [Option<Arc<TextEncoder>>],
}

/// The answer to an anchor of the retention set.
pub(crate) struct AnchorAnswer<'a> {
    /// The number of its example.
    pub example: u64,
    pub class: &'a str,
    pub is_right: bool,
}

/// The answer of a state to a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowOutputs {
    /// Probabilities of the known classes, or of the policy's actions; or one value.
    pub outputs: Vec<f64>,
}

impl Learned {
    /// The function of a frozen state beside a candidate that learns on: the past of the target that it
    /// sees is that of the candidate, since the past is no opinion.
    pub(crate) fn model_beside(&self, candidate: &Learned, spec: &Arc<Spec>) -> Model {
        let mut model = self.model(spec);
        if let (Function::Portfolio { portfolio, .. }, Kind::Auto(candidate)) =
            (&mut model.function, &candidate.kind)
            && let (Some(series), Some(newer)) =
                (&mut portfolio.series, &candidate.portfolio.series)
        {
            series.see(newer);
        }
        model
    }

    /// The past of row `row` of `batch` as it was asked; none of a state that sees no past.
    pub(crate) fn past_of(
        &self,
        batch: &Batch,
        row: usize,
        asked: Option<PredictionId>,
    ) -> Option<Arc<Past>> {
        match &self.kind {
            Kind::Auto(learner) => learner.past(batch, row, asked),
            Kind::Gradient(_) | Kind::Analytic(_) | Kind::Neighbours(_) => None,
        }
    }

    /// The anchors of the retention set of this state: how many there are, and how many of them `other`
    /// answers right; none where none are kept, and where `other` encodes rows otherwise.
    pub(crate) fn anchors_right(&self, spec: &Spec, other: &Learned) -> Option<(u64, u64)> {
        let answers = self.anchor_answers(spec, other)?;
        let right = answers.iter().filter(|one| one.is_right).count() as u64;
        (!answers.is_empty()).then_some((answers.len() as u64, right))
    }

    /// The answers of `other` to the anchors.
    pub(crate) fn anchor_answers(
        &self,
        spec: &Spec,
        other: &Learned,
    ) -> Option<Vec<AnchorAnswer<'_>>> {
        let (retention, encoder) = (self.retention.as_ref()?, &other.encoder);
        let same = |of: fn(&Encoder) -> usize| of(&self.encoder) == of(encoder);
        if !same(Encoder::n_dense) || !same(Encoder::n_buckets) {
            return None;
        }
        let scales = encoder.scales();
        let anchors = retention.anchors(&scales);
        let answers = anchors.map(|(row, class, example)| {
            let answer = other.answer_encoded(spec, row);
            let label = self.names.get(class as usize);
            let chosen = answer.map(|answer| other.chosen(spec, &answer));
            let chosen = chosen.flatten().and_then(|place| other.names.get(place));
            AnchorAnswer {
                example,
                class: label.map_or("", String::as_str),
                is_right: label.is_some() && label == chosen,
            }
        });
        Some(answers.collect())
    }

    /// The place of the class that is answered, as costs decide it, or of the likeliest action; none of a
    /// value.
    pub(crate) fn chosen(&self, spec: &Spec, answer: &RowOutputs) -> Option<usize> {
        let mut shares: Vec<f32> = answer.outputs.iter().map(|share| *share as f32).collect();
        let costs = self.costs(spec);
        for (share, cost) in shares
            .iter_mut()
            .zip(costs.iter().flat_map(|all| all.iter()))
        {
            *share *= cost;
        }
        (!matches!(spec.task, Task::Regression)).then(|| argmax(&shares))
    }

    /// The series of the target, as far as this state knows them; none where it sees no past.
    pub(crate) fn series(&self) -> Option<&Series> {
        match &self.kind {
            Kind::Auto(learner) => learner.portfolio.series.as_ref(),
            Kind::Gradient(_) | Kind::Analytic(_) | Kind::Neighbours(_) => None,
        }
    }

    /// The answer to a row: the probabilities of the known classes or of the policy's actions, or a
    /// value. None where it is not finite, or no device computes it.
    pub(crate) fn answer(&self, spec: &Spec, asked: AskedRow<'_>) -> Option<RowOutputs> {
        let mut row = (Cow::Borrowed(asked.batch), asked.row);
        if !asked.encoders.is_empty() {
            let adapters: Vec<_> = self.adapters().collect();
            let again = embed_again(asked.batch.row(asked.row), asked.encoders, &adapters);
            row = (Cow::Owned(again.ok()?), 0);
        }
        let mut encoded = self.encoder.encode(&row.0, row.1);
        encoded.past = asked.past.cloned();
        self.answer_encoded(spec, encoded)
    }

    /// The answer to a row that is encoded by the scales of this state.
    fn answer_encoded(&self, spec: &Spec, encoded: Encoded) -> Option<RowOutputs> {
        let outputs = match &self.kind {
            Kind::Gradient(learner) => learner.network().forward(&[encoded]).ok()?,
            Kind::Analytic(learner) => learner.ridge().outputs(&encoded),
            Kind::Neighbours(learner) => learner.nearest.outputs(&encoded, &self.target),
            Kind::Auto(learner) => {
                let (portfolio, network) = (&learner.portfolio, learner.network());
                let outputs = portfolio.member_outputs(&encoded, &self.target, network.as_ref());
                portfolio.mix(&outputs)
            }
        };
        let form = match &self.kind {
            Kind::Gradient(_) => OutputForm::Logits,
            Kind::Analytic(_) | Kind::Neighbours(_) | Kind::Auto(_) => OutputForm::Probabilities,
        };
        let outputs = finish(outputs, &spec.task, self.names.len(), form);
        let outputs = match &spec.task {
            Task::Classification { .. } => outputs,
            Task::Regression => vec![self.target.restore(outputs[0])],
            // The deviations of a posterior are not asked: such a policy gives no evidence.
            Task::Bandit { .. } if spec.policy.needs_posterior() => return None,
            Task::Bandit { .. } => spec.action_probabilities(Estimates {
                scores: &outputs,
                deviations: &[],
                n_examples: self.n_examples,
            }),
        };
        let outputs: Vec<f64> = outputs.into_iter().map(f64::from).collect();
        let finite = outputs.iter().all(|output| output.is_finite());
        finite.then_some(RowOutputs { outputs })
    }
}
