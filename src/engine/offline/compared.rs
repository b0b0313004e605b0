//! The outcome of a comparison: a paired trial over rows, with the scores that people know.
//!
//! Invariant: plain values; a row that is no evidence is counted apart.

use crate::engine::error::Error;
use crate::event::Signal;
use crate::learn::{PairedEvidence, PairedTrial, RowAnswer, TrialOutcome, Truth};
use crate::model::{Publish, Spec, Target, Task, keys};

/// The margin and the error rate of a comparison; those of the version's description where none is given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CompareSettings {
    /// The loss, of 1 at most, by which the second side may be worse and pass, in [0, 0.5].
    pub margin: Option<f64>,
    /// The largest probability of each wrong outcome, in (0, 0.5].
    pub alpha: Option<f64>,
}

/// The truth about a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowTruth {
    /// The true class.
    Label(String),
    /// The true value.
    Value(f64),
    /// The action that was taken, with its propensity in (0, 1] and its reward.
    Decision {
        /// The action's name.
        action: String,
        /// The probability with which it was chosen.
        propensity: f64,
        /// The reward.
        reward: f64,
    },
}

/// Rows that were not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExcludedRows {
    /// Rows that a side may have learned.
    pub learned: u64,
    /// Rows that came more than a day after their event.
    pub past: u64,
    /// Rows older than the newest [`ROWS_MAX`](crate::engine::COMPARED_ROWS_MAX).
    pub older: u64,
    /// Rows whose truth is no evidence, such as the first reward, which nothing is measured by.
    pub unjudged: u64,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparisonReport {
    /// The sides, as people name them.
    pub names: [String; 2],
    /// The margin that was asked for.
    pub margin: f64,
    /// The largest probability of each wrong outcome.
    pub alpha: f64,
    /// The evidence on the rows that were judged.
    pub evidence: PairedEvidence,
    /// The name of the score that people know, and that of each side; none before the first row.
    pub score: (&'static str, Option<[f64; 2]>),
    /// Rows that were not judged.
    pub excluded: ExcludedRows,
    /// The reason why there is no evidence, beside too few rows.
    pub reason: Option<String>,
}

/// The judging of rows.
pub(crate) struct Judge<'a> {
    spec: &'a Spec,
    /// The classes or actions of both sides.
    names: &'a [String],
    trial: PairedTrial,
    /// The sum of each side's scores.
    sums: [f64; 2],
    pub excluded: ExcludedRows,
}

impl CompareSettings {
    /// Margin and alpha, in their ranges.
    pub(crate) fn checked(self, described: &Publish) -> Result<(f64, f64), Error> {
        let check = |key: &str, field, given: Option<f64>, described: f64| {
            let value = given.unwrap_or(described);
            let values = keys::Key::named(key).values;
            if values.allows(value) {
                return Ok(value);
            }
            let what = format!("{value}: expected a number {}", worded(&values));
            Err(Error::Refused { field, what })
        };
        let margin = check("publish.margin", "margin", self.margin, described.margin)?;
        let alpha = check("publish.alpha", "alpha", self.alpha, described.alpha)?;
        Ok((margin, alpha))
    }
}

/// The range of a number, as a refusal names it.
fn worded(values: &keys::AllowedValues) -> String {
    match values {
        keys::AllowedValues::Between(..) => format!("from {values}"),
        values => values.to_string(),
    }
}

impl RowTruth {
    /// The truth that a signal about a row states, if it states one.
    pub(crate) fn of(signal: &Signal) -> Option<RowTruth> {
        match signal {
            Signal::Label(label) => Some(RowTruth::Label(label.clone())),
            Signal::Value(value) => Some(RowTruth::Value(*value)),
            Signal::Reward(_) | Signal::Named { .. } | Signal::PreferredOver(_) => None,
        }
    }

    /// The value, if it is one.
    pub(crate) fn value(&self) -> Option<f64> {
        match self {
            RowTruth::Value(value) => Some(*value),
            RowTruth::Label(_) | RowTruth::Decision { .. } => None,
        }
    }
}

