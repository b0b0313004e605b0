//! Translation of a journal to another description: its inputs, found by their names, and the
//! answers that a model of that description gives.
//!
//! Invariant: the actions that were taken, their propensities and their feedback stay.

use std::collections::BTreeMap;

use crate::engine::history::error::Error;
use crate::engine::history::inputs::{arranged, places};
use crate::event::{
    Batch, Command, Description, Entry, Event, Feedback, Order, Outputs, Prediction, Subject,
    value_text,
};
use crate::learn::Learner;
use crate::model::{Choice, Model, Spec, Task, argmax};

/// The translation of a journal's entries into those of another description.
pub(crate) struct Translation {
    description: Description,
    spec: Spec,
    /// The descriptions in force, and the places of the inputs in their batches, by the positions
    /// from which they were in force.
    journaled: BTreeMap<u64, (Spec, Vec<Option<usize>>)>,
    /// The answers given instead, by position, as long as feedback may come.
    answers: BTreeMap<u64, (Outputs, BTreeMap<u32, String>)>,
    /// The model that answers; none where it has changed.
    model: Option<Model>,
    divergence: Option<Divergence>,
}

/// The first place at which two models answer differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// The position of the prediction.
    pub position: u64,
    /// The answer that was served.
    pub served: String,
    /// The answer under the other description.
    pub other: String,
}

impl Translation {
    pub(crate) fn new(description: Description) -> Result<Translation, Error> {
        let spec = Spec::journaled(&description.toml)?;
        Ok(Translation {
            description,
            spec,
            journaled: BTreeMap::new(),
            answers: BTreeMap::new(),
            model: None,
            divergence: None,
        })
    }

    /// The first divergence of the answers, if they differ.
    pub(crate) fn divergence(&self) -> Option<Divergence> {
        self.divergence.clone()
    }

    /// Takes note that the learner answers differently from here on.
    pub(crate) fn changed(&mut self) {
        self.model = None;
    }

    /// An entry as the learner is to see it.
    pub(crate) fn entry(&mut self, mut entry: Entry, learner: &Learner) -> Result<Entry, Error> {
        let position = entry.position;
        entry.event = match entry.event {
            Event::Description(journaled) => {
                let journaled = Spec::journaled(&journaled.toml)?;
                self.describe(position, journaled)?;
                Event::Description(self.description.clone())
            }
            Event::Prediction(prediction) => {
                let answered = self.answer(position, prediction, learner)?;
                Event::Prediction(answered)
            }
            Event::Feedback(feedback) => Event::Feedback(self.feedback(position, feedback)?),
            // A description that was adopted gives way to this one; the order only tells how the
            // journal goes on.
            Event::Command(Command {
                order: Order::Adopt(journaled),
                actor,
                note,
            }) => {
                let journaled = Spec::journaled(&journaled.toml)?;
                self.describe(position, journaled)?;
                let order = Order::Checkpoint;
                Event::Command(Command { order, actor, note })
            }
            // A learner that began anew did so under this description.
            Event::Command(Command {
                order: Order::Retrain { from, .. },
                actor,
                note,
            }) => {
                let description = self.description.clone();
                let order = Order::Retrain { from, description };
                Event::Command(Command { order, actor, note })
            }
            event => event,
        };
        Ok(entry)
    }

    /// The translation for a learner that began anew, which has answered nothing yet.
    pub(crate) fn begun_anew(&self) -> Translation {
        Translation {
            description: self.description.clone(),
            spec: self.spec.clone(),
            journaled: self.journaled.clone(),
            answers: BTreeMap::new(),
            model: None,
            divergence: None,
        }
    }

    /// A journaled prediction, with the answer that was given instead.
    pub(crate) fn prediction(
        &self,
        position: u64,
        journaled: Prediction,
    ) -> Result<Prediction, Error> {
        let answer = self.answers.get(&position).cloned();
        let (outputs, labels) = answer
            .ok_or_else(|| Error::NotRetained(format!("prediction {position} was given up")))?;
        Ok(Prediction {
            batch: self.batch(position, journaled.batch)?,
            outputs,
            labels,
            ..journaled
        })
    }

    /// Journaled feedback, with the inputs that it brings as this description has them.
    pub(crate) fn feedback(
        &self,
        position: u64,
        mut feedback: Feedback,
    ) -> Result<Feedback, Error> {
        if let Subject::Inputs { batch, .. } = &mut feedback.subject {
            *batch = self.batch(position, std::mem::take(batch))?;
        }
        Ok(feedback)
    }

