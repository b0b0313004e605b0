//! Monitors: the answers and truths that they take from each entry.
//!
//! Invariant: an answer is taken where its prediction stands in the journal, and its judgement where its
//! feedback does. Nothing that is learned depends on them.

use super::super::join::PendingPrediction;
use super::Learner;
use super::feedback::Example;
use crate::event::{Event, Feedback, Outputs, Prediction, Signal, Time};
use crate::learn::monitors::{
    ConfusionCount, FeedbackKeys, Figure, Monitors, ScoredAnswer, ScoredProbabilities,
    ServedAnswer, SliceName,
};
use crate::model::{Spec, Target, answered_class};

/// A row of a served answer.
type ServedRow<'a> = (&'a Prediction, usize);

impl Learner {
    /// Every figure of the monitors that is known; none under rules without them.
    pub fn figures(&self) -> Vec<Figure> {
        let monitors = self.accounts.monitors.as_ref();
        monitors.map_or(Vec::new(), |monitors| monitors.figures(&self.spec))
    }

    /// The counts of pairs of label and answer, the commonest first.
    pub fn confusion(&self) -> Vec<ConfusionCount> {
        let monitors = self.accounts.monitors.as_ref();
        monitors.map_or(Vec::new(), Monitors::confusion)
    }

    /// The time at which the last feedback came, or before any the first answer was asked.
    pub fn last_feedback(&self) -> Option<Time> {
        self.accounts.monitors.as_ref()?.last_feedback()
    }

    /// The time at which the last example was learned, or before any the first answer was asked.
    pub fn last_example(&self) -> Option<Time> {
        self.accounts.monitors.as_ref()?.last_example()
    }

    /// Lets the monitors take something, with the description and the names of classes.
    fn monitor<T>(&mut self, take: impl FnOnce(&mut Monitors, &Spec, &[String]) -> T) -> Option<T> {
        if !self.spec.has_monitors() {
            return None;
        }
        let monitors = &mut self.accounts.monitors;
        let monitors = monitors.get_or_insert_with(|| Monitors::new(&self.spec));
        Some(take(monitors, &self.spec, self.learned.names()))
    }

    /// The answers of a prediction.
    pub(super) fn monitor_asked(&mut self, prediction: &Prediction) {
        let time = self.stream.time;
        self.monitor(|monitors, spec, names| {
            for row in 0..prediction.batch.n_rows {
                let asked = ServedAnswer {
                    name: answered_name((prediction, row), spec, names),
                    confidence: confidence((prediction, row)),
                };
                monitors.note_asked(asked, time);
            }
        });
    }

    /// Feedback came.
    pub(super) fn monitor_feedback(&mut self) {
        let time = self.stream.time;
        self.monitor(|monitors, _, _| monitors.note_feedback(time));
    }

    /// An event was applied to a state of so many examples; orders learn none.
    pub(super) fn monitor_examples(&mut self, n_before: u64, event: &Event) {
        if self.learned.n_examples() <= n_before || matches!(event, Event::Command(_)) {
            return;
        }
        let time = self.stream.time;
        self.monitor(|monitors, _, _| monitors.note_example(time));
    }

    /// A reward of a feedback event.
    pub(super) fn monitor_reward(&mut self, reward: f64) {
        self.monitor(|monitors, _, _| monitors.note_reward(reward));
    }

    /// Feedback about an answer, if it is the first.
    pub(super) fn monitor_labelled(&mut self, served: ServedRow<'_>, waiting: &PendingPrediction) {
        if waiting.has_truth || waiting.signals != 0 {
            return;
        }
        let began = self.windows().began(&self.accounts.pending, waiting);
        let delay_us = self.stream.time.0 - began.0;
        self.monitor(|monitors, spec, names| {
            monitors.note_labelled(answered_name(served, spec, names), delay_us);
        });
    }

    /// The judgement of an answer by a target, and the feedback that gave it.
    pub(super) fn monitor_judged(
        &mut self,
        served: ServedRow<'_>,
        target: Target,
        score: f64,
        by: Option<&Feedback>,
    ) {
        let slices = self.monitor(|monitors, spec, names| {
            let truth = match target {
                Target::Class(class) => names.get(class as usize).map_or("", String::as_str),
                _ => "",
            };
            let answer = scored(served, truth, score, names);
            let (prediction, row) = served;
            let slices = SliceName::of_row(spec, (&prediction.batch, row), of_feedback(by));
            let slices = monitors.judge(&answer, &slices, &spec.monitor).into_iter();
            slices.map(|slice| slice.shown(spec)).collect::<Vec<_>>()
        });
        for slice in slices.unwrap_or_default() {
            self.watch_slice(&slice, Learner::judged(served.0, served.1, score));
        }
    }

