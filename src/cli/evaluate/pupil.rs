//! A learner in process: what it answers, and what it must be handed again to learn.
//!
//! Invariant: it is given the entries that a server would journal, in the same order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use perennial::engine::{self, Described};
use perennial::event::Order;
use perennial::event::{
    Batch, Decision, Description, Entry, Event, Feedback, Outputs, Prediction, PredictionId,
    Signal, Subject, Time,
};
use perennial::learn::{Archive, Learner, LookupError, Otherwise};
use perennial::model::weights::Tensors;
use perennial::model::{Choice, Model, Pinned, Spec, TextEncoder, argmax};

use crate::cli::lesson::{Lesson, Logged};
use crate::cli::tally::Target;

/// A learner, and what it must be handed again.
pub struct Pupil {
    pub learner: Learner,
    /// The folder that it was read from, if it was.
    pub described: Option<Arc<Described>>,
    /// What answers; nothing once more was learned.
    model: Option<Model>,
    position: u64,
    waiting: Waiting,
}

/// Predictions whose target is still to come, by position, and what encodes their texts.
struct Waiting {
    predictions: BTreeMap<u64, Prediction>,
    described: Option<Arc<Described>>,
}

fn not_kept(what: &str) -> LookupError {
    LookupError::NotRetained(what.to_owned())
}

impl Archive for Waiting {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, LookupError> {
        let found = self.predictions.get(&position).map(Cow::Borrowed);
        found.ok_or_else(|| not_kept("the learner asks for a row it has learned"))
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), LookupError> {
        Err(not_kept(&format!(
            "the learner asks for version {version}, of none made"
        )))
    }

    fn encoder(&mut self, pinned: &Pinned) -> Result<Arc<TextEncoder>, LookupError> {
        let described = self.described.as_ref();
        let encoder = described.and_then(|described| described.encoder(pinned));
        encoder.ok_or_else(|| not_kept("its encoder learns: name the folder that describes it"))
    }

    fn otherwise(
        &mut self,
        _: &Order,
        _: u64,
        _: &[u64],
        _: Option<u64>,
    ) -> Result<Otherwise, LookupError> {
        Err(not_kept("nothing is ordered here"))
    }
}

impl Pupil {
    /// One that has learned nothing yet, as a folder describes it.
    pub fn new(folder: &Path) -> anyhow::Result<Pupil> {
        let described = describe(folder)?;
        Pupil::with(described.learner(), Some(described))
    }

    /// One that goes on from a state, under the description of a folder if one is given.
    pub fn resume(learner: Learner, folder: Option<&Path>) -> anyhow::Result<Pupil> {
        let described = match folder {
            Some(folder) => {
                let described = describe(folder)?;
                let same = learner.spec().check_change(&described.spec);
                same.with_context(|| folder.display().to_string())?;
                Some(described)
            }
            None => None,
        };
        Pupil::with(learner, described)
    }

    fn with(learner: Learner, described: Option<Described>) -> anyhow::Result<Pupil> {
        let described = described.map(Arc::new);
        let mut pupil = Pupil {
            position: learner.position(),
            learner,
            described: described.clone(),
            model: None,
            waiting: Waiting {
                predictions: BTreeMap::new(),
                described,
            },
        };
        if let Some(described) = &pupil.described {
            let toml = described.description.toml.clone();
            pupil.apply(Event::Description(Description {
                toml,
                build: String::new(),
                profile: String::new(),
            }))?;
        }
        Ok(pupil)
    }

    /// What it takes and answers.
    pub fn spec(&self) -> &Arc<Spec> {
        self.learner.spec()
    }

    /// What it says of one row.
    pub fn predict(&mut self, batch: &Batch, choice: Choice<'_>) -> anyhow::Result<Outputs> {
        let outputs = self.model().predict(batch, choice);
        outputs.map_err(anyhow::Error::msg)
    }

    /// Encodes the texts of a row whose encoders learn, as they are by now.
    pub fn embed(&mut self, batch: &mut Batch) -> anyhow::Result<()> {
        if let Some(described) = self.described.clone() {
            described.embed_adapted(batch, self.model())?;
        }
        Ok(())
    }

    fn model(&mut self) -> &Model {
        self.model.get_or_insert_with(|| self.learner.model())
    }

