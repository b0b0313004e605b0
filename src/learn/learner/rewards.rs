//! The credit of a prediction from rewards, signals and preferences, and the learned part of it.
//!
//! Invariant: a credit is learned once. The credit is the world's and goes on; the learned part of
//! it goes back with a restore. A reward teaches the difference of the two: a whole example where
//! nothing is held, so that sums, late rewards and closed windows come out as if the final reward
//! had been there from the start. (The first revision does not distinguish them.) From the third revision on
//! a reward that adds nothing, as a second one where the first counts, teaches a credit that is not held.

use super::super::join::{LearnedExample, PendingPrediction};
use super::super::lookup::Lookup;
use super::super::rewards::{Reward, Windows};
use super::feedback::Example;
use super::{Error, Learner};
use crate::event::{Decision, Feedback, Outputs, Prediction, PredictionId, Signal};
use crate::learn::algorithms::example::Amendment;
use crate::learn::records::ledger::Fate;
use crate::model::{Target, Task};

impl Learner {
    /// The example of a signal whose row came with it.
    pub(super) fn target_of_row(
        &mut self,
        signal: &Signal,
        decision: Option<&Decision>,
    ) -> Option<Target> {
        let Some(reward) = self.windows().reward(signal) else {
            return self.truth(signal);
        };
        Some(Target::Reward {
            action: self.spec.task.index(&decision?.action)?,
            reward: reward.amount(),
        })
    }

