//! The decisions that a server served, with their rewards, read without a server.
//!
//! Invariant: nothing is changed, and the whole journal is read before the first decision is
//! handed out. What was retracted counts nowhere.

use std::collections::{BTreeMap, VecDeque};
use std::mem::discriminant;

use crate::engine::error::Error;
use crate::engine::history::chosen::{Retractions, retractions};
use crate::engine::versions::saved::Versions;
use crate::event::{
    Batch, Column, Command, Description, Entry, Event, Order, Outputs, Prediction, PredictionId,
    Signal, Subject, Time,
};
use crate::learn::signals::{self, PREFERENCE};
use crate::model::{Aggregate, Input, InputKind, Rewards, Spec, Task};
use crate::store::Reader;

/// A decision and what it earned.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The position of its first reward, or where silence became one.
    pub position: u64,
    /// The one row that was asked about, with the inputs of the description that asks for it.
    pub batch: Batch,
    /// The name of the action that was served.
    pub action: String,
    /// The probability with which it was chosen, in (0, 1].
    pub propensity: f64,
    /// What came of it.
    pub reward: f64,
}

/// Decisions of a journal, one after the other; they end after the first error.
pub struct Decisions<'a> {
    model: &'a str,
    last_position: u64,
    reader: Reader,
    retracted: Retractions,
    asked: Spec,
    /// What the descriptions in force said, by the positions from which they were.
    described: BTreeMap<u64, Described>,
    waiting: BTreeMap<PredictionId, Waiting>,
    /// Their ids, oldest first; so many of them have a closed window.
    order: VecDeque<PredictionId>,
    n_closed: usize,
    /// Where windows close in the order of their deadlines: those that may still be open.
    open: BTreeMap<(Time, (u64, usize)), PredictionId>,
    /// What became of predictions that have made room.
    left: Vec<Outcome>,
    /// What became of all, once the whole journal was read.
    outcomes: Option<std::vec::IntoIter<Outcome>>,
}

/// What a description says.
struct Described {
    actions: Vec<String>,
    /// For each input that is asked for, its place in the journal's batches.
    places: Vec<usize>,
    waiting_max: usize,
    rewards: Rewards,
    /// The revision of the learning rules.
    revision: u32,
}

/// A prediction that takes rewards.
struct Waiting {
    /// Its entry, and its row there.
    at: (u64, usize),
    deadline: Time,
    /// Whether its truth has come: then silence earns nothing.
    told: bool,
    /// The signals that it has had, a bit for each.
    signals: u64,
    /// What it has earned, and since which position.
    earned: Option<(f64, u64)>,
    /// Whether its window closed in silence: then a late reward corrects what that earned.
    closed: bool,
}

/// Where an entry stands, and when it came.
#[derive(Clone, Copy)]
struct At {
    position: u64,
    time: Time,
}

/// What became of a prediction.
struct Outcome {
    at: (u64, usize),
    position: u64,
    reward: f64,
}