    fn describe(&mut self, position: u64, journaled: Spec) -> Result<(), Error> {
        let (was, is) = (&journaled.task, &self.spec.task);
        if was.word() != is.word() {
            return Err(Error::Description(format!(
                "task: the journal is of a {}, and cannot be learned as {}",
                was.word(),
                is.word()
            )));
        }
        let places = places(&journaled, &self.spec)?;
        self.journaled.insert(position, (journaled, places));
        Ok(())
    }

    /// The description in force where an entry stands.
    fn journaled(&self, position: u64) -> Result<&(Spec, Vec<Option<usize>>), Error> {
        let (_, journaled) = self
            .journaled
            .range(..=position)
            .next_back()
            .ok_or_else(|| {
                let what = "the journal does not start with a description";
                Error::NotRetained(what.to_owned())
            })?;
        Ok(journaled)
    }

    fn batch(&self, position: u64, mut batch: Batch) -> Result<Batch, Error> {
        let (_, places) = self.journaled(position)?;
        batch.columns = arranged(&batch, places, &self.spec);
        Ok(batch)
    }

    fn answer(
        &mut self,
        position: u64,
        journaled: Prediction,
        learner: &Learner,
    ) -> Result<Prediction, Error> {
        let batch = self.batch(position, journaled.batch)?;
        let first = journaled.ids[0];
        let canary = learner.answers_as_canary(first);
        let canary = canary.then(|| learner.served_to(first));
        let model = match &canary {
            Some(model) => model,
            None => self.model.get_or_insert_with(|| learner.served()),
        };
        let mut outputs = model.predict(&batch, Choice::Best)?;
        let labels = model.labels(&outputs);
        let names = model.names.clone();
        let (spec, _) = self.journaled(position)?;
        let described = spec.task.names();
        let served = first_answer(
            &journaled.outputs,
            batch.n_rows,
            described,
            &journaled.labels,
        );
        let other = first_answer(&outputs, batch.n_rows, &names, &labels);
        self.keep_the_decision(spec, &journaled.outputs, &mut outputs)?;
        if let (None, Some(served), Some(other)) = (&self.divergence, served, other)
            && served != other
        {
            self.divergence = Some(Divergence {
                position,
                served,
                other,
            });
        }
        self.answers
            .insert(position, (outputs.clone(), labels.clone()));
        while self.answers.len() > self.spec.waiting_max {
            self.answers.pop_first();
        }
        Ok(Prediction {
            batch,
            outputs,
            labels,
            ..journaled
        })
    }

    /// A bandit's action was taken by the model that served.
    fn keep_the_decision(
        &self,
        journaled: &Spec,
        served: &Outputs,
        outputs: &mut Outputs,
    ) -> Result<(), Error> {
        let (
            Outputs::Actions {
                chosen,
                propensities,
                ..
            },
            Task::Bandit { .. },
        ) = (served, &self.spec.task)
        else {
            return Ok(());
        };
        let index = |action: &u32| {
            let name = journaled.task.names().get(*action as usize);
            let index = name.and_then(|name| self.spec.task.index(name));
            index.ok_or_else(|| {
                let what = format!("actions: {name:?} was taken, and is not described");
                Error::Description(what)
            })
        };
        let taken: Vec<u32> = chosen.iter().map(index).collect::<Result<_, _>>()?;
        if let Outputs::Actions {
            chosen: ours,
            propensities: shares,
            ..
        } = outputs
        {
            *ours = taken;
            shares.clone_from(propensities);
        }
        Ok(())
    }
}

/// The answer of the first row of outputs; none of a label that is not known.
fn first_answer(
    outputs: &Outputs,
    n_rows: usize,
    names: &[String],
    labels: &BTreeMap<u32, String>,
) -> Option<String> {
    let name = |place: usize| {
        let label = labels.get(&(place as u32));
        label.or_else(|| names.get(place)).cloned()
    };
    match outputs {
        Outputs::Probabilities(shares) => name(argmax(&shares[..shares.len() / n_rows])),
        Outputs::Decisions { chosen, .. } => name(chosen[0] as usize),
        Outputs::Values(values) => Some(value_text(values[0])),
        Outputs::Actions { scores, .. } => name(argmax(&scores[..scores.len() / n_rows])),
    }
}
