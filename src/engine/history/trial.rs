//! The answers of a learner that begins anew beside those that were served, on the same rows.
//!
//! Invariant: it is asked when a prediction stands in the journal and judged by its first label, as the
//! answer that was served; the first half of the stretch only teaches it.

use std::collections::BTreeMap;

use crate::engine::history::error::Error;
use crate::event::{Entry, Event, Feedback, Outputs, Prediction, Signal, Subject};
use crate::learn::{Evidence, Learner, Trial};
use crate::model::{Choice, Model, Target, answered_class};

/// Predictions whose answers are kept until their labels come; the oldest make room.
const ANSWERS_MAX: usize = 65_536;

/// The trial of a learner that begins anew.
pub(crate) struct RetrainTrial {
    /// Predictions from this position on are answered.
    begins: u64,
    /// The model that answers; none where it has changed.
    model: Option<Model>,
    /// Answers by the position of the prediction.
    answers: BTreeMap<u64, TrialAnswers>,
    trial: Trial,
    /// The number of the attempt since the champion was chosen.
    attempt: u64,
}

/// The answers to a request, of the learner and as served.
struct TrialAnswers {
    outputs: [Outputs; 2],
    /// The label that each row was answered with.
    labels: [Vec<Option<String>>; 2],
    n_rows: usize,
}

impl RetrainTrial {
    /// The empty trial of a learner that begins behind `base` and is to reach `last`, in the `attempt`-th attempt.
    pub(crate) fn new((base, last): (u64, u64), attempt: u64) -> RetrainTrial {
        RetrainTrial {
            begins: base + last.saturating_sub(base) / 2,
            model: None,
            answers: BTreeMap::new(),
            trial: Trial::default(),
            attempt,
        }
    }

    /// The number of the attempt.
    pub(crate) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Takes note that the learner answers differently from here on.
    pub(crate) fn changed(&mut self) {
        self.model = None;
    }

    /// Takes an entry that the learner is about to apply.
    pub(crate) fn observe(&mut self, entry: &Entry, learner: &Learner) -> Result<(), Error> {
        match &entry.event {
            Event::Prediction(prediction) if entry.position >= self.begins => {
                self.ask(entry.position, prediction, learner)
            }
            Event::Feedback(feedback) => {
                self.judge(feedback, learner);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn ask(&mut self, position: u64, served: &Prediction, learner: &Learner) -> Result<(), Error> {
        let model = self.model.get_or_insert_with(|| learner.model());
        let outputs = model.predict(&served.batch, Choice::Best)?;
        let n_rows = served.batch.n_rows;
        let described = learner.spec().task.names();
        let labels = [
            answered_labels(&outputs, n_rows, &model.names, &BTreeMap::new()),
            answered_labels(&served.outputs, n_rows, described, &served.labels),
        ];
        let answered = TrialAnswers {
            outputs: [outputs, served.outputs.clone()],
            labels,
            n_rows,
        };
        self.answers.insert(position, answered);
        while self.answers.len() > ANSWERS_MAX {
            self.answers.pop_first();
        }
        Ok(())
    }

    fn judge(&mut self, feedback: &Feedback, learner: &Learner) {
        let Subject::Prediction(id) = feedback.subject else {
            return;
        };
        let Some((position, row)) = learner.waits_for_truth(id) else {
            return;
        };
        let Some(answered) = self.answers.get(&position) else {
            return;
        };
        let spec = learner.spec();
        let target = match &feedback.signal {
            Signal::Label(label) => match spec.task.index(label) {
                Some(class) => Target::Class(class),
                None => {
                    let right = |labels: &Vec<Option<String>>| labels[row].as_ref() == Some(label);
                    let right = answered.labels.each_ref().map(right);
                    return self.trial.observe_right(spec, right);
                }
            },
            Signal::Value(value) => Target::Value(*value),
            _ => return,
        };
        let n_rows = answered.n_rows;
        let outputs = answered
            .outputs
            .each_ref()
            .map(|all| of_row(all, row, n_rows));
        if let [Some(tried), Some(served)] = outputs {
            self.trial.observe(spec, target, [tried, served]);
        }
    }

    /// The evidence that it answers no worse than the served ones.
    pub(crate) fn evidence(&self, learner: &Learner) -> Evidence {
        self.trial.evidence(&learner.spec().publish, self.attempt)
    }
}

/// The label that each row was answered with, as far as names and labels give it.
fn answered_labels(
    outputs: &Outputs,
    n_rows: usize,
    names: &[String],
    labels: &BTreeMap<u32, String>,
) -> Vec<Option<String>> {
    let width = outputs.probabilities().map_or(0, |all| all.len() / n_rows);
    let label = |row| {
        let place = answered_class(outputs, row, width)?;
        let label = labels.get(&(place as u32));
        label.or_else(|| names.get(place)).cloned()
    };
    match width {
        0 => vec![None; n_rows],
        _ => (0..n_rows).map(label).collect(),
    }
}

/// The probabilities or the value of a row; none of a bandit, whose rewards judge the action that was
/// served alone.
fn of_row(outputs: &Outputs, row: usize, n_rows: usize) -> Option<Vec<f64>> {
    if let Outputs::Values(values) = outputs {
        return Some(vec![values[row]]);
    }
    let probabilities = outputs.probabilities()?;
    let width = probabilities.len() / n_rows;
    let probabilities = &probabilities[row * width..(row + 1) * width];
    Some(probabilities.iter().map(|p| f64::from(*p)).collect())
}
