//! One feedback event: join, score, learn.
//!
//! Invariant: an event has one fate, and is learned once at most.

use std::collections::BTreeMap;

use super::super::join::LearnedExample;
use super::super::lookup::Lookup;
use super::{Error, History, Learner, Step};
use crate::event::{Batch, Feedback, PredictionId, Signal, Subject};
use crate::learn::algorithms::example::{Amendment, NewExample, Outcome};
use crate::learn::records::ledger::Fate;
use crate::learn::records::quarantine::QuarantineCause;
use crate::model::{Target, Task};

/// A row to be learned.
#[derive(Clone, Copy)]
pub(super) struct Example<'a> {
    pub batch: &'a Batch,
    pub row: usize,
    /// The source that observed it; none of silence.
    pub source: Option<&'a str>,
    /// The tags of the feedback about it; none of silence.
    pub tags: Option<&'a BTreeMap<String, String>>,
    /// The prediction that it was asked by; none of a row that comes with its feedback.
    pub asked: Option<PredictionId>,
    /// The weight beside an example of weight 1.
    pub weight: f32,
    /// The cost in the budget of its source: nothing where it replaces an example of that source.
    pub cost: f64,
    /// The probability with which the action was chosen that earned a reward.
    pub propensity: Option<f64>,
    /// True if it is of a time long before its feedback: no evidence about the present.
    pub is_past: bool,
    /// True if champion and candidate were scored on the same row before: no further evidence.
    pub is_scored: bool,
}

impl Example<'_> {
    pub(super) fn new(batch: &Batch, row: usize) -> Example<'_> {
        Example {
            batch,
            row,
            source: None,
            tags: None,
            asked: None,
            weight: 1.0,
            cost: 0.0,
            propensity: None,
            is_past: false,
            is_scored: false,
        }
    }
}

