//! Reward windows: how long predictions wait, and what silence earns when a window closes.
//!
//! Invariant: from the second revision on, what becomes of a prediction is decided by its own
//! deadline. So many windows close within an entry at most; whatever is said of a prediction whose
//! window is due closes that one first, and what silence has earned before an order counts before it.

use std::sync::Arc;

use super::super::archive::Archive;
use super::super::join::{Found, Held, Waiting};
use super::feedback::Example;
use super::{Error, Learner, Step};
use crate::event::{Outputs, Prediction, PredictionId, Time};
use crate::learn::records::ledger::Fate;
use crate::model::{Spec, Target, Task};

/// Windows that close within an entry at most: with the slower learners, a tenth of a second. What is
/// due beyond it closes within the next entries, or with ticks.
pub const PER_ENTRY_MAX: usize = 64;

impl Learner {
    /// Closes the windows whose ends journal time has passed, `n_max` at most: silence has earned
    /// the default reward. True where something was learned by that.
    ///
    /// Under the first revision all of them close.
    pub(super) fn close_windows(
        &mut self,
        n_max: usize,
        archive: &mut dyn Archive,
    ) -> Result<bool, Error> {
        let n_max = match self.spec.revision {
            1 => usize::MAX,
            _ => n_max,
        };
        let Some(reward) = self.spec.rewards.default else {
            return Ok(false);
        };
        for n_closed in 0..n_max {
            if self.failed.is_some() {
                return Ok(n_closed > 0);
            }
            let Some((id, waiting)) = self.world.joins.next_due(self.world.time) else {
                return Ok(n_closed > 0);
            };
            self.close(id, waiting, reward, archive)?;
        }
        Ok(true)
    }

    /// A window closes in silence.
    fn close(
        &mut self,
        id: PredictionId,
        waiting: Waiting,
        reward: f64,
        archive: &mut dyn Archive,
    ) -> Result<(), Error> {
        let row = waiting.row as usize;
        let prediction = self.fetch(waiting.position, archive)?;
        let held = Held::new(reward, self.learned.next_number());
        let mut fate = None;
        if let Outputs::Actions { chosen, .. } = &prediction.outputs {
            let action = chosen[row];
            let target = Target::Reward { action, reward };
            self.judge(&prediction, row, target);
            let example = Example {
                ..Example::new(&prediction.batch, row)
            };
            fate = Some(self.learn(example, target));
        }
        let is_held = self.spec.revision >= 2 && fate.is_some_and(Learner::is_held);
        self.world.joins.update(id, |waiting| {
            waiting.credited = Some(reward);
            waiting.closed = true;
            waiting.held_reward = is_held.then_some(held);
        });
        Ok(())
    }

    /// What is due has earned its reward by silence; nothing of it is learned, since an order brings
    /// back what was learned before.
    pub(super) fn credit_silence(&mut self) {
        let Some(reward) = self.spec.rewards.default else {
            return;
        };
        while let Some((id, _)) = self.world.joins.next_due(self.world.time) {
            self.world.evaluation.judge(reward);
            self.world.joins.update(id, |waiting| {
                waiting.credited = Some(reward);
                waiting.closed = true;
            });
        }
    }

    /// Lets a prediction wait, and the oldest beyond `feedback.waiting_max` go.
    pub(super) fn wait(
        &mut self,
        prediction: &Prediction,
        archive: &mut dyn Archive,
    ) -> Result<Step, Error> {
        let window_us = self.spec.rewards.window_s as i64 * 1_000_000;
        let deadline = Time(self.world.time.0 + window_us);
        let (position, max) = (self.world.position, self.spec.waiting_max);
        let n_waiting = self.world.joins.len() + prediction.ids.len();
        let n_oldest = n_waiting.saturating_sub(max);
        let due = self.world.joins.due_among(n_oldest, self.world.time);
        let changed = !due.is_empty();
        for id in due {
            self.close_if_due(id, archive)?;
        }
        self.world.joins.wait(prediction, position, deadline);
        self.world.joins.make_room(max);
        self.note_unlabelled(prediction);
        Ok(Step {
            changed,
            ..Step::default()
        })
    }

    /// Predictions take no feedback beyond the age at which the journal may let them go.
    pub(super) fn expire(&mut self) {
        let (now, spec) = (self.world.time, &self.spec);
        let has_ended = |one: &Waiting, window_us| waits_until(spec, one, window_us) < now;
        self.world.joins.expire(has_ended);
    }

    /// The first moment at which the next entry ends the waiting of the oldest prediction.
    pub fn next_expiry(&self) -> Option<Time> {
        let oldest = self.world.joins.oldest()?;
        Some(Time(self.waits_until(oldest).0 + 1))
    }

    fn waits_until(&self, waiting: &Waiting) -> Time {
        let window_us = self.world.joins.window_us(waiting.position);
        waits_until(&self.spec, waiting, window_us)
    }

    /// The prediction that an event speaks of, or what becomes of the event.
    pub(super) fn waiting(&self, id: PredictionId) -> Result<Waiting, Fate> {
        match self.world.joins.find(id) {
            // One that is still to be closed has not gone yet.
            Found::Waiting(waiting) if self.spec.revision >= 2 => {
                if self.waits_until(&waiting) < self.world.time {
                    Err(Fate::Expired)
                } else {
                    Ok(waiting)
                }
            }
            Found::Waiting(waiting) => Ok(waiting),
            Found::Expired => Err(Fate::Expired),
            Found::Unknown => Err(Fate::Unmatched),
        }
    }

    /// Closes the window of a prediction, where it is due and still open.
    pub(super) fn close_if_due(
        &mut self,
        id: PredictionId,
        archive: &mut dyn Archive,
    ) -> Result<(), Error> {
        let (Some(reward), Ok(waiting)) = (self.spec.rewards.default, self.waiting(id)) else {
            return Ok(());
        };
        let due = waiting.deadline < self.world.time && waiting.is_silent();
        match due && self.spec.revision >= 2 {
            true => self.close(id, waiting, reward, archive),
            false => Ok(()),
        }
    }

    /// The prediction entry at a position. A request of several rows is decoded once for all that
    /// speak of it one after the other.
    pub(super) fn fetch(
        &mut self,
        position: u64,
        archive: &mut dyn Archive,
    ) -> Result<Arc<Prediction>, Error> {
        if let Some((known, request)) = &self.request.0
            && *known == position
        {
            return Ok(request.clone());
        }
        let found = archive.prediction(position);
        let found = Arc::new(found.map_err(|what| self.missing(what))?.into_owned());
        let several = found.batch.n_rows > 1;
        self.request.0 = several.then(|| (position, found.clone()));
        Ok(found)
    }
}

/// Until when a prediction takes feedback: as long after it was accepted as its age allows. Its
/// window may have been of another length than one of this description.
fn waits_until(spec: &Spec, waiting: &Waiting, window_us: Option<i64>) -> Time {
    let age_max_us = spec.journal.age_max_s as i64 * 1_000_000;
    let window_us = window_us.unwrap_or(spec.rewards.window_s as i64 * 1_000_000);
    let waits_us = match spec.task {
        // Truths have no window.
        Task::Classification { .. } | Task::Regression if spec.revision > 1 => age_max_us,
        _ => age_max_us.max(window_us),
    };
    Time(waiting.deadline.0 - window_us + waits_us)
}

#[cfg(test)]
mod tests;
