//! Reward windows: the time that predictions wait, and the reward of silence when a window closes.
//!
//! Invariant: from the second revision on, the fate of a prediction is decided by its own deadline.
//! So many windows close within an entry at most; feedback on a prediction whose window is due
//! closes that one first, and silence that was rewarded before an order counts before it.

use std::sync::Arc;

use super::super::join::{LearnedExample, PendingPrediction};
use super::super::lookup::Lookup;
use super::super::rewards::Windows;
use super::feedback::Example;
use super::{Error, Learner, Step};
use crate::event::{Outputs, Prediction, PredictionId, Time};
use crate::learn::monitors::ScoredAnswer;
use crate::learn::records::ledger::Fate;
use crate::model::Target;

/// Windows that close within an entry at most: with the slower learners, a tenth of a second. The
/// others that are due close within the next entries, or with ticks.
pub(super) const PER_ENTRY_MAX: usize = 64;

impl Learner {
    /// The windows of the description in force at the time of the entry.
    pub(super) fn windows(&self) -> Windows<'_> {
        Windows::at(&self.spec, self.stream.time)
    }

    /// Closes the windows whose ends journal time has passed, `n_max` at most: silence has earned
    /// the default reward. True where something was learned by that.
    ///
    /// Under the first revision all of them close.
    pub(super) fn close_windows(
        &mut self,
        n_max: usize,
        lookup: &mut dyn Lookup,
    ) -> Result<bool, Error> {
        let n_max = match self.spec.revision {
            1 => usize::MAX,
            _ => n_max,
        };
        if self.spec.rewards.default.is_none() {
            return Ok(false);
        }
        for n_closed in 0..n_max {
            if self.failed.is_some() {
                return Ok(n_closed > 0);
            }
            let windows = Windows::at(&self.spec, self.stream.time);
            let Some((id, waiting, reward)) = windows.next_due(&mut self.accounts.pending) else {
                return Ok(n_closed > 0);
            };
            self.close(id, waiting, reward, lookup)?;
        }
        Ok(true)
    }

    /// A window closes in silence.
    fn close(
        &mut self,
        id: PredictionId,
        waiting: PendingPrediction,
        reward: f64,
        lookup: &mut dyn Lookup,
    ) -> Result<(), Error> {
        let row = waiting.row as usize;
        let prediction = self.fetch(waiting.position, lookup)?;
        let held = LearnedExample::new(reward, self.learned.next_number(), 1.0);
        let mut fate = None;
        if let Outputs::Actions {
            chosen,
            propensities,
            ..
        } = &prediction.outputs
        {
            let action = chosen[row];
            let target = Target::Reward { action, reward };
            self.judge(&prediction, row, target, None);
            let example = Example {
                propensity: Some(f64::from(propensities[row])),
                ..Example::new(&prediction.batch, row)
            };
            fate = Some(self.learn(example, target));
        }
        let is_held = self.spec.revision >= 2 && fate.is_some_and(Learner::is_held);
        let joins = &mut self.accounts.pending;
        Windows::at(&self.spec, self.stream.time).close(joins, id, reward);
        joins.update(id, |waiting| {
            waiting.held_reward = is_held.then_some(held);
        });
        Ok(())
    }

    /// Credits the silence of every window that is due; nothing of it is learned, since an order
    /// brings back an earlier state.
    pub(super) fn credit_silence(&mut self) {
        let windows = Windows::at(&self.spec, self.stream.time);
        let joins = &mut self.accounts.pending;
        while let Some((id, _, reward)) = windows.next_due(joins) {
            self.accounts.evaluation.judge(reward);
            if let Some(monitors) = &mut self.accounts.monitors {
                monitors.judge(&ScoredAnswer::Reward(reward), &[], &self.spec.monitor);
            }
            windows.close(joins, id, reward);
        }
    }

    /// Lets a prediction wait, and the oldest beyond `feedback.waiting_max` go.
    pub(super) fn wait(
        &mut self,
        prediction: &Prediction,
        lookup: &mut dyn Lookup,
    ) -> Result<Step, Error> {
        let n_waiting = self.accounts.pending.len() + prediction.ids.len();
        let n_oldest = n_waiting.saturating_sub(self.spec.waiting_max);
        let due = self.accounts.pending.due_among(n_oldest, self.stream.time);
        let changed = !due.is_empty() && self.serves_what_comes();
        for id in due {
            self.close_if_due(id, lookup)?;
        }
        let windows = Windows::at(&self.spec, self.stream.time);
        windows.open(&mut self.accounts.pending, prediction, self.stream.position);
        self.note_unlabelled(prediction);
        self.watch_prediction(prediction);
        self.monitor_asked(prediction);
        self.learned.note_asked(prediction);
        Ok(Step {
            changed,
            ..Step::default()
        })
    }

    /// Predictions take no feedback beyond the age at which the journal may remove them, and feedback that waits in
    /// quarantine, counts towards a budget, or is waited for in silence, has its time as well.
    pub(super) fn expire(&mut self) {
        self.note_silences();
        let windows = Windows::at(&self.spec, self.stream.time);
        windows.expire(&mut self.accounts.pending);
        self.expire_quarantined();
        self.forget_spent();
    }

    /// The first moment at which the next entry ends the waiting of the oldest prediction.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        let oldest = self.accounts.pending.oldest()?;
        Some(Time(
            self.windows().ends(&self.accounts.pending, oldest).0 + 1,
        ))
    }

    /// The prediction that an event speaks of, or the fate of the event.
    pub(super) fn waiting(&self, id: PredictionId) -> Result<PendingPrediction, Fate> {
        self.windows().find(&self.accounts.pending, id)
    }

    /// True if no prediction of this id waits, or has gone by its age: feedback about it ends as
    /// unmatched.
    pub(crate) fn is_unknown(&self, id: PredictionId) -> bool {
        matches!(self.waiting(id), Err(Fate::Unmatched))
    }

    /// Closes the window of a prediction, where it is due and still open.
    pub(super) fn close_if_due(
        &mut self,
        id: PredictionId,
        lookup: &mut dyn Lookup,
    ) -> Result<(), Error> {
        match self.windows().due(&self.accounts.pending, id) {
            Some((waiting, reward)) => self.close(id, waiting, reward, lookup),
            None => Ok(()),
        }
    }

    /// The prediction entry at a position. A request of several rows is decoded once for all that
    /// speak of it one after the other.
    pub(super) fn fetch(
        &mut self,
        position: u64,
        lookup: &mut dyn Lookup,
    ) -> Result<Arc<Prediction>, Error> {
        if let Some((known, request)) = &self.request.0
            && *known == position
        {
            return Ok(request.clone());
        }
        let found = lookup.prediction(position);
        let found = Arc::new(found.map_err(|what| self.missing(what))?.into_owned());
        let several = found.batch.n_rows > 1;
        self.request.0 = several.then(|| (position, found.clone()));
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
