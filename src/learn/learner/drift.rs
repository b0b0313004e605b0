//! Drift: the values that the tests take from each entry, and the alarms that they raise.
//!
//! Invariant: rows and answers are taken where their prediction stands in the journal, errors and
//! labels where their feedback does, each once. The tests belong to one history: a retraction derives
//! them again. After a restore other weights answer, so the tests of answers begin anew; inputs and
//! labels are of the world, and go on.

use super::{Error, History, Learner, Step};
use crate::event::{Alarm, Batch, Outputs, Prediction, Signal};
use crate::learn::drift::{Detectors, JudgedAnswer};
use crate::learn::monitors::Monitors;
use crate::model::{Spec, answered_class};

impl Learner {
    /// The rows and answers of a prediction.
    pub(super) fn watch_prediction(&mut self, prediction: &Prediction) {
        let Prediction { batch, outputs, .. } = prediction;
        self.watch(|detectors, spec, position| {
            let mut alarms = Vec::new();
            for row in 0..batch.n_rows {
                alarms.extend(detectors.observe_row(spec, (batch, row), position));
                alarms.extend(detectors.observe_answer(outputs, (batch.n_rows, row), position));
            }
            alarms
        });
    }

    /// A row that came with its feedback.
    pub(super) fn watch_row(&mut self, batch: &Batch) {
        self.watch(|detectors, spec, position| detectors.observe_row(spec, (batch, 0), position));
    }

    /// The truth about a row.
    pub(super) fn watch_label(&mut self, signal: &Signal) {
        self.watch(|detectors, _, position| detectors.observe_label(signal, position));
    }

    /// The judgement of row `row` of a served answer.
    pub(super) fn watch_judged(&mut self, prediction: &Prediction, row: usize, score: f64) {
        let judged = Learner::judged(prediction, row, score);
        self.watch(|detectors, _, position| detectors.observe_judged(judged, position));
    }

    /// The judgement of a served answer to a row in a slice.
    pub(super) fn watch_slice(&mut self, name: &str, judged: JudgedAnswer) {
        self.watch(|detectors, _, position| detectors.observe_slice(name, judged, position));
    }

    /// The error of a served answer by the label of a source, beside those of all others.
    pub(super) fn note_error(
        &mut self,
        prediction: &Prediction,
        row: usize,
        score: f64,
        source: &str,
    ) {
        let error = Learner::judged(prediction, row, score).error();
        if let Some(gate) = self.accounts.gate.as_mut().filter(|_| error.is_finite()) {
            gate.note_error(source, error);
        }
    }

    /// The judgement as the tests take it.
    pub(super) fn judged(prediction: &Prediction, row: usize, score: f64) -> JudgedAnswer {
        let n_rows = prediction.batch.n_rows;
        match &prediction.outputs {
            Outputs::Values(_) => JudgedAnswer::Value(score),
            Outputs::Actions { .. } => JudgedAnswer::Reward(score),
            outputs @ (Outputs::Probabilities(shares)
            | Outputs::Decisions {
                probabilities: shares,
                ..
            }) => {
                let width = shares.len() / n_rows;
                let answered = answered_class(outputs, row, width);
                let confidence = answered.map_or(0.0, |place| shares[row * width + place]);
                JudgedAnswer::Label {
                    is_right: score > 0.0,
                    confidence: f64::from(confidence),
                }
            }
        }
    }

    /// Lets the tests in force take something, and notes their alarms.
    fn watch(&mut self, observe: impl FnOnce(&mut Detectors, &Spec, u64) -> Vec<Alarm>) {
        let Some(settings) = self.spec.drift else {
            return;
        };
        let (spec, position) = (&self.spec, self.stream.position);
        let new = || Detectors::new(spec, settings.false_alarms);
        let detectors = self.accounts.detectors.get_or_insert_with(new);
        let alarms = observe(detectors, spec, position);
        let with_needed = alarms
            .iter()
            .map(|alarm| (alarm.clone(), detectors.needed(alarm.watched)));
        let with_needed: Vec<_> = with_needed.collect();
        self.note_alarms(&with_needed);
        if self.history == History::Recorded {
            self.stream.alarms.extend(alarms);
        }
    }

    /// The alarms that an entry raised.
    pub(super) fn alarms_of(&self, position: u64) -> Vec<Alarm> {
        let alarms = self.stream.alarms.iter();
        alarms
            .filter(|alarm| alarm.position == position)
            .cloned()
            .collect()
    }

    /// The tests of another description begin anew, and so do other slices.
    pub(super) fn watch_as(&mut self, earlier: &Spec) {
        let same_slices = self.spec.monitor.has_slices_of(&earlier.monitor);
        let watched = |spec: &Spec| spec.drift.map(|drift| drift.false_alarms);
        if watched(&self.spec) != watched(earlier) || !same_slices {
            self.accounts.detectors = None;
        }
        if !same_slices {
            self.accounts
                .monitors
                .iter_mut()
                .for_each(Monitors::begin_slices);
        }
    }

    /// Compares the record of an alarm with the derived one.
    pub(super) fn check_alarm(&mut self, recorded: &Alarm) -> Result<Step, Error> {
        if self.history != History::Recorded {
            return Ok(Step::default());
        }
        let derived = self.stream.alarms.first();
        if derived != Some(recorded) {
            let name = |alarm: &Alarm| {
                let Alarm {
                    position,
                    watched,
                    evidence,
                    ..
                } = alarm;
                format!(
                    "an alarm of {} at entry {position} by {evidence}",
                    watched.word()
                )
            };
            return Err(Error::Diverged {
                position: self.stream.position,
                recorded: name(recorded),
                derived: derived.map_or("no alarm".to_owned(), name),
            });
        }
        self.stream.alarms.remove(0);
        Ok(Step::default())
    }

    /// Passes the record of an alarm in a stretch that is not applied: it is known where the alarm
    /// was raised before.
    pub(super) fn pass_alarm(&mut self, recorded: &Alarm) {
        self.stream.alarms.retain(|alarm| alarm != recorded);
    }
}
