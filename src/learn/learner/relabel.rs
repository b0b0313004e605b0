//! The truth about a prediction, and a second one: which of two labels or values counts.
//!
//! Invariant: the last word counts, whatever the order of arrival. A newer truth supersedes one of
//! the same source, or of any source where its sender may review; an older one never does. The answer
//! is judged by the last word, as it was served, and counted once.

use std::num::NonZeroU64;

use super::super::join::{LearnedExample, PendingPrediction};
use super::super::lookup::Lookup;
use super::feedback::Example;
use super::{Error, Learner};
use crate::event::{Feedback, PredictionId, Signal, Time};
use crate::learn::algorithms::example::Amendment;
use crate::learn::records::ledger::Fate;
use crate::model::{Target, Task};

/// The effect of a second truth on the one that counts so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TruthEffect {
    /// An equal truth, of an older event.
    Repeats,
    /// An equal truth, of a newer event.
    Confirms,
    /// Another truth, which counts from now on.
    Supersedes,
    /// Another truth, older than the one that counts.
    IsOlder,
    /// Another truth than that of another source, which its sender may not supersede.
    Contradicts,
}

/// The truth that counts so far.
pub(crate) struct LastWord {
    pub feedback: Feedback,
    pub accepted: Time,
    /// True if it superseded another.
    pub is_correction: bool,
    /// True if it keeps no other truth away: it was beyond the budget of its source, or a person has
    /// released the other one.
    pub gives_way: bool,
}

/// True if a sender may supersede the labels of other sources: one with the right to review, and
/// this process itself, which has no name.
fn may_review(feedback: &Feedback) -> bool {
    feedback.may_correct || feedback.actor.is_empty()
}

impl LastWord {
    /// True if another truth, which was accepted later, counts in its place.
    pub(crate) fn is_superseded_by(&self, next: &Feedback) -> bool {
        self.verdict(next) == TruthEffect::Supersedes
    }

    /// The effect of `next`, which was accepted later.
    fn verdict(&self, next: &Feedback) -> TruthEffect {
        let last = &self.feedback;
        if self.gives_way {
            return if last.signal == next.signal {
                TruthEffect::Confirms
            } else {
                TruthEffect::Supersedes
            };
        }
        let is_newer = self.is_older_than(next);
        if last.signal == next.signal {
            return if is_newer {
                TruthEffect::Confirms
            } else {
                TruthEffect::Repeats
            };
        }
        let (newer, older) = if is_newer { (next, last) } else { (last, next) };
        let may_supersede = newer.source == older.source || may_review(newer);
        match (may_supersede, is_newer) {
            (true, true) => TruthEffect::Supersedes,
            (true, false) => TruthEffect::IsOlder,
            (false, _) => TruthEffect::Contradicts,
        }
    }

    /// True if the answer is judged by `next` from now on: a truth that is confirmed counts in the slices
    /// of its newest tags.
    fn judges_again(&self, verdict: TruthEffect, next: &Feedback) -> bool {
        match verdict {
            TruthEffect::Supersedes => true,
            TruthEffect::Confirms => self.feedback.tags != next.tags,
            TruthEffect::Repeats | TruthEffect::IsOlder | TruthEffect::Contradicts => false,
        }
    }

    /// Compares by the times of the events, where both have one; else by their positions. An event
    /// from before a correction was accepted is filled in later, and corrects nothing.
    fn is_older_than(&self, next: &Feedback) -> bool {
        match (self.feedback.event_time, next.event_time) {
            (Some(last), Some(next)) => last <= next,
            (None, Some(next)) => !self.is_correction || self.accepted <= next,
            (_, None) => true,
        }
    }
}