    /// `[actions]` each: the probabilities with which its policy takes each action for one row,
    /// and the rewards that it expects.
    pub fn policy(&mut self, batch: &Batch) -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
        match self.predict(batch, Choice::Best)? {
            Outputs::Actions { scores, .. } => {
                let shares = self.model().distribution(batch);
                Ok((shares.map_err(anyhow::Error::msg)?, scores))
            }
            Outputs::Probabilities(_) | Outputs::Values(_) => {
                bail!("only a bandit has a policy")
            }
        }
    }

    /// Answers a row; its prediction stands at the position returned.
    pub fn answer(&mut self, lesson: &Lesson) -> anyhow::Result<(Target, u64)> {
        let outputs = self.predict(&lesson.batch, Choice::Drawn(&[id(lesson.row)]))?;
        let answer = answer(&outputs);
        let prediction = Prediction {
            ids: vec![id(lesson.row)],
            batch: lesson.batch.clone(),
            labels: self.model().labels(&outputs),
            outputs,
            version: 0,
            position: self.position,
        };
        if lesson.truth.is_some() {
            self.waiting
                .predictions
                .insert(self.position + 1, prediction.clone());
        }
        self.apply(Event::Prediction(prediction))?;
        Ok((answer, self.position))
    }

    /// Learns what the world says of a row that it answered.
    pub fn learn(&mut self, row: u64, prediction: u64, signal: Signal) -> anyhow::Result<()> {
        let subject = Subject::Prediction(id(row));
        self.apply(Event::Feedback(feedback(row, subject, signal)))?;
        self.waiting.predictions.remove(&prediction);
        Ok(())
    }

    /// Learns what a decision earned that was made elsewhere.
    pub fn learn_logged(&mut self, row: u64, logged: Logged) -> anyhow::Result<()> {
        let Some(reward) = logged.reward else {
            return Ok(());
        };
        let subject = Subject::Inputs {
            batch: logged.batch,
            decision: Some(Decision {
                action: self.spec().task.names()[logged.action as usize].clone(),
                propensity: logged.propensity,
            }),
        };
        self.apply(Event::Feedback(feedback(
            row,
            subject,
            Signal::Reward(reward),
        )))
    }

    fn apply(&mut self, event: Event) -> anyhow::Result<()> {
        self.position += 1;
        let entry = Entry {
            position: self.position,
            time: Time(0),
            event,
        };
        if self.learner.apply(&entry, &mut self.waiting)?.changed {
            self.model = None;
        }
        Ok(())
    }
}

/// The description that a model folder holds.
fn describe(folder: &Path) -> anyhow::Result<Described> {
    let path = folder.join("model.toml");
    ensure!(
        folder.exists(),
        "{}: no such model folder",
        folder.display()
    );
    ensure!(
        path.exists(),
        "{}: no model.toml in it; `perennial init` drafts one",
        folder.display()
    );
    Ok(engine::describe(&path)?)
}

fn feedback(row: u64, subject: Subject, signal: Signal) -> Feedback {
    Feedback {
        feedback_id: row.to_string(),
        subject,
        signal,
        source: String::new(),
        event_time: None,
        tags: BTreeMap::new(),
        actor: String::new(),
    }
}

/// The prediction of a row: unique here, and never 0.
fn id(row: u64) -> PredictionId {
    PredictionId(u128::from(row) + 1)
}

/// What the outputs for one row answer.
pub fn answer(outputs: &Outputs) -> Target {
    match outputs {
        Outputs::Probabilities(shares) => Target::Name(argmax(shares) as u32),
        Outputs::Values(values) => Target::Value(f64::from(values[0])),
        Outputs::Actions { chosen, .. } => Target::Name(chosen[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_likeliest_class_the_value_or_the_action() {
        let check = |outputs, expected| assert_eq!(answer(&outputs), expected);
        check(Outputs::Probabilities(vec![0.25, 0.75]), Target::Name(1));
        check(Outputs::Values(vec![1.5]), Target::Value(1.5));
        let actions = Outputs::Actions {
            chosen: vec![1],
            propensities: vec![0.5],
            scores: vec![2.0, 1.0],
        };
        check(actions, Target::Name(1));
    }
}
