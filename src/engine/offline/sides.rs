//! The two sides of a comparison: a version, and the state beside it.
//!
//! Invariant: both answer the same questions, and neither learns.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::compute::described::LoadedDescription;
use crate::engine::error::Error;
use crate::engine::history::facts::Facts;
use crate::engine::history::inputs::{arranged, places};
use crate::engine::history::orders::RecordedFacts;
use crate::engine::history::rebuild::Rebuild;
use crate::engine::versions::error::Error as StateError;
use crate::engine::versions::saved::Versions;
use crate::event::{Batch, Order};
use crate::learn::{AnsweringState, Learner, RowAnswer, RowOutputs, TaintedVersions};
use crate::model::{LearnerKind, Past, Spec, Task, weight_check, widths};
use crate::store::checkpoint::read_foreign_file;

/// One side of a comparison.
#[derive(Clone, Debug)]
pub enum Side {
    /// A version, as it is.
    Version(u64),
    /// The state that another description leads to at the position of the version beside it.
    Described(Box<LoadedDescription>, PathBuf),
    /// The version beside it with the weights of this file in its network.
    Weights(PathBuf),
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Side::Version(version) => write!(f, "version {version}"),
            Side::Described(_, path) | Side::Weights(path) => path.display().fmt(f),
        }
    }
}

/// The journal and the versions that sides are taken from.
pub(crate) struct SideSource<'a> {
    pub versions: &'a Versions,
    pub facts: &'a Facts,
    /// The last position of the journal.
    pub last: u64,
    pub tainted: TaintedVersions,
}

/// A state that answers, and its reading of rows.
pub(crate) struct AnsweringSide {
    pub name: String,
    pub state: AnsweringState,
    /// The places of its outputs among the classes of both sides; none of a value.
    pub outputs: Vec<usize>,
    /// The position up to which it may have learned.
    pub position: u64,
    /// The places of its inputs in the batches of the description in force.
    places: Vec<Option<usize>>,
}

impl<'a> SideSource<'a> {
    /// The journal: its folder, its facts, and its last position.
    pub(crate) fn journal(&self) -> (&'a Versions, &'a Facts, u64) {
        (self.versions, self.facts, self.last)
    }

    /// The state of a version that holds nothing which was retracted.
    pub(crate) fn version(&self, version: u64) -> Result<Learner, Error> {
        let model = &self.versions.model;
        let manifest = self.versions.get(version, 0)?;
        if let Some(what) = self.tainted.refusal(version) {
            let field = "version";
            return Err(Error::Refused { field, what });
        }
        let state = self.versions.state_of_version(&manifest);
        state.map_err(|error| match error {
            StateError::Store(error) if error.is_passing() => Error::Store(error),
            error => Error::Damaged {
                model: model.clone(),
                what: format!("version {version} cannot be read: {error}"),
            },
        })
    }

    /// The state of a side beside a version.
    fn beside(&self, version: &Learner, side: &Side) -> Result<Learner, Error> {
        match side {
            Side::Version(version) => self.version(*version),
            Side::Described(described, _) => self.described(described, version.position()),
            Side::Weights(path) => with_weights(version.clone(), path),
        }
    }

    /// The state that a description leads to at a position.
    fn described(&self, described: &LoadedDescription, position: u64) -> Result<Learner, Error> {
        let order = Order::Adopt(described.description.clone());
        let known = RecordedFacts {
            written: self.last,
            ..RecordedFacts::new(self.facts.clone())
        };
        let rebuild = Rebuild::begin(self.versions, &order, position, &known);
        let rebuilt = rebuild.and_then(|rebuild| rebuild.finish(position));
        let rebuilt =
            rebuilt.map_err(|error| error.of_request(&self.versions.model, "description"))?;
        Ok(rebuilt.learner)
    }

    /// Both sides, with the classes that they answer.
    pub(crate) fn pair(
        &self,
        version: u64,
        other: &Side,
    ) -> Result<([AnsweringSide; 2], Vec<String>), Error> {
        let first = self.version(version)?;
        let second = self.beside(&first, other)?;
        let name = format!("version {version}");
        check_tasks((&name, first.spec()), (&other.to_string(), second.spec()))?;
        if !matches!(other, Side::Version(_)) {
            check_classes((&name, first.spec()), (&other.to_string(), second.spec()))?;
        }
        let mut names = first.learned().names().to_vec();
        let mut place = |name: &String| {
            let known = names.iter().position(|known| known == name);
            known.unwrap_or_else(|| {
                names.push(name.clone());
                names.len() - 1
            })
        };
        let outputs = [&first, &second].map(|one| {
            let names = one.learned().names().iter();
            names.map(&mut place).collect::<Vec<usize>>()
        });
        let [of_first, of_second] = outputs;
        let position = match other {
            Side::Weights(_) => 0,
            _ => second.position(),
        };
        let mut sides = [
            self.answering(name, first, of_first)?,
            self.answering(other.to_string(), second, of_second)?,
        ];
        sides[1].position = position;
        let [one, two] = &mut sides;
        if one.state.learner().position() < two.state.learner().position() {
            one.state.see_values_of(&two.state);
        } else {
            two.state.see_values_of(&one.state);
        }
        Ok((sides, names))
    }