impl Learner {
    /// The first truth about a prediction.
    pub(super) fn label(
        &mut self,
        id: PredictionId,
        waiting: PendingPrediction,
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<Fate, Error> {
        let prediction = self.fetch(waiting.position, lookup)?;
        let Some(target) = self.truth(&feedback.signal) else {
            return Ok(Fate::Unmatched);
        };
        let row = waiting.row as usize;
        let is_judged =
            waiting.credited.is_none() && self.judge(&prediction, row, target, Some(feedback));
        self.monitor_labelled((&prediction, row), &waiting);
        self.accounts.evaluation.follow(target);
        self.watch_label(&feedback.signal);
        let held = LearnedExample::new(
            index(target),
            self.learned.next_number(),
            feedback.weight as f32,
        );
        let example = Example {
            source: Some(&feedback.source),
            tags: Some(&feedback.tags),
            asked: Some(id),
            weight: feedback.weight as f32,
            cost: feedback.weight,
            ..Example::new(&prediction.batch, row)
        };
        let fate = self.learn(example, target);
        let (position, revision) = (self.position_taken(), self.spec.revision);
        self.accounts.pending.update(id, |waiting| {
            waiting.has_truth = true;
            waiting.is_throttled = fate == Fate::Throttled;
            if revision >= 2 {
                waiting.label = NonZeroU64::new(position);
                waiting.is_judged_by_label = is_judged;
                waiting.held_label = Learner::is_held(fate).then_some(held);
            }
        });
        Ok(fate)
    }

    /// Another truth about it; and the id of the feedback that it contradicts.
    pub(super) fn relabel(
        &mut self,
        id: PredictionId,
        waiting: PendingPrediction,
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<(Fate, Option<String>), Error> {
        let Some(label) = waiting.label.filter(|_| self.spec.revision >= 2) else {
            return Ok((Fate::Duplicate, None));
        };
        let last = self.last_word(label, waiting, lookup)?;
        let verdict = last.verdict(feedback);
        match verdict {
            TruthEffect::IsOlder => return Ok((Fate::Superseded, None)),
            TruthEffect::Contradicts => {
                self.accounts.ledger.contradict();
                return Ok((Fate::Quarantined, Some(last.feedback.feedback_id)));
            }
            TruthEffect::Repeats | TruthEffect::Confirms | TruthEffect::Supersedes => {}
        }
        let Some(target) = self.truth(&feedback.signal) else {
            return Ok((Fate::Unmatched, None));
        };
        let prediction = self.fetch(waiting.position, lookup)?;
        let row = waiting.row as usize;
        if waiting.is_judged_by_label && last.judges_again(verdict, feedback) {
            self.judge_again(&prediction, row, [&last.feedback, feedback]);
        }
        let example = Example {
            source: Some(&feedback.source),
            tags: Some(&feedback.tags),
            asked: Some(id),
            weight: feedback.weight as f32,
            cost: self.cost_in_place_of(waiting.held_label, &last.feedback, feedback),
            is_scored: true,
            ..Example::new(&prediction.batch, row)
        };
        let fate = match self.learn_label(id, waiting.held_label, example, target) {
            None if verdict != TruthEffect::Supersedes => Fate::Duplicate,
            fate => fate.unwrap_or(Fate::Applied),
        };
        if verdict != TruthEffect::Repeats {
            let position = NonZeroU64::new(self.position_taken());
            self.accounts.pending.update(id, |waiting| {
                waiting.label = position;
                waiting.is_relabelled |= verdict == TruthEffect::Supersedes;
                waiting.is_throttled = fate == Fate::Throttled;
            });
        }
        if let Some(held) = waiting.held_label
            && fate != Fate::Duplicate
            && Learner::is_held(fate)
        {
            self.replace(held, &last.feedback);
        }
        Ok((fate, None))
    }

    /// The truth that counts so far, which stands at this position.
    fn last_word(
        &self,
        label: NonZeroU64,
        waiting: PendingPrediction,
        lookup: &mut dyn Lookup,
    ) -> Result<LastWord, Error> {
        let found = lookup.feedback(label.get());
        let (accepted, feedback) = found.map_err(|what| self.missing(what))?;
        Ok(LastWord {
            feedback,
            accepted,
            is_correction: waiting.is_relabelled,
            gives_way: waiting.is_throttled || self.released.is_some(),
        })
    }

    /// The cost for a source of teaching `next`: nothing where the held truth is its own, of the same
    /// weight.
    fn cost_in_place_of(
        &self,
        held: Option<LearnedExample>,
        last: &Feedback,
        next: &Feedback,
    ) -> f64 {
        let is_own = |held: LearnedExample| {
            last.source == next.source
                && self.known_truth(&last.signal).map(index) == Some(held.value)
        };
        if held.is_some_and(is_own) {
            0.0
        } else {
            next.weight
        }
    }

    /// Learns the truth that counts, as far as it is not held; none where it is.
    fn learn_label(
        &mut self,
        id: PredictionId,
        held: Option<LearnedExample>,
        example: Example<'_>,
        target: Target,
    ) -> Option<Fate> {
        let value = index(target);
        let (fate, now) = match held {
            None => {
                let held = LearnedExample::new(value, self.learned.next_number(), example.weight);
                (self.learn(example, target), held)
            }
            Some(held) if held.value == value => return None,
            Some(held) => {
                let amendment = Amendment {
                    example: held.number.get(),
                    weight: held.weight,
                    before: at_index(target, held.value),
                    after: target,
                    n_since: self.n_since(held),
                    is_anchor: false,
                };
                (
                    self.amend(example, amendment),
                    LearnedExample { value, ..held },
                )
            }
        };
        if Learner::is_held(fate) {
            let joins = &mut self.accounts.pending;
            joins.update(id, |waiting| waiting.held_label = Some(now));
        }
        Some(fate)
    }

    /// The event of the held truth has given way.
    fn replace(&mut self, held: LearnedExample, last: &Feedback) {
        let waits = held.number.get() > self.learned.n_examples();
        self.accounts
            .ledger
            .replace(if waits { Fate::Pending } else { Fate::Applied });
        // After a restore another event than the last may have taught it.
        let taught = self.known_truth(&last.signal).map(index);
        if taught == Some(held.value) {
            self.accounts.sources.replace(&last.source);
        }
    }

    /// The [`Learner::truth`] of a label that has its place.
    fn known_truth(&self, signal: &Signal) -> Option<Target> {
        match (&self.spec.task, signal) {
            (Task::Classification { .. }, Signal::Label(label)) => {
                let mut names = self.learned.names().iter();
                let place = names.position(|known| known == label)?;
                Some(Target::Class(place as u32))
            }
            (Task::Bandit { .. }, Signal::Label(label)) => {
                self.spec.task.index(label).map(Target::BestAction)
            }
            (Task::Regression, Signal::Value(value)) => Some(Target::Value(*value)),
            _ => None,
        }
    }
}

/// The number that is held for a truth: the index of a class or action, or a value.
fn index(truth: Target) -> f64 {
    match truth {
        Target::Class(index) | Target::BestAction(index) => f64::from(index),
        Target::Value(value) => value,
        Target::Reward { reward, .. } | Target::Correction { reward, .. } => reward,
    }
}

/// The truth of the same kind of which this is held.
fn at_index(truth: Target, held: f64) -> Target {
    match truth {
        Target::BestAction(_) => Target::BestAction(held as u32),
        Target::Value(_) => Target::Value(held),
        _ => Target::Class(held as u32),
    }
}