impl<'a> Judge<'a> {
    /// No row yet, of a version of this description and the classes of both sides.
    pub(crate) fn new(spec: &'a Spec, names: &'a [String], excluded: ExcludedRows) -> Judge<'a> {
        Judge {
            spec,
            names,
            trial: PairedTrial::default(),
            sums: [0.0; 2],
            excluded,
        }
    }

    /// Judges the answers of both sides to a row.
    pub(crate) fn judge(&mut self, truth: &RowTruth, answers: [Option<&RowAnswer>; 2]) {
        let Some(known) = self.truth(truth) else {
            self.excluded.unjudged += 1;
            return;
        };
        let outputs = answers.map(|answer| answer.map(|one| &one.answer));
        if !self.trial.observe(self.spec, known, outputs) {
            self.excluded.unjudged += 1;
            return;
        }
        for (sum, answer) in self.sums.iter_mut().zip(answers) {
            *sum += answer.map_or(0.0, |answer| score(known, answer));
        }
    }

    /// A truth over the classes of both sides; a class that neither knows has a place beyond them.
    fn truth(&self, truth: &RowTruth) -> Option<Truth> {
        let place = |name: &String| self.names.iter().position(|known| known == name);
        let (target, propensity) = match (truth, &self.spec.task) {
            (RowTruth::Label(label), Task::Classification { .. }) => {
                let place = place(label).unwrap_or(self.names.len());
                (Target::Class(place as u32), None)
            }
            (RowTruth::Value(value), Task::Regression) => (Target::Value(*value), None),
            (
                RowTruth::Decision {
                    action,
                    propensity,
                    reward,
                },
                Task::Bandit { .. },
            ) => {
                let (action, reward) = (place(action)? as u32, *reward);
                (Target::Reward { action, reward }, Some(*propensity))
            }
            _ => return None,
        };
        Some(Truth { target, propensity })
    }

    /// The outcome.
    pub(crate) fn outcome(
        &self,
        names: [String; 2],
        (margin, alpha): (f64, f64),
    ) -> ComparisonReport {
        let evidence = self.trial.evidence(margin, alpha);
        let n = evidence.rows as f64;
        let means = (evidence.rows > 0).then(|| self.sums.map(|sum| sum / n));
        let reason = if !PairedTrial::is_possible(self.spec) {
            Some(
                "the policy has no propensity floor: where one side would act as it never did, \
                 nothing is known",
            )
        } else if evidence.disagrees && evidence.finding == TrialOutcome::NoEvidence {
            Some("the rows disagree: B is worse in one stretch of them and not in another")
        } else {
            None
        };
        let reason = reason.map(str::to_owned);
        let word = match self.spec.task {
            Task::Classification { .. } => "accuracy",
            Task::Regression => "mean_absolute_error",
            Task::Bandit { .. } => "estimated_reward",
        };
        ComparisonReport {
            names,
            margin,
            alpha,
            evidence,
            score: (word, means),
            excluded: self.excluded,
            reason,
        }
    }
}

/// Whether an answer is right, its absolute error, or the reward that its policy is estimated to earn.
fn score(truth: Truth, answer: &RowAnswer) -> f64 {
    let outputs = &answer.answer.outputs;
    match truth.target {
        Target::Class(right) => f64::from(u8::from(answer.chosen == Some(right as usize))),
        Target::Value(value) => (outputs[0] - value).abs(),
        Target::Reward { action, reward } => {
            let probability = outputs.get(action as usize).copied().unwrap_or(0.0);
            probability / truth.propensity.unwrap_or(1.0) * reward
        }
        Target::BestAction(_) | Target::Correction { .. } => 0.0,
    }
}

impl ComparisonReport {
    /// True if the second side passes.
    pub fn passes(&self) -> bool {
        self.evidence.finding == TrialOutcome::Passes
    }
}