    fn answering(
        &self,
        name: String,
        learner: Learner,
        outputs: Vec<usize>,
    ) -> Result<AnsweringSide, Error> {
        let position = learner.position();
        let mut state = learner.answering();
        let brought = state.bring_encoders(|pinned| self.versions.encoder(pinned));
        brought.map_err(|error| Error::Damaged {
            model: self.versions.model.clone(),
            what: format!("{name} cannot answer: {error}"),
        })?;
        Ok(AnsweringSide {
            name,
            state,
            outputs,
            position,
            places: Vec::new(),
        })
    }
}

impl AnsweringSide {
    /// Rows are asked under this description from here on.
    pub(crate) fn describe(&mut self, journaled: &Spec) -> Result<(), Error> {
        let places = places(journaled, self.state.spec());
        self.places = places.map_err(|error| Error::Refused {
            field: "input",
            what: format!("{}: {error}", self.name),
        })?;
        Ok(())
    }

    /// A batch of the journal, as this side reads it.
    pub(crate) fn arranged(&self, batch: &Batch) -> Batch {
        Batch {
            n_rows: batch.n_rows,
            columns: arranged(batch, &self.places, self.state.spec()),
        }
    }

    /// The answer to a row, over the `n_names` classes of both sides.
    pub(crate) fn answer(
        &self,
        (batch, row): (&Batch, usize),
        past: Option<&Arc<Past>>,
        n_names: usize,
    ) -> Option<RowAnswer> {
        let RowAnswer { answer, chosen } = self.state.answer(batch, row, past)?;
        if self.outputs.is_empty() {
            return Some(RowAnswer { answer, chosen });
        }
        let mut outputs = vec![0.0; n_names];
        for (place, share) in self.outputs.iter().zip(answer.outputs) {
            outputs[*place] = share;
        }
        Some(RowAnswer {
            answer: RowOutputs { outputs },
            chosen: chosen.map(|place| self.outputs[place]),
        })
    }
}

/// The version's state with the weights of a file.
fn with_weights(version: Learner, path: &Path) -> Result<Learner, Error> {
    let refused = |what: String| Error::Refused {
        field: "weights",
        what,
    };
    let shown = path.display();
    let spec = version.spec().clone();
    let LearnerKind::Gradient(settings) = &spec.learner else {
        let why = "only learner.kind = \"gradient\" has a network that can arrive trained";
        return Err(refused(why.to_owned()));
    };
    let (_, file) = read_foreign_file(Path::new("/"), path)?;
    let matches = weight_check(&widths(&spec, settings), &file);
    if let Some(wrong) = matches.iter().find(|one| one.advice.is_some()) {
        return Err(refused(format!("{shown}: {wrong}")));
    }
    let given = version.with_weights(&file);
    given.map_err(|error| refused(format!("{shown}: {error}")))
}

/// Refuses sides that answer different questions.
fn check_tasks(one: (&str, &Spec), two: (&str, &Spec)) -> Result<(), Error> {
    let (was, is) = (one.1.task.word(), two.1.task.word());
    if was == is {
        return Ok(());
    }
    Err(Error::Refused {
        field: "task",
        what: format!(
            "{} is a {was} and {} a {is}: compare models of one task",
            one.0, two.0
        ),
    })
}

/// Refuses a description that names other classes or actions.
fn check_classes(one: (&str, &Spec), two: (&str, &Spec)) -> Result<(), Error> {
    let key = match one.1.task {
        Task::Bandit { .. } => "actions",
        _ => "classes",
    };
    for (has, lacks) in [(one, two), (two, one)] {
        let mut names = has.1.task.names().iter();
        if let Some(name) = names.find(|name| lacks.1.task.index(name).is_none()) {
            return Err(Error::Refused {
                field: key,
                what: format!(
                    "{name:?} is one of {} and not of {}: compare models of the same {key}",
                    has.0, lacks.0
                ),
            });
        }
    }
    Ok(())
}
