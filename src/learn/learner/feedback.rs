//! One feedback event, or one closing window: join, score, learn.
//!
//! Invariant: what a prediction has earned is learned once. A reward that changes it later is
//! learned as the difference, so that sums, late rewards and closed windows come out as if the
//! final reward had been there from the start.

use std::borrow::Cow;

use super::super::archive::Archive;
use super::super::gradient::Outcome;
use super::super::join::{Found, Waiting};
use super::super::learned::Amendment;
use super::super::ledger::Fate;
use super::super::signals::{self, PREFERENCE, REWARD};
use super::{Error, History, Learner, Omission, Step};
use crate::event::{Batch, Decision, Feedback, Outputs, Prediction, PredictionId, Signal, Subject};
use crate::model::{Target, Task};

/// A reward on its way to a prediction.
#[derive(Clone, Copy)]
struct Earning {
    /// Which of the prediction's signals it is.
    signal: u64,
    amount: f64,
}

impl Learner {
    /// One feedback event.
    pub(super) fn take(
        &mut self,
        feedback: &Feedback,
        archive: &mut dyn Archive,
    ) -> Result<Step, Error> {
        let (position, time) = (self.world.position, self.world.time);
        let seen = &mut self.world.seen;
        seen.forget(time);
        if seen.position(&feedback.feedback_id).is_some() {
            return Ok(self.end(Fate::Duplicate));
        }
        seen.insert(&feedback.feedback_id, position, time);
        if self.omits(feedback) {
            return Ok(self.end(Fate::Retracted));
        }
        let fate = match &feedback.subject {
            Subject::Inputs { batch, decision } => {
                match self.target_of_row(&feedback.signal, decision.as_ref()) {
                    Some(target) => {
                        let example = self.example_of_event(&feedback.feedback_id);
                        self.learn((batch, 0), target, example, Some(&feedback.source))
                    }
                    None => Fate::Unmatched,
                }
            }
            Subject::Prediction(id) => self.speak(*id, feedback, archive)?,
        };
        let mut step = self.end(fate);
        // Also while an example waits for its update: the encoder has seen the row.
        step.changed = !matches!(
            fate,
            Fate::Duplicate | Fate::Superseded | Fate::Unmatched | Fate::Expired
        );
        Ok(step)
    }

    fn omits(&self, feedback: &Feedback) -> bool {
        let History::Other(omissions) = &self.history else {
            return false;
        };
        let world = &self.world;
        let omits = |omission: &Omission| {
            world.position < omission.before && omission.selector.chooses(feedback, world.time)
        };
        omissions.iter().any(omits)
    }

    /// Closes the windows whose ends journal time has passed: silence has earned the default
    /// reward. True where something was learned by that.
    pub(super) fn close_windows(&mut self, archive: &mut dyn Archive) -> Result<bool, Error> {
        let Some(reward) = self.spec.rewards.default else {
            return Ok(false);
        };
        let mut closed = false;
        while self.failed.is_none()
            && let Some((id, waiting)) = self.world.joins.next_due(self.world.time)
        {
            let row = waiting.row as usize;
            let prediction = self.fetch(waiting.position, archive)?;
            if let Outputs::Actions { chosen, .. } = &prediction.outputs {
                let action = chosen[row];
                self.judge(&prediction, row, Target::Reward { action, reward });
                let target = Target::Reward { action, reward };
                let example = self.example_of(id);
                self.learn((&prediction.batch, row), target, example, None);
            }
            if let Some(waiting) = self.world.joins.get_mut(id) {
                waiting.earned = Some(reward);
                waiting.closed = true;
            }
            closed = true;
        }
        Ok(closed)
    }

    /// What a signal says of a row that came with it.
    fn target_of_row(&mut self, signal: &Signal, decision: Option<&Decision>) -> Option<Target> {
        let Some(earning) = self.earning(signal) else {
            return self.truth(signal);
        };
        Some(Target::Reward {
            action: self.spec.task.index(&decision?.action)?,
            reward: earning.amount,
        })
    }

    /// The reward that a signal is; none for a truth, and for a name that nothing describes.
    fn earning(&self, signal: &Signal) -> Option<Earning> {
        let Task::Bandit { .. } = self.spec.task else {
            return None;
        };
        let (signal, amount) = match signal {
            Signal::Reward(reward) => (REWARD, *reward),
            Signal::Named { name, value } => signals::reward(&self.spec.rewards, name, *value)?,
            Signal::Label(_) | Signal::Value(_) | Signal::PreferredOver(_) => return None,
        };
        Some(Earning { signal, amount })
    }

