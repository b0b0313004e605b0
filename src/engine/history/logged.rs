//! The decisions that a server served, with their rewards, read without a server.
//!
//! Invariant: nothing is changed, and the whole journal is read before the first decision is
//! handed out. The reward of a decision is the one that the learner credited to it; retracted feedback counts
//! nowhere.

use std::collections::BTreeMap;

use crate::engine::error::Error;
use crate::engine::history::error as history;
use crate::engine::history::facts::Facts;
use crate::engine::history::inputs::{arranged, places};
use crate::engine::history::pass::Pass;
use crate::engine::versions::saved::Versions;
use crate::event::{
    Batch, Command, Description, Entry, Event, Feedback, Order, Outputs, Prediction, Signal,
    Subject, Time,
};
use crate::learn::PendingPredictions;
use crate::learn::rewards::{Reward, Windows};
use crate::model::{Spec, Task};

/// A decision and its reward.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedDecision {
    /// The position of its first reward, or where silence became one.
    pub position: u64,
    /// The one row that was asked about, with the inputs of the description that asks for it.
    pub batch: Batch,
    /// The name of the action that was served.
    pub action: String,
    /// The probability with which it was chosen, in (0, 1].
    pub propensity: f64,
    /// Its reward.
    pub reward: f64,
}

/// Decisions of a journal, one after the other; they end after the first error.
pub struct LoggedDecisions<'a> {
    model: &'a str,
    last_position: u64,
    pass: Pass,
    facts: Facts,
    asked: Spec,
    /// The descriptions, by the positions from which they were in force.
    described: BTreeMap<u64, LoggedDescription>,
    /// The newest of them, and the predictions that wait under it.
    spec: Option<Spec>,
    joins: PendingPredictions,
    /// The outcome of every prediction that has one, by its entry and its row there.
    credits: BTreeMap<(u64, u32), Credit>,
    /// The outcomes of all predictions, once the whole journal was read.
    outcomes: Option<std::vec::IntoIter<CreditedReward>>,
}

/// The parts of a description that a decision needs.
struct LoggedDescription {
    actions: Vec<String>,
    /// The places of the inputs that are asked for in the journal's batches.
    places: Vec<Option<usize>>,
}

/// The reward of a prediction so far.
#[derive(Clone, Copy)]
struct Credit {
    /// The position of its first reward, or where silence became one.
    since: u64,
    reward: f64,
}

/// The outcome of a prediction that has a reward.
struct CreditedReward {
    at: (u64, u32),
    position: u64,
    reward: f64,
}