impl Learner {
    /// One feedback event.
    pub(super) fn take(
        &mut self,
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<Step, Error> {
        if self.spec.revision == 1 && self.has_seen(&feedback.feedback_id) {
            return Ok(self.end(Fate::Duplicate));
        }
        if self.excludes(feedback) {
            return Ok(self.end(Fate::Retracted));
        }
        self.monitor_feedback();
        if let Some(cause) = self.suspects(feedback, lookup)? {
            self.accounts.ledger.hold_back();
            let pushed_out = self.hold_back(cause);
            return Ok(Step {
                held_back: Some(cause),
                pushed_out,
                ..self.end(Fate::Quarantined)
            });
        }
        let (fate, contradicts) = self.take_subject(feedback, lookup)?;
        let mut pushed_out = None;
        if contradicts.is_some() {
            pushed_out = self.hold_back(QuarantineCause::Contradiction);
        }
        let mut step = self.end(fate);
        step.pushed_out = pushed_out;
        step.contradicts = contradicts;
        // Also while an example waits for its update: the encoder has seen the row.
        step.changed = self.serves_what_comes()
            && !matches!(
                fate,
                Fate::Duplicate
                    | Fate::Superseded
                    | Fate::Unmatched
                    | Fate::Expired
                    | Fate::HeldOut
                    | Fate::Throttled
            );
        Ok(step)
    }

    /// Takes an event as an example: its fate, and the id of the event that it contradicts.
    pub(super) fn take_subject(
        &mut self,
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<(Fate, Option<String>), Error> {
        Ok(match &feedback.subject {
            Subject::Inputs { batch, decision } => {
                let target = self.target_of_row(&feedback.signal, decision.as_ref());
                let example = Example {
                    source: Some(&feedback.source),
                    tags: Some(&feedback.tags),
                    weight: feedback.weight as f32,
                    cost: feedback.weight,
                    propensity: decision.as_ref().map(|decision| decision.propensity),
                    ..Example::new(batch, 0)
                };
                let is_past = self.is_past(feedback);
                let learn = |target| {
                    if !is_past {
                        self.watch_row(batch);
                        self.watch_label(&feedback.signal);
                    }
                    self.accounts.evaluation.follow(target);
                    self.learn(Example { is_past, ..example }, target)
                };
                (target.map_or(Fate::Unmatched, learn), None)
            }
            Subject::Prediction(id) => self.take_signal(*id, feedback, lookup)?,
        })
    }

    /// True if an id came within the last day; it has from now on.
    fn has_seen(&mut self, feedback_id: &str) -> bool {
        let (position, time) = (self.stream.position, self.stream.time);
        let seen = &mut self.stream.feedback_ids;
        seen.forget(time);
        let known = seen.position(feedback_id).is_some();
        if !known {
            seen.insert(feedback_id, position, time);
        }
        known
    }

    /// True if the event happened more than a day ago, as only those of a backfill may have.
    pub(super) fn is_past(&self, feedback: &Feedback) -> bool {
        feedback.is_past(self.stream.time)
    }

    pub(super) fn excludes(&self, feedback: &Feedback) -> bool {
        let History::Other(exclusions) = &self.history else {
            return false;
        };
        let stream = &self.stream;
        let mut exclusions = exclusions.iter();
        exclusions.any(|one| one.excludes(stream.position, stream.time, feedback))
    }

    /// Takes a signal about a prediction: its fate, and the id of the event that it contradicts.
    fn take_signal(
        &mut self,
        id: PredictionId,
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<(Fate, Option<String>), Error> {
        let signal = &feedback.signal;
        self.close_if_due(id, lookup)?;
        let fate = match signal {
            Signal::PreferredOver(other) => {
                self.close_if_due(*other, lookup)?;
                if let Err(fate) = self.waiting(id) {
                    return Ok((fate, None));
                }
                self.prefer([id, *other], feedback, lookup)?
            }
            Signal::Label(_) | Signal::Value(_) => {
                let waiting = match self.waiting(id) {
                    Ok(waiting) => waiting,
                    Err(fate) => return Ok((fate, None)),
                };
                if waiting.has_truth {
                    return self.relabel(id, waiting, feedback, lookup);
                }
                self.label(id, waiting, feedback, lookup)?
            }
            Signal::Reward(_) | Signal::Named { .. } => self.reward(id, feedback, lookup)?,
        };
        Ok((fate, None))
    }

    /// The truth that a signal is in this task; a label never seen takes a free place.
    pub(super) fn truth(&mut self, signal: &Signal) -> Option<Target> {
        match (&self.spec.task, signal) {
            (Task::Classification { classes_max, .. }, Signal::Label(label)) => {
                self.learned.place(label, *classes_max).map(Target::Class)
            }
            (Task::Bandit { .. }, Signal::Label(label)) => {
                self.spec.task.index(label).map(Target::BestAction)
            }
            (Task::Regression, Signal::Value(value)) => Some(Target::Value(*value)),
            _ => None,
        }
    }

    /// True if an example of this fate is learned, or waits to be.
    pub(super) fn is_held(fate: Fate) -> bool {
        matches!(fate, Fate::Applied | Fate::Pending)
    }

    /// Learns one example of a source, or of silence, and returns the fate for the event that
    /// brought it.
    pub(super) fn learn(&mut self, example: Example<'_>, target: Target) -> Fate {
        if !(example.is_past || example.is_scored) {
            self.score_sides(example, target);
        }
        if self.is_frozen() {
            return Fate::HeldOut;
        }
        if self.is_beyond_budget(&example) {
            return Fate::Throttled;
        }
        let Example { batch, row, .. } = example;
        let mut scores = Vec::new();
        let encoders = &self.encoders.0;
        let new = NewExample {
            target,
            weight: example.weight,
            asked: example.asked,
        };
        let newest_anchor = self.learned.anchored().next_back();
        let outcome = self
            .learned
            .observe((batch, row), new, encoders, &mut scores);
        self.note_anchor(&example, newest_anchor);
        let names = || {
            self.learned
                .member_weights()
                .into_iter()
                .map(|(name, _)| name)
        };
        let passes_first = self.passes_first(target);
        let evaluation = &mut self.accounts.evaluation;
        if !(passes_first && evaluation.is_at_first()) {
            evaluation.score_members(|| names().collect(), &scores);
        }
        let fate = self.settle(outcome, example.source);
        self.spend(&example, fate);
        fate
    }

    /// The number of examples learned since one that is held.
    pub(super) fn n_since(&self, held: LearnedExample) -> u64 {
        let n_examples = self.learned.n_examples();
        n_examples.saturating_sub(held.number.get())
    }

    /// Learns that an example turned out to be another one.
    pub(super) fn amend(&mut self, example: Example<'_>, amendment: Amendment) -> Fate {
        if self.is_frozen() {
            return Fate::HeldOut;
        }
        if self.is_beyond_budget(&example) {
            return Fate::Throttled;
        }
        let Example { batch, row, .. } = example;
        let outcome = self.learned.amend(batch, row, amendment, &self.encoders.0);
        let fate = match (outcome, example.source) {
            (Outcome::Updated(0), source) => {
                let sources = &mut self.accounts.sources;
                source.iter().for_each(|source| sources.add(source));
                Fate::Applied
            }
            (Outcome::Rejected(0), _) => Fate::Quarantined,
            (outcome, source) => self.settle(outcome, source),
        };
        self.spend(&example, fate);
        fate
    }

    fn settle(&mut self, outcome: Outcome, source: Option<&str>) -> Fate {
        let accounts = &mut self.accounts;
        source
            .iter()
            .for_each(|source| accounts.sources.wait(source));
        let fate = match outcome {
            Outcome::Waits => return Fate::Pending,
            Outcome::Updated(_) => {
                accounts.sources.settle();
                Fate::Applied
            }
            Outcome::Rejected(n_examples) => {
                accounts.sources.reject();
                if n_examples > 1 && self.spec.revision >= 2 {
                    accounts.pending.reject(self.learned.n_examples());
                }
                Fate::Quarantined
            }
            Outcome::Failed(what) => {
                self.failed = Some(what);
                return Fate::Pending;
            }
        };
        accounts.ledger.settle(fate);
        fate
    }

    pub(super) fn end(&mut self, fate: Fate) -> Step {
        self.accounts.ledger.add(fate);
        Step {
            fate: Some(fate),
            ..Step::default()
        }
    }
}