    /// An answer was judged by one feedback with this score, and is by another now.
    pub(super) fn monitor_again(
        &mut self,
        served: ServedRow<'_>,
        feedback: [&Feedback; 2],
        scores: [f64; 2],
    ) {
        self.monitor(|monitors, spec, names| {
            let (prediction, row) = served;
            let judged = [0, 1].map(|at| {
                let truth = match &feedback[at].signal {
                    Signal::Label(label) => label,
                    _ => "",
                };
                let slices = SliceName::of_row(
                    spec,
                    (&prediction.batch, row),
                    of_feedback(Some(feedback[at])),
                );
                (scored(served, truth, scores[at], names), slices)
            });
            let judged = judged
                .each_ref()
                .map(|(answer, slices)| (answer, &slices[..]));
            monitors.amend(judged, &spec.monitor);
        });
    }

    /// The reward of an answer turned out to be another. Slices by tags stay as they are: the earlier
    /// feedback may have had other tags.
    pub(super) fn monitor_amended(&mut self, served: ServedRow<'_>, rewards: [f64; 2]) {
        self.monitor(|monitors, spec, _| {
            let (prediction, row) = served;
            let slices = SliceName::of_row(spec, (&prediction.batch, row), of_feedback(None));
            monitors.amend_reward(rewards, &slices, &spec.monitor);
        });
    }

    /// The losses of candidate and champion on an example.
    pub(super) fn monitor_sides(&mut self, example: Example<'_>, losses: [f64; 2]) {
        self.monitor(|monitors, spec, _| {
            if spec.monitor.n_keys() > 0 {
                let row = (example.batch, example.row);
                let slices = SliceName::of_row(spec, row, (example.tags, example.source));
                monitors.note_sides(&slices, losses, &spec.monitor);
            }
        });
    }
}

/// The tags of feedback and its source.
fn of_feedback(by: Option<&Feedback>) -> FeedbackKeys<'_> {
    (by.map(|one| &one.tags), by.map(|one| &one.source[..]))
}

/// The class or action that was answered; none of a value.
fn answered_name<'a>(
    (prediction, row): ServedRow<'a>,
    spec: &'a Spec,
    names: &'a [String],
) -> Option<&'a str> {
    if let Outputs::Actions { chosen, .. } = &prediction.outputs {
        let action = spec.task.names().get(chosen[row] as usize)?;
        return Some(action);
    }
    let place = answered_place((prediction, row))?;
    let answered = prediction.labels.get(&(place as u32));
    answered.or_else(|| names.get(place)).map(String::as_str)
}

fn answered_place((prediction, row): ServedRow<'_>) -> Option<usize> {
    let all = prediction.outputs.probabilities()?;
    answered_class(
        &prediction.outputs,
        row,
        all.len() / prediction.batch.n_rows,
    )
}

/// The probabilities of the classes for a row; none of other tasks.
fn probabilities<'a>((prediction, row): ServedRow<'a>) -> Option<&'a [f32]> {
    let all = prediction.outputs.probabilities()?;
    let width = all.len() / prediction.batch.n_rows;
    Some(&all[row * width..(row + 1) * width])
}

/// The probability of the class that was answered.
fn confidence(served: ServedRow<'_>) -> Option<f64> {
    let p = probabilities(served)?.get(answered_place(served)?)?;
    Some(f64::from(*p))
}

/// An answer with its score, by a label whose place may be known.
fn scored<'a>(
    served: ServedRow<'a>,
    truth: &'a str,
    score: f64,
    names: &'a [String],
) -> ScoredAnswer<'a> {
    let (prediction, row) = served;
    let all = match &prediction.outputs {
        Outputs::Values(_) => return ScoredAnswer::Value(score),
        Outputs::Actions { .. } => return ScoredAnswer::Reward(score),
        Outputs::Probabilities(_) | Outputs::Decisions { .. } => probabilities((prediction, row)),
    };
    let all = all.unwrap_or_default();
    let place = answered_place(served).unwrap_or(usize::MAX);
    let is_right = score > 0.0;
    // After a restore the label that was answered may have another place.
    let answered = prediction
        .labels
        .get(&(place as u32))
        .or_else(|| names.get(place));
    let true_place = if is_right {
        Some(place)
    } else {
        let known = names.iter().position(|name| name == truth);
        known.filter(|known| *known != place)
    };
    ScoredAnswer::Class {
        truth,
        answer: match answered {
            _ if is_right => truth,
            Some(answered) if answered != truth => answered,
            _ => "",
        },
        confidence: all.get(place).map_or(0.0, |p| f64::from(*p)),
        probabilities: ScoredProbabilities::of(true_place.unwrap_or(usize::MAX), all),
    }
}