impl Iterator for LoggedDecisions<'_> {
    type Item = Result<LoggedDecision, Error>;

    fn next(&mut self) -> Option<Result<LoggedDecision, Error>> {
        if self.outcomes.is_none() {
            let gathered = self.gather();
            let (outcomes, error) = match gathered {
                Ok(outcomes) => (outcomes, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            self.outcomes = Some(outcomes.into_iter());
            if let Some(error) = error {
                return Some(Err(error));
            }
        }
        let outcome = self.outcomes.as_mut()?.next()?;
        let decided = self.decided(outcome);
        if decided.is_err() {
            self.outcomes = Some(Vec::new().into_iter());
        }
        Some(decided)
    }
}

impl<'a> LoggedDecisions<'a> {
    pub(crate) fn new(
        versions: &'a Versions,
        last_position: u64,
        facts: &Facts,
        asked: &Spec,
    ) -> Result<LoggedDecisions<'a>, Error> {
        Ok(LoggedDecisions {
            model: &versions.model,
            last_position,
            pass: Pass::from_start(versions, 0)?,
            facts: facts.clone(),
            asked: asked.clone(),
            described: BTreeMap::new(),
            spec: None,
            joins: PendingPredictions::default(),
            credits: BTreeMap::new(),
            outcomes: None,
        })
    }

    /// Reads the whole journal; outcomes by the positions of their rewards.
    fn gather(&mut self) -> Result<Vec<CreditedReward>, Error> {
        while let Some(entry) = self.pass.next(self.last_position)? {
            self.take(entry)?;
        }
        let credits = std::mem::take(&mut self.credits).into_iter();
        let outcomes = credits.map(|(at, Credit { since, reward })| CreditedReward {
            at,
            position: since,
            reward,
        });
        let mut outcomes: Vec<CreditedReward> = outcomes.collect();
        outcomes.sort_by_key(|outcome| (outcome.position, outcome.at));
        Ok(outcomes)
    }

    fn take(&mut self, entry: Entry) -> Result<(), Error> {
        let Entry {
            position,
            time,
            event,
        } = entry;
        self.pass_time(time, position);
        match event {
            Event::Description(description)
            | Event::Command(Command {
                order: Order::Adopt(description),
                ..
            }) => self.describe(&description, position)?,
            Event::Prediction(prediction) => self.open(&prediction, time, position)?,
            Event::Feedback(feedback) => {
                let until = self.last_position;
                let retracted = self.facts.retracted_by(position, time, &feedback, until);
                if retracted.is_none() {
                    self.credit(&feedback, time, position);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Closes the windows that have ended, and drops the predictions that are too old.
    fn pass_time(&mut self, now: Time, position: u64) {
        let Some(spec) = &self.spec else { return };
        let windows = Windows::at(spec, now);
        while let Some((id, waiting, reward)) = windows.next_due(&mut self.joins) {
            windows.close(&mut self.joins, id, reward);
            let since = position;
            let credit = Credit { since, reward };
            self.credits.insert((waiting.position, waiting.row), credit);
        }
        windows.expire(&mut self.joins);
    }

    fn describe(&mut self, description: &Description, position: u64) -> Result<(), Error> {
        let spec = Spec::journaled(&description.toml)
            .map_err(|error| self.damaged(format!("entry {position}: {error}")))?;
        let described = LoggedDescription {
            actions: actions(&spec)?,
            places: places(&spec, &self.asked).map_err(|error| match error {
                history::Error::Input(what) => Error::Refused {
                    field: "input",
                    what,
                },
                error => error.of_request(self.model, "input"),
            })?,
        };
        self.described.insert(position, described);
        let before = self.spec.as_ref().unwrap_or(&spec);
        Windows::revise(&mut self.joins, position, before, &spec);
        self.spec = Some(spec);
        Ok(())
    }

    fn open(&mut self, prediction: &Prediction, now: Time, position: u64) -> Result<(), Error> {
        let Some(spec) = &self.spec else {
            return Err(self.damaged(format!("no description before entry {position}")));
        };
        Windows::at(spec, now).open(&mut self.joins, prediction, position);
        Ok(())
    }

    /// Credits the rewards that a feedback event stands for.
    fn credit(&mut self, feedback: &Feedback, now: Time, position: u64) {
        let (Some(spec), Subject::Prediction(id)) = (&self.spec, &feedback.subject) else {
            return;
        };
        let windows = Windows::at(spec, now);
        let takes = |joins: &PendingPredictions, id, reward| {
            let waiting = windows.find(joins, id).ok()?;
            windows
                .refuses(&waiting, reward)
                .is_none()
                .then_some(waiting)
        };
        let rewards = match &feedback.signal {
            Signal::PreferredOver(other) => {
                let ids = [*id, *other].into_iter();
                let rewards: Vec<_> = ids.zip(Reward::preference()).collect();
                let mut both = rewards.iter();
                if both.all(|(id, reward)| takes(&self.joins, *id, *reward).is_some()) {
                    rewards
                } else {
                    Vec::new()
                }
            }
            signal => {
                windows.note_truth(&mut self.joins, *id, signal);
                let reward = windows.reward(signal);
                reward.into_iter().map(|reward| (*id, reward)).collect()
            }
        };
        for (id, reward) in rewards {
            if let Some(waiting) = takes(&self.joins, id, reward) {
                let reward = windows.credit(&mut self.joins, id, &waiting, reward);
                let at = (waiting.position, waiting.row);
                let since = self.credits.get(&at).map_or(position, |one| one.since);
                self.credits.insert(at, Credit { since, reward });
            }
        }
    }

    fn decided(&mut self, outcome: CreditedReward) -> Result<LoggedDecision, Error> {
        let CreditedReward {
            at: (at, row),
            position,
            reward,
        } = outcome;
        let Event::Prediction(prediction) = self.pass.read(at)?.event else {
            return Err(self.damaged(format!("entry {at} is not a prediction")));
        };
        let described = self.described(at)?;
        let Outputs::Actions {
            chosen,
            propensities,
            ..
        } = &prediction.outputs
        else {
            return Err(self.damaged(format!("entry {at} holds no decision")));
        };
        let row = row as usize;
        let Some(action) = described.actions.get(chosen[row] as usize) else {
            return Err(self.damaged(format!("entry {at} has an action that is not described")));
        };
        let mut batch = prediction.batch.row(row);
        batch.columns = arranged(&batch, &described.places, &self.asked);
        Ok(LoggedDecision {
            position,
            batch,
            action: action.clone(),
            propensity: f64::from(propensities[row]),
            reward,
        })
    }

    /// The description in force where an entry stands.
    fn described(&self, position: u64) -> Result<&LoggedDescription, Error> {
        let mut described = self.described.range(..=position);
        let (_, described) = described
            .next_back()
            .ok_or_else(|| self.damaged(format!("no description before entry {position}")))?;
        Ok(described)
    }

    fn damaged(&self, what: String) -> Error {
        Error::Damaged {
            model: self.model.to_owned(),
            what,
        }
    }
}

fn actions(journaled: &Spec) -> Result<Vec<String>, Error> {
    match &journaled.task {
        Task::Bandit { actions } => Ok(actions.clone()),
        task => Err(Error::Refused {
            field: "journal",
            what: format!(
                "it is of a {}, and only a bandit makes decisions",
                task.word()
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(inputs: &str) -> Spec {
        Spec::parse(&format!("task = 'bandit'\nactions = ['a', 'b']\n{inputs}")).unwrap()
    }

    #[test]
    fn only_a_bandit_makes_decisions() {
        let regression = Spec::parse("task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'");
        let error = actions(&regression.unwrap()).unwrap_err().to_string();
        assert!(error.contains("regression"), "{error}");
        let bandit = spec("[[input]]\nname = 'x'\nkind = 'number'");
        assert_eq!(actions(&bandit).unwrap(), ["a", "b"]);
    }
}
