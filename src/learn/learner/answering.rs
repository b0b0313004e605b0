//! A state that answers rows and learns none of them, beside others on the same rows.
//!
//! Invariant: nothing moves but the past of the target, which is no opinion: where a state sees it, it
//! is the past as it was when the row was asked, whatever the state itself has learned.

use std::sync::Arc;

use super::Learner;
use crate::event::{Batch, PredictionId};
use crate::learn::algorithms::learned::answers::{AskedRow, RowOutputs};
use crate::model::weights::{Error, Foreign};
use crate::model::{Past, PinnedFile, Series, Spec, TextEncoder};

/// The answer to a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowAnswer {
    /// Probabilities of the known classes or of the policy's actions, or a value.
    pub answer: RowOutputs,
    /// The place of the class that is answered, or of the likeliest action; none of a value.
    pub chosen: Option<usize>,
}

/// A state that answers.
pub(crate) struct AnsweringState {
    learner: Learner,
    /// The series of the target with the values that came since; none where it sees no past.
    series: Option<Series>,
    /// The number of the newest value.
    n_values: u64,
}

impl Learner {
    /// This state, to answer rows and learn none.
    pub(crate) fn answering(self) -> AnsweringState {
        AnsweringState {
            series: self.learned.series().cloned(),
            n_values: self.learned.next_number(),
            learner: self,
        }
    }

    /// This state with the weights of a file in its network; the scales of inputs stay.
    ///
    /// # Errors
    /// Names the first tensor that does not fit the description.
    pub(crate) fn with_weights(self, file: &Foreign) -> Result<Learner, Error> {
        let learned = self.learned.with_weights(&self.spec, file)?;
        Ok(Learner { learned, ..self })
    }
}

impl AnsweringState {
    /// The state.
    pub(crate) fn learner(&self) -> &Learner {
        &self.learner
    }

    /// The description that it answers under.
    pub(crate) fn spec(&self) -> &Arc<Spec> {
        &self.learner.spec
    }

    /// Brings the encoders whose adapters it has learned, so that it encodes texts by itself.
    pub(crate) fn bring_encoders<E>(
        &mut self,
        mut find: impl FnMut(&PinnedFile) -> Result<Arc<TextEncoder>, E>,
    ) -> Result<(), E> {
        if self.spec().adapted_encoders().next().is_none() {
            return Ok(());
        }
        let mut encoders = vec![None; self.spec().inputs.len()];
        for (place, pinned, _) in self.learner.spec.adapted_encoders() {
            encoders[place] = Some(find(pinned)?);
        }
        self.learner.encoders.0 = encoders;
        Ok(())
    }

    /// True if it sees the past of its target.
    pub(crate) fn sees_past(&self) -> bool {
        self.series.is_some()
    }

    /// Sees the values of the target that a newer state of the same series knows.
    pub(crate) fn see_values_of(&mut self, newer: &AnsweringState) {
        if let (Some(series), Some(newer_series)) = (&mut self.series, &newer.series) {
            series.see(newer_series);
            self.n_values = self.n_values.max(newer.n_values);
        }
    }

    /// The past of a row that is asked now; of one that `asked` names as it was when that was asked.
    pub(crate) fn past(
        &self,
        batch: &Batch,
        row: usize,
        asked: Option<PredictionId>,
    ) -> Option<Arc<Past>> {
        match (asked, &self.series) {
            (Some(id), Some(_)) => self.learner.learned.past_of(batch, row, Some(id)),
            (None, Some(series)) => Some(Arc::new(series.past(batch, row))),
            (_, None) => None,
        }
    }

    /// The answer to a row; none that is not finite.
    pub(crate) fn answer(
        &self,
        batch: &Batch,
        row: usize,
        past: Option<&Arc<Past>>,
    ) -> Option<RowAnswer> {
        let Learner { learned, spec, .. } = &self.learner;
        let asked = AskedRow {
            batch,
            row,
            past,
            encoders: &self.learner.encoders.0,
        };
        let answer = learned.answer(spec, asked)?;
        let chosen = learned.chosen(spec, &answer);
        Some(RowAnswer { answer, chosen })
    }

    /// The number of anchors in the retention set of `self`, and of those that `other` answers right.
    pub(crate) fn anchors_right(&self, other: &AnsweringState) -> Option<(u64, u64)> {
        let (learned, other) = (&self.learner.learned, &other.learner);
        learned.anchors_right(&other.spec, &other.learned)
    }

    /// Takes note that a row which was asked with this past has a value.
    pub(crate) fn note_value(&mut self, past: Option<&Arc<Past>>, value: f64) {
        if let (Some(series), Some(past)) = (&mut self.series, past) {
            self.n_values += 1;
            series.learn(past, self.n_values, value);
        }
    }
}
