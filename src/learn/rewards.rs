//! Reward windows: the rewards that a prediction takes, the sum that they make, and the reward of
//! silence once its window has closed.
//!
//! Invariant: the credit of a prediction follows from the description in force, journal time and
//! the signals before. The learner and the reader of logged decisions follow these rules alone, so
//! that a decision is valued by the credit of the learner.

use super::join::{PendingPrediction, PendingPredictions, PredictionSearch};
use super::signals::{self, PREFERENCE, REWARD};
use crate::event::{Prediction, PredictionId, Signal, Time};
use crate::learn::records::ledger::Fate;
use crate::model::{Spec, Task};

/// From this revision on, a reward that its prediction does not take teaches the credit that a restore
/// has undone.
const REPEATS: u32 = 3;

/// The windows of one description at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Windows<'a> {
    spec: &'a Spec,
    now: Time,
}

/// A reward for a prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reward {
    /// The bit of its signal.
    signal: u64,
    amount: f64,
}

impl<'a> Windows<'a> {
    /// The windows of a description at journal time `now`.
    pub(crate) fn at(spec: &'a Spec, now: Time) -> Windows<'a> {
        Windows { spec, now }
    }

    /// Carries the windows of waiting predictions over to a description that begins at `position`.
    pub(crate) fn revise(
        joins: &mut PendingPredictions,
        position: u64,
        before: &Spec,
        next: &Spec,
    ) {
        let (old, new) = (&before.rewards, &next.rewards);
        joins.carry_signals(|bits| signals::carry(bits, old, new));
        if next.revision >= 2 && new.window_s != old.window_s {
            joins.note_window(position, old.window_s as i64 * 1_000_000);
        }
        joins.reconfigure(next);
    }

    /// Keeps every row of a prediction, whose window opens now, and drops the oldest predictions
    /// beyond `feedback.waiting_max`.
    pub(crate) fn open(
        &self,
        joins: &mut PendingPredictions,
        prediction: &Prediction,
        position: u64,
    ) {
        let deadline = Time(self.now.0 + self.window_us());
        joins.wait(prediction, position, deadline);
        joins.make_room(self.spec.waiting_max);
    }

    /// The next window to close in silence, with the default reward; none where silence earns
    /// nothing, and before the end of the next window.
    pub(crate) fn next_due(
        &self,
        joins: &mut PendingPredictions,
    ) -> Option<(PredictionId, PendingPrediction, f64)> {
        let reward = self.spec.rewards.default?;
        let (id, waiting) = joins.next_due(self.now)?;
        Some((id, waiting, reward))
    }

    /// The window of one prediction, if it closes in silence, with the default reward. Under the first
    /// revision windows close in the order of the predictions, and none before its turn.
    pub(crate) fn due(
        &self,
        joins: &PendingPredictions,
        id: PredictionId,
    ) -> Option<(PendingPrediction, f64)> {
        let reward = self.spec.rewards.default?;
        let waiting = self.find(joins, id).ok()?;
        let is_due = waiting.deadline < self.now && waiting.is_silent();
        (is_due && self.spec.revision >= 2).then_some((waiting, reward))
    }

    /// Credits the default reward to a prediction whose window closes in silence.
    pub(crate) fn close(&self, joins: &mut PendingPredictions, id: PredictionId, reward: f64) {
        joins.update(id, |waiting| {
            waiting.credited = Some(reward);
            waiting.closed = true;
        });
    }

    /// Drops the predictions that are older than `journal.age_max` allows.
    pub(crate) fn expire(&self, joins: &mut PendingPredictions) {
        let has_ended =
            |one: &PendingPrediction, window_us| self.takes_until(one, window_us) < self.now;
        joins.expire(has_ended);
    }

    /// Until when a prediction takes feedback.
    pub(crate) fn ends(&self, joins: &PendingPredictions, waiting: &PendingPrediction) -> Time {
        self.takes_until(waiting, joins.window_us(waiting.position))
    }

    /// When a prediction was accepted.
    pub(crate) fn began(&self, joins: &PendingPredictions, waiting: &PendingPrediction) -> Time {
        let window_us = joins.window_us(waiting.position);
        Time(waiting.deadline.0 - window_us.unwrap_or(self.window_us()))
    }

    /// The prediction that feedback names.
    ///
    /// # Errors
    /// The fate of the feedback, where the prediction takes none.
    pub(crate) fn find(
        &self,
        joins: &PendingPredictions,
        id: PredictionId,
    ) -> Result<PendingPrediction, Fate> {
        match joins.find(id) {
            // One whose window is still to be closed has not been dropped yet.
            PredictionSearch::Waiting(waiting)
                if self.spec.revision >= 2 && self.ends(joins, &waiting) < self.now =>
            {
                Err(Fate::Expired)
            }
            PredictionSearch::Waiting(waiting) => Ok(waiting),
            PredictionSearch::Expired => Err(Fate::Expired),
            PredictionSearch::Unknown => Err(Fate::Unmatched),
        }
    }

    /// The reward that a signal stands for; none for a truth, for a preference, and for a name that
    /// is not described.
    pub(crate) fn reward(&self, signal: &Signal) -> Option<Reward> {
        let Task::Bandit { .. } = self.spec.task else {
            return None;
        };
        let (signal, amount) = match signal {
            Signal::Reward(reward) => (REWARD, *reward),
            Signal::Named { name, value } => signals::reward(&self.spec.rewards, name, *value)?,
            Signal::Label(_) | Signal::Value(_) | Signal::PreferredOver(_) => return None,
        };
        Some(Reward { signal, amount })
    }

    /// Takes note that the truth of a prediction has come, if a signal is one: from then on silence
    /// earns nothing.
    pub(crate) fn note_truth(
        &self,
        joins: &mut PendingPredictions,
        id: PredictionId,
        signal: &Signal,
    ) {
        let is_truth = match signal {
            Signal::Label(label) => self.spec.task.index(label).is_some(),
            _ => false,
        };
        if is_truth && self.find(joins, id).is_ok() {
            joins.update(id, |waiting| waiting.has_truth = true);
        }
    }

    /// The fate of a reward that a prediction does not take.
    pub(crate) fn refuses(&self, waiting: &PendingPrediction, reward: Reward) -> Option<Fate> {
        if !signals::takes(self.spec.rewards.aggregate, waiting.signals, reward.signal) {
            return Some(match waiting.signals & reward.signal {
                0 => Fate::Superseded,
                _ => Fate::Duplicate,
            });
        }
        let late = self.now > waiting.deadline;
        (late && !waiting.closed).then_some(Fate::Late)
    }

    /// True if a reward that the prediction does not take teaches its credit again, which a restore has
    /// undone.
    pub(crate) fn is_undone(&self, waiting: &PendingPrediction) -> bool {
        let held = waiting.held_reward.map(|held| held.value);
        let in_time = self.now <= waiting.deadline || waiting.closed;
        let is_undone = waiting.signals != 0 && waiting.credited != held;
        self.spec.revision >= REPEATS && in_time && is_undone
    }

    /// Credits a reward, and gives the sum of the rewards of the prediction by then: one that it does not
    /// take adds nothing. The first reward replaces the reward of silence.
    pub(crate) fn credit(
        &self,
        joins: &mut PendingPredictions,
        id: PredictionId,
        waiting: &PendingPrediction,
        reward: Reward,
    ) -> f64 {
        let aggregate = self.spec.rewards.aggregate;
        let before = waiting.credited.filter(|_| waiting.signals != 0);
        let credit = match before {
            Some(credit) if !signals::takes(aggregate, waiting.signals, reward.signal) => credit,
            before => signals::combine(aggregate, before, reward.amount),
        };
        joins.update(id, |waiting| {
            waiting.signals |= reward.signal;
            waiting.credited = Some(credit);
        });
        credit
    }

    fn window_us(&self) -> i64 {
        self.spec.rewards.window_s as i64 * 1_000_000
    }

    /// As long after the prediction was accepted as its age allows. Its window may have been of
    /// another length than one of this description.
    fn takes_until(&self, waiting: &PendingPrediction, window_us: Option<i64>) -> Time {
        let age_max_us = self.spec.journal.age_max_s as i64 * 1_000_000;
        let window_us = window_us.unwrap_or(self.window_us());
        let waits_us = match self.spec.task {
            // Truths have no window.
            Task::Classification { .. } | Task::Regression if self.spec.revision > 1 => age_max_us,
            _ => age_max_us.max(window_us),
        };
        Time(waiting.deadline.0 - window_us + waits_us)
    }
}

impl Reward {
    /// The rewards of two answers of which the first was preferred.
    pub(crate) fn preference() -> [Reward; 2] {
        [1.0, 0.0].map(|amount| Reward {
            signal: PREFERENCE,
            amount,
        })
    }

    /// The reward for this row alone.
    pub(crate) fn amount(&self) -> f64 {
        self.amount
    }
}
