//! The decisions that a server served, with their rewards, read without a server.
//!
//! Invariant: nothing is changed, and the whole journal is checked before the first decision is
//! handed out. A data directory that a server has open is refused.

use std::collections::{BTreeMap, VecDeque};
use std::mem::discriminant;
use std::path::Path;

use super::error::Error;
use super::offline::inspect;
use super::versions::UNNAMED;
use crate::event::{
    Batch, Entry, Event, Feedback, Outputs, Prediction, PredictionId, Signal, Subject,
};
use crate::learn::Learner;
use crate::model::{InputKind, Spec, Task};
use crate::store::{Directory, Reader, checkpoint};

/// The data of one model, as long as this lives safe from any server.
#[derive(Debug)]
pub struct Served {
    directory: Directory,
    model: String,
    first_position: u64,
    last_position: u64,
}

/// A decision and the first reward that came for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The position of the reward.
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

impl Served {
    /// Locks a data directory for looking, and checks the journal of one of its models.
    ///
    /// # Errors
    /// [`Error::Store`]: a server has the directory open, it is none, or the journal is damaged.
    /// [`Error::Refused`]: no such model has a journal there.
    pub fn open(data: &Path, model: &str) -> Result<Served, Error> {
        let (directory, report) = inspect(data, model)?;
        Ok(Served {
            directory,
            model: model.to_owned(),
            first_position: report.last_position + 1 - report.entries,
            last_position: report.last_position,
        })
    }

    /// The learner as it was at a version.
    ///
    /// # Errors
    /// [`Error::NoVersion`]: there is none of this number. [`Error::Store`] and
    /// [`Error::Damaged`]: its checkpoint is not what was saved.
    pub fn version(&self, version: u64) -> Result<Learner, Error> {
        let folder = self.directory.checkpoints(&self.model);
        let listed = checkpoint::list(&folder)?;
        let mut known = Vec::new();
        for manifest in listed.into_iter().filter_map(|one| one.manifest.ok()) {
            // A clean stop saves a state that is no version, and so does retention.
            if UNNAMED.contains(&manifest.reason.as_str()) {
                continue;
            }
            if manifest.version == version {
                let saved = checkpoint::load(&folder, manifest.position)?;
                let loaded = Learner::load(saved.weights, saved.learner);
                return loaded.map_err(|error| Error::Damaged {
                    model: self.model.clone(),
                    what: format!("version {version}: {error}"),
                });
            }
            known.push(manifest.version.to_string());
        }
        Err(Error::NoVersion {
            model: self.model.clone(),
            version,
            known: known.join(", "),
        })
    }

    /// Every decision that a reward came for, in the order of their first rewards, as a model of
    /// the description `asked` would take it.
    ///
    /// Rewards count however late they came. Corrections and signals other than a reward do not,
    /// nor do decisions that were made elsewhere and came with their feedback.
    ///
    /// # Errors
    /// [`Error::Store`]: the journal cannot be read.
    pub fn decisions(&self, asked: &Spec) -> Result<Decisions<'_>, Error> {
        let journal = self.directory.journal(&self.model);
        Ok(Decisions {
            served: self,
            reader: Reader::open(&journal, self.first_position, 0)?,
            asked: asked.clone(),
            described: None,
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            ended: false,
        })
    }
}

/// Decisions of a journal, one after the other; they end after the first error.
pub struct Decisions<'a> {
    served: &'a Served,
    reader: Reader,
    asked: Spec,
    described: Option<Described>,
    /// Where each prediction without a reward stands: its entry and its row there.
    waiting: BTreeMap<PredictionId, (u64, usize)>,
    /// Predictions in the order in which they came, whether they still wait or not.
    order: VecDeque<PredictionId>,
    ended: bool,
}

/// What the description in force says.
struct Described {
    actions: Vec<String>,
    /// For each input that is asked for, its place in the journal's batches.
    places: Vec<usize>,
    waiting_max: usize,
}

impl Iterator for Decisions<'_> {
    type Item = Result<Decided, Error>;

    fn next(&mut self) -> Option<Result<Decided, Error>> {
        while !self.ended {
            let entry = match self.reader.next(self.served.last_position) {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
            };
            if let Some(decided) = self.take(entry).transpose() {
                self.ended = decided.is_err();
                return Some(decided);
            }
        }
        self.ended = true;
        None
    }
}

impl Decisions<'_> {
    fn take(&mut self, entry: Entry) -> Result<Option<Decided>, Error> {
        let position = entry.position;
        match entry.event {
            Event::Description(description) => {
                let spec = Spec::parse(&description.toml)
                    .map_err(|error| self.damaged(format!("entry {position}: {error}")))?;
                self.described = Some(Described {
                    actions: actions(&spec)?,
                    places: places(&spec, &self.asked)?,
                    waiting_max: spec.waiting_max,
                });
            }
            Event::Prediction(prediction) => self.wait(&prediction, position)?,
            Event::Feedback(Feedback {
                subject: Subject::Prediction(id),
                signal: Signal::Reward(reward),
                ..
            }) => {
                if let Some((entry, row)) = self.waiting.remove(&id) {
                    return self.join(entry, row, position, reward).map(Some);
                }
            }
            _ => {}
        }
        Ok(None)
    }

    fn wait(&mut self, prediction: &Prediction, position: u64) -> Result<(), Error> {
        let waiting_max = self.described(position)?.waiting_max;
        let rows = prediction.ids.iter().enumerate();
        self.waiting
            .extend(rows.map(|(row, id)| (*id, (position, row))));
        // A clock that went back makes ids smaller than those before, so their order is no guide.
        self.order.extend(&prediction.ids);
        while self.waiting.len() > waiting_max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.waiting.remove(&oldest);
        }
        while (self.order.front()).is_some_and(|oldest| !self.waiting.contains_key(oldest)) {
            self.order.pop_front();
        }
        Ok(())
    }

    fn join(&mut self, at: u64, row: usize, position: u64, reward: f64) -> Result<Decided, Error> {
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
        let places = described.places.iter();
        batch.columns = places.map(|&place| batch.columns[place].clone()).collect();
        Ok(Decided {
            position,
            batch,
            action: action.clone(),
            propensity: f64::from(propensities[row]),
            reward,
        })
    }

    fn described(&self, position: u64) -> Result<&Described, Error> {
        let described = self.described.as_ref();
        described.ok_or_else(|| self.damaged(format!("no description before entry {position}")))
    }

    fn damaged(&self, what: String) -> Error {
        Error::Damaged {
            model: self.served.model.clone(),
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

/// Where the inputs of one description stand in the batches of another.
pub(super) fn places(journaled: &Spec, asked: &Spec) -> Result<Vec<usize>, Error> {
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
            (InputKind::Category | InputKind::Text, InputKind::Category | InputKind::Text) => true,
            (InputKind::Vector { length }, InputKind::Vector { length: asked }) => length == asked,
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