impl Iterator for Decisions<'_> {
    type Item = Result<Decided, Error>;

    fn next(&mut self) -> Option<Result<Decided, Error>> {
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

impl<'a> Decisions<'a> {
    pub fn new(
        versions: &'a Versions,
        last_position: u64,
        asked: &Spec,
    ) -> Result<Decisions<'a>, Error> {
        Ok(Decisions {
            model: &versions.model,
            last_position,
            reader: Reader::from_start(&versions.journal, 0)?,
            retracted: retractions(&versions.journal, last_position)?,
            asked: asked.clone(),
            described: BTreeMap::new(),
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            n_closed: 0,
            open: BTreeMap::new(),
            left: Vec::new(),
            outcomes: None,
        })
    }

    /// Reads the whole journal; outcomes by the positions of their rewards.
    fn gather(&mut self) -> Result<Vec<Outcome>, Error> {
        while let Some(entry) = self.reader.next(self.last_position)? {
            self.take(entry)?;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut outcomes = std::mem::take(&mut self.left);
        outcomes.extend(waiting.into_values().filter_map(Waiting::outcome));
        outcomes.sort_by_key(|outcome| (outcome.position, outcome.at));
        Ok(outcomes)
    }

    fn take(&mut self, entry: Entry) -> Result<(), Error> {
        let position = entry.position;
        self.close_windows(entry.time, position);
        match entry.event {
            Event::Description(description)
            | Event::Command(Command {
                order: Order::Adopt(description),
                ..
            }) => self.describe(&description, position)?,
            Event::Prediction(prediction) => self.wait(&prediction, entry.time, position)?,
            Event::Feedback(feedback) if !self.retracted.hold(position, &feedback, entry.time) => {
                if let Subject::Prediction(id) = feedback.subject {
                    let at = At {
                        position,
                        time: entry.time,
                    };
                    self.hear(id, &feedback.signal, at)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn describe(&mut self, description: &Description, position: u64) -> Result<(), Error> {
        let spec = Spec::journaled(&description.toml)
            .map_err(|error| self.damaged(format!("entry {position}: {error}")))?;
        if let Some((_, old)) = self.described.last_key_value() {
            let carry = |bits| signals::carry(bits, &old.rewards, &spec.rewards);
            let waiting = self.waiting.values_mut();
            waiting.for_each(|waiting| waiting.signals = carry(waiting.signals));
        }
        let described = Described {
            actions: actions(&spec)?,
            places: places(&spec, &self.asked)?,
            waiting_max: spec.waiting_max,
            rewards: spec.rewards,
            revision: spec.revision,
        };
        self.described.insert(position, described);
        Ok(())
    }

    fn wait(&mut self, prediction: &Prediction, time: Time, position: u64) -> Result<(), Error> {
        let described = self.described(position)?;
        let waiting_max = described.waiting_max;
        let deadline = Time(time.0 + described.rewards.window_s as i64 * 1_000_000);
        for (row, id) in prediction.ids.iter().enumerate() {
            let waiting = Waiting {
                at: (position, row),
                deadline,
                told: false,
                signals: 0,
                earned: None,
                closed: false,
            };
            self.open.insert((deadline, waiting.at), *id);
            self.waiting.insert(*id, waiting);
        }
        // A clock that went back makes ids smaller than those before, so their order is no guide.
        self.order.extend(&prediction.ids);
        while self.order.len() > waiting_max {
            let oldest = self.order.pop_front().expect("there are some");
            self.n_closed = self.n_closed.saturating_sub(1);
            let waiting = self.waiting.remove(&oldest);
            if let Some(waiting) = &waiting {
                self.open.remove(&(waiting.deadline, waiting.at));
            }
            self.left.extend(waiting.and_then(Waiting::outcome));
        }
        Ok(())
    }

    /// Silence becomes a reward where a window has closed and the description has one for it.
    fn close_windows(&mut self, now: Time, position: u64) {
        let Some((_, described)) = self.described.last_key_value() else {
            return;
        };
        let Some(reward) = described.rewards.default else {
            return;
        };
        if described.revision >= 2 {
            return self.close_by_deadline(now, position, reward);
        }
        while let Some(id) = self.order.get(self.n_closed) {
            match self.waiting.get_mut(id) {
                Some(waiting) if waiting.deadline >= now => return,
                Some(waiting) if !waiting.told && waiting.earned.is_none() => {
                    waiting.earned = Some((reward, position));
                    waiting.closed = true;
                }
                _ => {}
            }
            self.n_closed += 1;
        }
    }

    fn close_by_deadline(&mut self, now: Time, position: u64, reward: f64) {
        while let Some(first) = self.open.first_entry()
            && first.key().0 < now
        {
            let waiting = self.waiting.get_mut(&first.remove());
            if let Some(waiting) = waiting
                && !waiting.told
                && waiting.earned.is_none()
            {
                waiting.earned = Some((reward, position));
                waiting.closed = true;
            }
        }
    }

    fn hear(&mut self, id: PredictionId, signal: &Signal, at: At) -> Result<(), Error> {
        let rewards = &self.described(at.position)?.rewards;
        let aggregate = rewards.aggregate;
        let (bit, amount) = match signal {
            Signal::Reward(reward) => (signals::REWARD, *reward),
            Signal::Named { name, value } => match signals::reward(rewards, name, *value) {
                Some(known) => known,
                None => return Ok(()),
            },
            Signal::Label(_) | Signal::Value(_) => {
                let waiting = self.waiting.get_mut(&id);
                waiting.into_iter().for_each(|waiting| waiting.told = true);
                return Ok(());
            }
            Signal::PreferredOver(other) => {
                let takes = |id| {
                    let waiting = self.waiting.get(id);
                    waiting.is_some_and(|w| w.takes(aggregate, PREFERENCE, at.time))
                };
                if takes(&id) && takes(other) {
                    self.earn(id, aggregate, (PREFERENCE, 1.0), at);
                    self.earn(*other, aggregate, (PREFERENCE, 0.0), at);
                }
                return Ok(());
            }
        };
        self.earn(id, aggregate, (bit, amount), at);
        Ok(())
    }

    fn earn(&mut self, id: PredictionId, aggregate: Aggregate, (bit, amount): (u64, f64), at: At) {
        if let Some(waiting) = self.waiting.get_mut(&id)
            && waiting.takes(aggregate, bit, at.time)
        {
            // What silence earned gives way to what was heard.
            let heard = waiting.earned.filter(|_| waiting.signals != 0);
            let reward = signals::combine(aggregate, heard.map(|(reward, _)| reward), amount);
            let since = waiting.earned.map_or(at.position, |(_, since)| since);
            waiting.signals |= bit;
            waiting.earned = Some((reward, since));
        }
    }

    fn decided(&mut self, outcome: Outcome) -> Result<Decided, Error> {
        let Outcome {
            at: (at, row),
            position,
            reward,
        } = outcome;
        let Event::Prediction(prediction) = self.reader.read(at)?.event else {
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
        let Some(action) = described.actions.get(chosen[row] as usize) else {
            return Err(self.damaged(format!("entry {at} has an action that is not described")));
        };
        let mut batch = prediction.batch.row(row);
        batch.columns = arranged(&batch, &described.places, &self.asked);
        Ok(Decided {
            position,
            batch,
            action: action.clone(),
            propensity: f64::from(propensities[row]),
            reward,
        })
    }

    /// What the description said that was in force where an entry stands.
    fn described(&self, position: u64) -> Result<&Described, Error> {
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

impl Waiting {
    /// Whether a signal of this bit still counts, as it did for the learner.
    fn takes(&self, aggregate: Aggregate, bit: u64, now: Time) -> bool {
        let late = now > self.deadline;
        signals::takes(aggregate, self.signals, bit) && (self.closed || !late)
    }

    fn outcome(self) -> Option<Outcome> {
        self.earned.map(|(reward, position)| Outcome {
            at: self.at,
            position,
            reward,
        })
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

/// The columns at `places`, as the other description takes them: a text that it does not want
/// encoded is again what it was.
pub(crate) fn arranged(batch: &Batch, places: &[usize], asked: &Spec) -> Vec<Column> {
    let columns = places.iter().zip(&asked.inputs);
    let column = |(place, input): (&usize, &Input)| match &batch.columns[*place] {
        Column::Embedded { texts, .. } if !matches!(input.kind, InputKind::Embedded { .. }) => {
            Column::Strings(texts.clone())
        }
        column => column.clone(),
    };
    columns.map(column).collect()
}

/// Where the inputs of one description stand in the batches of another.
pub(crate) fn places(journaled: &Spec, asked: &Spec) -> Result<Vec<usize>, Error> {
    let refused = |what| {
        Err(Error::Refused {
            field: "input",
            what,
        })
    };
    let places = asked.inputs.iter().map(|input| {
        let mut known = journaled.inputs.iter();
        let Some(place) = known.position(|known| known.name == input.name) else {
            return refused(format!("{:?} is not in the journal", input.name));
        };
        let kind = &journaled.inputs[place].kind;
        let fits = match (kind, &input.kind) {
            (InputKind::Number { gaps }, InputKind::Number { gaps: allowed }) => *allowed || !gaps,
            // Both are text as it came.
            (
                InputKind::Category | InputKind::Text | InputKind::Embedded { .. },
                InputKind::Category | InputKind::Text,
            ) => true,
            (InputKind::Embedded { encoder, .. }, InputKind::Embedded { encoder: asked, .. }) => {
                encoder.digest == asked.digest
            }
            (
                InputKind::EmbeddedVector { encoder, .. },
                InputKind::EmbeddedVector { encoder: asked, .. },
            ) => encoder.digest == asked.digest,
            (InputKind::Vector { length, .. }, InputKind::Vector { length: asked, .. }) => {
                length == asked
            }
            (kind, asked) => discriminant(kind) == discriminant(asked),
        };
        match fits {
            true => Ok(place),
            false => refused(format!(
                "{:?} is a {kind} in the journal, and does not fit what is described",
                input.name
            )),
        }
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(inputs: &str) -> Spec {
        Spec::parse(&format!("task = 'bandit'\nactions = ['a', 'b']\n{inputs}")).unwrap()
    }

    #[test]
    fn inputs_are_found_by_name_and_must_fit() {
        let number = "[[input]]\nname = 'x'\nkind = 'number'\n";
        let gaps = "[[input]]\nname = 'x'\nkind = 'number'\nmissing = 'mean'\n";
        let category = "[[input]]\nname = 'c'\nkind = 'category'\n";
        let text = "[[input]]\nname = 'c'\nkind = 'text'\n";
        let vector = |n| format!("[[input]]\nname = 'x'\nkind = 'vector'\nlength = {n}\n");
        let check = |journaled: &str, asked: &str, expected: Option<&[usize]>| {
            let found = places(&spec(journaled), &spec(asked)).ok();
            assert_eq!(found.as_deref(), expected, "{journaled} {asked}");
        };
        let both = format!("{number}{category}");
        check(&both, &format!("{category}{number}"), Some(&[1, 0]));
        check(&both, text, Some(&[1]));
        check(&both, gaps, Some(&[0]));
        check(gaps, number, None);
        check(number, category, None);
        check(number, &vector(2), None);
        check(&vector(2), &vector(2), Some(&[0]));
        check(&vector(2), &vector(3), None);
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