    /// A reward, or a signal that is one, of a prediction.
    pub(super) fn reward(
        &mut self,
        id: PredictionId,
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<Fate, Error> {
        let waiting = match self.waiting(id) {
            Ok(waiting) => waiting,
            Err(fate) => return Ok(fate),
        };
        let Some(reward) = self.windows().reward(&feedback.signal) else {
            return Ok(Fate::Unmatched);
        };
        if let Some(fate) = self.refuses(&waiting, reward) {
            return Ok(fate);
        }
        let prediction = self.fetch(waiting.position, lookup)?;
        if self.is_over_budget(&feedback.source, feedback.weight) {
            self.score_throttled(waiting, reward, feedback, &prediction);
            return Ok(Fate::Throttled);
        }
        if self.windows().refuses(&waiting, reward).is_none() {
            self.monitor_reward(reward.amount());
        }
        let fate = self.earn(id, waiting, reward, feedback, &prediction);
        Ok(of_reward(waiting, fate))
    }

    /// The fate of a reward that teaches nothing: its prediction does not take it, and what it has earned
    /// is held.
    fn refuses(&self, waiting: &PendingPrediction, reward: Reward) -> Option<Fate> {
        let windows = self.windows();
        let refused = windows.refuses(waiting, reward);
        refused.filter(|_| !windows.is_undone(waiting))
    }

    /// Of two answers, the first was preferred: it earns one, the other nothing.
    pub(super) fn prefer(
        &mut self,
        ids: [PredictionId; 2],
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<Fate, Error> {
        let Task::Bandit { .. } = self.spec.task else {
            return Ok(Fate::Unmatched);
        };
        let rewards = Reward::preference();
        for (id, reward) in ids.into_iter().zip(rewards) {
            let refused = match self.waiting(id) {
                Ok(waiting) => self.refuses(&waiting, reward),
                Err(fate) => Some(fate),
            };
            if let Some(fate) = refused {
                return Ok(fate);
            }
        }
        if self.is_over_budget(&feedback.source, feedback.weight) {
            return Ok(Fate::Throttled);
        }
        let mut fates = Vec::with_capacity(2);
        for (id, reward) in ids.into_iter().zip(rewards) {
            // The same answer twice: the second finds that it has had its preference.
            match self.waiting(id) {
                Ok(waiting) if self.refuses(&waiting, reward).is_none() => {
                    let prediction = self.fetch(waiting.position, lookup)?;
                    let fate = self.earn(id, waiting, reward, feedback, &prediction);
                    fates.push((waiting, fate));
                }
                _ => {}
            }
        }
        let Some((waiting, first)) = fates.first().copied() else {
            return Ok(Fate::Duplicate);
        };
        if self.spec.revision < 2 {
            return Ok(of_reward(waiting, first));
        }
        let fate = fates
            .iter()
            .fold(None, |both, (_, fate)| of_both(both, *fate));
        let closed = fates.iter().find(|(waiting, _)| waiting.closed);
        let (waiting, _) = closed.unwrap_or(&fates[0]);
        Ok(of_reward(*waiting, fate))
    }

    /// Takes a reward: the credit of the prediction by now is judged, and learned as far as it is
    /// not held. None where it is held already.
    fn earn(
        &mut self,
        id: PredictionId,
        waiting: PendingPrediction,
        reward: Reward,
        feedback: &Feedback,
        prediction: &Prediction,
    ) -> Option<Fate> {
        let row = waiting.row as usize;
        let Outputs::Actions {
            chosen,
            propensities,
            ..
        } = &prediction.outputs
        else {
            return Some(Fate::Unmatched);
        };
        let action = chosen[row];
        let windows = Windows::at(&self.spec, self.stream.time);
        let reward = windows.credit(&mut self.accounts.pending, id, &waiting, reward);
        let target = Target::Reward { action, reward };
        match waiting.credited {
            _ if waiting.has_truth => {}
            None => {
                self.judge(prediction, row, target, Some(feedback));
            }
            Some(before) if before == reward => {}
            Some(before) => {
                self.accounts.evaluation.amend(reward - before);
                self.monitor_amended((prediction, row), [before, reward]);
            }
        }
        self.monitor_labelled((prediction, row), &waiting);
        let example = Example {
            source: Some(&feedback.source),
            tags: Some(&feedback.tags),
            weight: feedback.weight as f32,
            cost: cost(feedback),
            propensity: Some(f64::from(propensities[row])),
            // Silence that an order credited was scored by nobody.
            is_scored: waiting.signals != 0,
            ..Example::new(&prediction.batch, row)
        };
        if self.spec.revision < 2 {
            return self.earn_more(example, waiting.credited, target);
        }
        self.teach(id, waiting.held_reward, example, target)
    }

    /// A reward beyond the budget of its source earns its prediction nothing, so that no other source
    /// teaches it later: champion and candidate are scored on it.
    fn score_throttled(
        &mut self,
        waiting: PendingPrediction,
        reward: Reward,
        feedback: &Feedback,
        prediction: &Prediction,
    ) {
        let row = waiting.row as usize;
        let Outputs::Actions {
            chosen,
            propensities,
            ..
        } = &prediction.outputs
        else {
            return;
        };
        let target = Target::Reward {
            action: chosen[row],
            reward: reward.amount(),
        };
        let example = Example {
            source: Some(&feedback.source),
            tags: Some(&feedback.tags),
            propensity: Some(f64::from(propensities[row])),
            ..Example::new(&prediction.batch, row)
        };
        if waiting.credited.is_none() {
            self.score_sides(example, target);
        }
    }

    /// Learns the reward of a prediction, as far as it is not held; none where it is.
    fn teach(
        &mut self,
        id: PredictionId,
        held: Option<LearnedExample>,
        example: Example<'_>,
        target: Target,
    ) -> Option<Fate> {
        let Target::Reward { action, reward } = target else {
            return None;
        };
        let (fate, now) = match held {
            None => {
                let held = LearnedExample::new(reward, self.learned.next_number(), example.weight);
                (self.learn(example, target), held)
            }
            Some(held) if held.value == reward => return None,
            Some(held) => {
                let before = Target::Reward {
                    action,
                    reward: held.value,
                };
                let amendment = Amendment {
                    example: held.number.get(),
                    weight: held.weight,
                    before,
                    after: target,
                    n_since: self.n_since(held),
                    is_anchor: false,
                };
                let now = LearnedExample {
                    value: reward,
                    ..held
                };
                (self.amend(example, amendment), now)
            }
        };
        if Learner::is_held(fate) {
            let joins = &mut self.accounts.pending;
            joins.update(id, |waiting| waiting.held_reward = Some(now));
        }
        Some(fate)
    }

    /// Under the first revision: the credit `before` is taken for learned.
    fn earn_more(
        &mut self,
        example: Example<'_>,
        before: Option<f64>,
        target: Target,
    ) -> Option<Fate> {
        match (before, target) {
            (Some(before), Target::Reward { action, reward }) if before != reward => {
                let by = reward - before;
                Some(self.learn(example, Target::Correction { action, by, reward }))
            }
            (Some(_), _) => None,
            (None, _) => Some(self.learn(example, target)),
        }
    }
}

/// The cost of each example of an event to its source: a preference teaches two.
fn cost(feedback: &Feedback) -> f64 {
    match feedback.signal {
        Signal::PreferredOver(_) => feedback.weight / 2.0,
        _ => feedback.weight,
    }
}

/// The fate of a reward, of which nothing more is learned where all of it is held.
fn of_reward(waiting: PendingPrediction, fate: Option<Fate>) -> Fate {
    match fate {
        Some(Fate::Unmatched) => Fate::Unmatched,
        _ if waiting.closed => Fate::Late,
        fate => fate.unwrap_or(Fate::Applied),
    }
}

/// The fate of an event that teaches one example after the other: an update that the second fills
/// is of the first as well.
fn of_both(first: Option<Fate>, second: Option<Fate>) -> Option<Fate> {
    match (first, second) {
        (first, None) => first,
        (Some(Fate::Quarantined), _) => first,
        (_, second) => second,
    }
}
