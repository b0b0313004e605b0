//! The judgement of served answers: by the label that was answered, whatever its place is now.
//!
//! Invariant: a place means a label only within one history, up to the next order that brings
//! other learning back. An answer is judged by its label, or not at all.

use super::{History, Learner};
use crate::event::{Feedback, Outputs, Prediction, Signal};
use crate::model::{Spec, Target, Task, answered_class};

/// The revision from which on an answer without labels is judged by those of the state that gave it.
const BY_LABEL: u32 = 2;

impl Learner {
    /// Judges row `row` of a served answer, by feedback or by silence; false where it cannot be judged, and
    /// of the first value: there is none before it to repeat either.
    pub(super) fn judge(
        &mut self,
        prediction: &Prediction,
        row: usize,
        target: Target,
        by: Option<&Feedback>,
    ) -> bool {
        if self.passes_first(target) && self.accounts.evaluation.is_before_first() {
            return false;
        }
        let score = self.score(prediction, row, target);
        if let Some(score) = score {
            self.accounts.evaluation.judge(score);
            if let Some(feedback) = by {
                self.note_error(prediction, row, score, &feedback.source);
            }
            self.watch_judged(prediction, row, score);
            self.monitor_judged((prediction, row), target, score, by);
        }
        score.is_some()
    }

    /// True if the first target of this kind is not judged: a value, from the third revision of the
    /// rules on.
    pub(super) fn passes_first(&self, target: Target) -> bool {
        matches!(target, Target::Value(_)) && self.spec.passes_first_value()
    }

    /// Row `row` of a served answer was judged by the truth `before`, and is by this one now.
    pub(super) fn judge_again(
        &mut self,
        prediction: &Prediction,
        row: usize,
        feedback: [&Feedback; 2],
    ) {
        let score = |signal: &Signal| match signal {
            Signal::Label(label) => self.score_by_name(prediction, row, label),
            Signal::Value(value) => self.score(prediction, row, Target::Value(*value)),
            _ => None,
        };
        let scores = feedback.map(|one| score(&one.signal));
        if let [Some(before), Some(now)] = scores {
            self.accounts.evaluation.amend(now - before);
            self.monitor_again((prediction, row), feedback, [before, now]);
        }
    }

    /// Right or wrong by the name of a label, which may have no place now.
    fn score_by_name(&self, prediction: &Prediction, row: usize, label: &str) -> Option<f64> {
        let Some(all) = prediction.outputs.probabilities() else {
            let best = self.spec.task.index(label)?;
            return self.score(prediction, row, Target::BestAction(best));
        };
        let width = all.len() / prediction.batch.n_rows;
        let place = answered_class(&prediction.outputs, row, width)?;
        let right = self.is_right(prediction, place, label);
        right.map(|right| f64::from(u8::from(right)))
    }

    /// Right or wrong, the absolute error, or the reward; none where the label that was answered
    /// is not known any more, and of a target that is not one of the task.
    fn score(&self, prediction: &Prediction, row: usize, target: Target) -> Option<f64> {
        let right = |right: bool| f64::from(u8::from(right));
        match (&prediction.outputs, target) {
            (Outputs::Probabilities(_) | Outputs::Decisions { .. }, Target::Class(class)) => {
                let label = &self.learned.names()[class as usize];
                self.score_by_name(prediction, row, label)
            }
            (Outputs::Values(values), Target::Value(value)) => Some((values[row] - value).abs()),
            (Outputs::Actions { .. }, Target::Reward { reward, .. }) => Some(reward),
            (Outputs::Actions { chosen, .. }, Target::BestAction(best)) => {
                Some(right(chosen[row] == best))
            }
            _ => None,
        }
    }

    /// True if the answer `place` is this label.
    fn is_right(&self, prediction: &Prediction, place: usize, label: &str) -> Option<bool> {
        let names = self.learned.names();
        let is_at = || names.get(place).is_some_and(|name| name == label);
        if let Some(answered) = prediction.labels.get(&(place as u32)) {
            return Some(answered == label);
        }
        // A label of the description has its place for good.
        if self.spec.revision < BY_LABEL || place < self.spec.task.names().len() {
            return Some(is_at());
        }
        let (stream, position) = (&self.stream, prediction.position);
        if let Some(had) = stream.places.had(place, position, label) {
            return Some(had);
        }
        let since = stream.newest.renamed();
        let same = self.history == History::Recorded && position >= since;
        same.then(is_at)
    }

    /// A prediction may wait whose answer was journaled without its label.
    pub(super) fn note_unlabelled(&mut self, prediction: &Prediction) {
        let unlabelled = prediction.labels.is_empty() && self.takes_new_labels();
        if unlabelled && prediction.outputs.probabilities().is_some() {
            self.stream.places.wait(self.stream.position);
        }
        let oldest = self.accounts.pending.oldest_position();
        self.stream.places.forget(oldest);
    }

    /// An older program journaled no labels, and its answers may wait.
    pub(super) fn note_revised(&mut self, earlier: &Spec) {
        if earlier.revision < BY_LABEL
            && self.takes_new_labels()
            && !self.accounts.pending.is_empty()
        {
            self.stream.places.wait(self.stream.position);
        }
    }

    /// The order at this position has brought other learning back, under which a place may mean
    /// another label than it had `before`.
    pub(super) fn note_renamed(&mut self, before: &[String]) {
        if self.history == History::Recorded && self.takes_new_labels() {
            let (since, until) = (self.stream.newest.renamed(), self.stream.position);
            self.stream.places.end(since, until, before);
        }
    }

    /// True if labels can come in that the description does not name, and places are kept.
    pub(super) fn takes_new_labels(&self) -> bool {
        let open = match &self.spec.task {
            Task::Classification {
                classes,
                classes_max,
            } => classes.len() < *classes_max,
            Task::Regression | Task::Bandit { .. } => false,
        };
        open && self.spec.revision >= BY_LABEL
    }
}