    /// The truth that a signal is in this task; a label never seen takes a free place.
    fn truth(&mut self, signal: &Signal) -> Option<Target> {
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

    /// A signal about a prediction.
    fn speak(
        &mut self,
        id: PredictionId,
        feedback: &Feedback,
        archive: &mut dyn Archive,
    ) -> Result<Fate, Error> {
        let (signal, source) = (&feedback.signal, &feedback.source);
        let waiting = match self.waiting(id) {
            Ok(waiting) => waiting,
            Err(fate) => return Ok(fate),
        };
        match signal {
            Signal::PreferredOver(other) => self.prefer([id, *other], source, archive),
            Signal::Label(_) | Signal::Value(_) if waiting.told => Ok(Fate::Duplicate),
            Signal::Label(_) | Signal::Value(_) => {
                let prediction = self.fetch(waiting.position, archive)?;
                let Some(target) = self.truth(signal) else {
                    return Ok(Fate::Unmatched);
                };
                if let Some(waiting) = self.world.joins.get_mut(id) {
                    waiting.told = true;
                }
                let row = waiting.row as usize;
                if waiting.earned.is_none() {
                    self.judge(&prediction, row, target);
                }
                let example = self.example_of(id);
                Ok(self.learn((&prediction.batch, row), target, example, Some(source)))
            }
            Signal::Reward(_) | Signal::Named { .. } => {
                let Some(earning) = self.earning(signal) else {
                    return Ok(Fate::Unmatched);
                };
                if let Some(fate) = self.refuses(waiting, earning) {
                    return Ok(fate);
                }
                let prediction = self.fetch(waiting.position, archive)?;
                Ok(self.earn(id, waiting, earning, source, &prediction))
            }
        }
    }

    /// Of two answers, the first was preferred: it earns one, the other nothing.
    fn prefer(
        &mut self,
        ids: [PredictionId; 2],
        source: &str,
        archive: &mut dyn Archive,
    ) -> Result<Fate, Error> {
        let Task::Bandit { .. } = self.spec.task else {
            return Ok(Fate::Unmatched);
        };
        let earnings = [1.0, 0.0].map(|amount| Earning {
            signal: PREFERENCE,
            amount,
        });
        for (id, earning) in ids.into_iter().zip(earnings) {
            let refused = match self.waiting(id) {
                Ok(waiting) => self.refuses(waiting, earning),
                Err(fate) => Some(fate),
            };
            if let Some(fate) = refused {
                return Ok(fate);
            }
        }
        let mut fates = Vec::with_capacity(2);
        for (id, earning) in ids.into_iter().zip(earnings) {
            // The same answer twice: the second finds that it has had its preference.
            match self.waiting(id) {
                Ok(waiting) if self.refuses(waiting, earning).is_none() => {
                    let prediction = self.fetch(waiting.position, archive)?;
                    fates.push(self.earn(id, waiting, earning, source, &prediction));
                }
                _ => {}
            }
        }
        Ok(fates.first().copied().unwrap_or(Fate::Duplicate))
    }

    fn waiting(&self, id: PredictionId) -> Result<Waiting, Fate> {
        match self.world.joins.find(id) {
            Found::Waiting(waiting) => Ok(waiting),
            Found::Expired => Err(Fate::Expired),
            Found::Unknown => Err(Fate::Unmatched),
        }
    }

    fn fetch<'a>(
        &self,
        position: u64,
        archive: &'a mut dyn Archive,
    ) -> Result<Cow<'a, Prediction>, Error> {
        let found = archive.prediction(position);
        found.map_err(|what| self.missing(what))
    }

    /// Why a waiting prediction does not take this reward.
    fn refuses(&self, waiting: Waiting, earning: Earning) -> Option<Fate> {
        if !signals::takes(self.spec.rewards.aggregate, waiting.signals, earning.signal) {
            return Some(match waiting.signals & earning.signal {
                0 => Fate::Superseded,
                _ => Fate::Duplicate,
            });
        }
        let late = self.world.time > waiting.deadline;
        (late && !waiting.closed).then_some(Fate::Late)
    }

    /// A reward that is taken: what it changes of what the prediction has earned is learned.
    fn earn(
        &mut self,
        id: PredictionId,
        waiting: Waiting,
        earning: Earning,
        source: &str,
        prediction: &Prediction,
    ) -> Fate {
        let row = waiting.row as usize;
        let Outputs::Actions { chosen, .. } = &prediction.outputs else {
            return Fate::Unmatched;
        };
        let action = chosen[row];
        let heard = waiting.earned.filter(|_| waiting.signals != 0);
        let reward = signals::combine(self.spec.rewards.aggregate, heard, earning.amount);
        if let Some(waiting) = self.world.joins.get_mut(id) {
            waiting.signals |= earning.signal;
            waiting.earned = Some(reward);
        }
        let fate = match waiting.earned {
            None => {
                let target = Target::Reward { action, reward };
                if !waiting.told {
                    self.judge(prediction, row, target);
                }
                let example = self.example_of(id);
                self.learn((&prediction.batch, row), target, example, Some(source))
            }
            Some(before) if before == reward => Fate::Applied,
            Some(before) => {
                let by = reward - before;
                if !waiting.told {
                    self.world.evaluation.amend(by);
                }
                let features = (&prediction.batch, row);
                if let Some(example) = self.example_of(id) {
                    let reward_of = |reward| Target::Reward { action, reward };
                    let amendment = Amendment {
                        example,
                        before: reward_of(before),
                        after: reward_of(reward),
                        learned_at: 0,
                    };
                    self.amend(features, amendment, Some(source))
                } else {
                    let target = Target::Correction { action, by, reward };
                    self.learn(features, target, None, Some(source))
                }
            }
        };
        match waiting.closed {
            true => Fate::Late,
            false => fate,
        }
    }

    /// The id that an example of a prediction is learned under; none under revision 1.
    fn example_of(&self, id: PredictionId) -> Option<u128> {
        (self.spec.revision >= 2).then_some(id.0)
    }

    /// The same of an event that brought its own row: the first half of the hash of its id.
    fn example_of_event(&self, feedback_id: &str) -> Option<u128> {
        let hash = blake3::hash(feedback_id.as_bytes());
        let half = hash.as_bytes().first_chunk().expect("it has 32 bytes");
        (self.spec.revision >= 2).then(|| u128::from_be_bytes(*half))
    }

    /// Learns one example of a source, or of silence, and says what that means for the event that
    /// brought it.
    fn learn(
        &mut self,
        (batch, row): (&Batch, usize),
        target: Target,
        example: Option<u128>,
        source: Option<&str>,
    ) -> Fate {
        self.world.evaluation.follow(target);
        let mut scores = Vec::new();
        let encoders = &self.encoders.0;
        let outcome = (self.learned).observe(batch, row, target, example, encoders, &mut scores);
        self.settle(outcome, &scores, source)
    }

    /// Makes good what was learned of an example, and says what that means for the event that
    /// changed it.
    fn amend(
        &mut self,
        (batch, row): (&Batch, usize),
        amendment: Amendment,
        source: Option<&str>,
    ) -> Fate {
        let outcome = (self.learned).amend(batch, row, amendment, &self.encoders.0);
        self.settle(outcome, &[], source)
    }

    fn settle(&mut self, outcome: Outcome, scores: &[f64], source: Option<&str>) -> Fate {
        let world = &mut self.world;
        let names = || self.learned.shares().into_iter().map(|(name, _)| name);
        let evaluation = &mut world.evaluation;
        evaluation.score_members(|| names().collect(), scores);
        source.iter().for_each(|source| world.sources.wait(source));
        let fate = match outcome {
            Outcome::Waits => return Fate::Pending,
            Outcome::Updated(_) => {
                world.sources.settle();
                Fate::Applied
            }
            Outcome::Rejected(_) => {
                world.sources.reject();
                Fate::Quarantined
            }
            Outcome::Failed(what) => {
                self.failed = Some(what);
                return Fate::Pending;
            }
        };
        world.ledger.settle(fate);
        fate
    }

    pub(super) fn end(&mut self, fate: Fate) -> Step {
        self.world.ledger.add(fate);
        Step {
            fate: Some(fate),
            ..Step::default()
        }
    }
}
