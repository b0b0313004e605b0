//! A model in process: a learner, its snapshot, and the predictions whose targets are not yet known.
//!
//! Invariant: the learner applies the entries that a server would journal, in the same order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use perennial::engine::{self, LoadedDescription};
use perennial::event::Order;
use perennial::event::{
    Batch, Decision, Description, Entry, Event, Feedback, Judgement, Outputs, Prediction,
    PredictionId, Signal, Subject, Time, Verdict,
};
use perennial::learn::{Counterfactual, CounterfactualLookup, Learner, Lookup, LookupError};
use perennial::model::weights::Tensors;
use perennial::model::{Choice, Model, PinnedFile, Spec, TextEncoder, argmax};

use crate::cli::rows::decisions::LoggedRow;
use crate::cli::rows::labelled::LabelledRow;
use crate::cli::rows::target::RowTarget;

/// A learner with its snapshot and its open predictions.
pub(crate) struct LocalModel {
    pub learner: Learner,
    /// The description of its folder; none for a version without one.
    pub described: Option<Arc<LoadedDescription>>,
    /// The snapshot that answers; none once the learner has changed.
    snapshot: Option<Model>,
    position: u64,
    open_predictions: OpenPredictions,
    /// Examples before the first promotion, examples before the newest, and how many there were.
    pub promotions: Option<[u64; 3]>,
    /// Examples before each rewind.
    pub rewinds: Vec<u64>,
}

/// The predictions whose targets are not yet known, by position, and the encoders of their texts.
struct OpenPredictions {
    predictions: BTreeMap<u64, Prediction>,
    described: Option<Arc<LoadedDescription>>,
}

fn not_kept(what: &str) -> LookupError {
    LookupError::NotRetained(what.to_owned())
}

impl Lookup for OpenPredictions {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, LookupError> {
        let found = self.predictions.get(&position).map(Cow::Borrowed);
        found.ok_or_else(|| not_kept("the learner asks for a row that it has learned"))
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), LookupError> {
        Err(not_kept(&format!(
            "the learner asks for version {version}, and there are no versions here"
        )))
    }

    fn encoder(&mut self, pinned: &PinnedFile) -> Result<Arc<TextEncoder>, LookupError> {
        let described = self.described.as_ref();
        let encoder = described.and_then(|described| described.encoder(pinned));
        let what = "the encoder of this model learns: name the model folder too";
        encoder.ok_or_else(|| not_kept(what))
    }
}

impl CounterfactualLookup for OpenPredictions {
    fn counterfactual(
        &mut self,
        _: &Order,
        _: u64,
        _: &[u64],
        _: Option<u64>,
    ) -> Result<Counterfactual, LookupError> {
        Err(not_kept("there are no orders here"))
    }
}

impl LocalModel {
    /// A model that has learned nothing yet, as its folder describes it.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<LocalModel> {
        let described = describe(folder)?;
        LocalModel::with(described.learner(), Some(described))
    }

    /// A model that continues from a state, under the description of a folder if one is given.
    pub(crate) fn resume(learner: Learner, folder: Option<&Path>) -> anyhow::Result<LocalModel> {
        let described = match folder {
            Some(folder) => {
                let described = describe(folder)?;
                let same = learner.spec().check_change(&described.spec);
                same.with_context(|| folder.display().to_string())?;
                Some(described)
            }
            None => None,
        };
        LocalModel::with(learner, described)
    }

    fn with(learner: Learner, described: Option<LoadedDescription>) -> anyhow::Result<LocalModel> {
        let described = described.map(Arc::new);
        let mut model = LocalModel {
            position: learner.position(),
            learner,
            described: described.clone(),
            snapshot: None,
            promotions: None,
            rewinds: Vec::new(),
            open_predictions: OpenPredictions {
                predictions: BTreeMap::new(),
                described,
            },
        };
        if let Some(described) = &model.described {
            let toml = described.description.toml.clone();
            model.apply(Event::Description(Description {
                toml,
                build: String::new(),
                profile: String::new(),
            }))?;
        }
        Ok(model)
    }

    /// Its description.
    pub(crate) fn spec(&self) -> &Arc<Spec> {
        self.learner.spec()
    }

    /// The outputs for one row.
    pub(crate) fn predict(&mut self, batch: &Batch, choice: Choice<'_>) -> anyhow::Result<Outputs> {
        let outputs = self.snapshot().predict(batch, choice);
        outputs.map_err(anyhow::Error::msg)
    }

    /// Encodes the texts of a row whose encoders learn, as they are by now.
    pub(crate) fn embed(&mut self, batch: &mut Batch) -> anyhow::Result<()> {
        if let Some(described) = self.described.clone() {
            described.embed_adapted(batch, self.snapshot())?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> &Model {
        self.snapshot.get_or_insert_with(|| self.learner.served())
    }

    /// `[actions]` each: the probabilities with which its policy takes each action for one row,
    /// and the rewards that it expects.
    pub(crate) fn policy(&mut self, batch: &Batch) -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
        match self.predict(batch, Choice::Best)? {
            Outputs::Actions { scores, .. } => {
                let probabilities = self.snapshot().distribution(batch);
                Ok((probabilities.map_err(anyhow::Error::msg)?, scores))
            }
            Outputs::Probabilities(_) | Outputs::Decisions { .. } | Outputs::Values(_) => {
                bail!("only a bandit has a policy")
            }
        }
    }

    /// Answers a row; its prediction stands at the position returned.
    pub(crate) fn answer(&mut self, row: &LabelledRow) -> anyhow::Result<(Outputs, u64)> {
        let outputs = self.predict(&row.batch, Choice::Drawn(&[prediction_id(row.index)]))?;
        let prediction = Prediction {
            ids: vec![prediction_id(row.index)],
            batch: row.batch.clone(),
            labels: self.snapshot().labels(&outputs),
            outputs: outputs.clone(),
            version: 0,
            position: self.position,
        };
        if row.truth.is_some() {
            self.open_predictions
                .predictions
                .insert(self.position + 1, prediction.clone());
        }
        self.apply(Event::Prediction(prediction))?;
        Ok((outputs, self.position))
    }

    /// Learns the feedback for a row that was answered.
    pub(crate) fn learn(
        &mut self,
        row: u64,
        prediction: u64,
        signal: Signal,
    ) -> anyhow::Result<()> {
        let subject = Subject::Prediction(prediction_id(row));
        self.apply(Event::Feedback(feedback(row, subject, signal)))?;
        self.open_predictions.predictions.remove(&prediction);
        Ok(())
    }

    /// Learns the reward of a logged decision.
    pub(crate) fn learn_logged(&mut self, row: u64, logged: LoggedRow) -> anyhow::Result<()> {
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
        if matches!(entry.event, Event::Feedback(_)) && self.learner.serves_candidate() {
            // The learner would copy each block that it shares with a snapshot before changing it.
            self.snapshot = None;
        }
        let step = self.learner.apply(&entry, &mut self.open_predictions)?;
        if step.changed {
            self.snapshot = None;
        }
        let is_promotion = |one: &Verdict| one.judgement == Judgement::Promoted;
        if step.verdicts.iter().any(is_promotion) {
            let n_examples = self.learner.n_scored();
            let [first, _, n] = self.promotions.unwrap_or([n_examples, 0, 0]);
            self.promotions = Some([first, n_examples, n + 1]);
        }
        let is_rewind = |one: &Verdict| one.judgement == Judgement::Rewound;
        if step.verdicts.iter().any(is_rewind) {
            self.rewinds.push(self.learner.n_scored());
        }
        Ok(())
    }
}

/// The description in a model folder.
fn describe(folder: &Path) -> anyhow::Result<LoadedDescription> {
    let path = folder.join("model.toml");
    if !folder.exists() {
        let shown = folder.display();
        let among_models = Path::new("models").join(folder);
        let hint = if among_models.join("model.toml").exists() {
            format!("; there is {}", among_models.display())
        } else {
            String::new()
        };
        bail!("{shown}: no such model folder{hint}");
    }
    ensure!(
        path.exists(),
        "{}: no model.toml in it; `perennial init` drafts one",
        folder.display()
    );
    engine::describe(&path).map_err(|error| match error {
        // The sentence names the file.
        engine::Error::Refused { what, .. } => anyhow!(what),
        error => error.into(),
    })
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
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    }
}

/// The prediction id of a row: unique here, and never 0.
fn prediction_id(row: u64) -> PredictionId {
    PredictionId(u128::from(row) + 1)
}

/// The answer in the outputs for one row.
pub(crate) fn answer(outputs: &Outputs) -> RowTarget {
    match outputs {
        Outputs::Probabilities(probabilities) => RowTarget::Name(argmax(probabilities) as u32),
        Outputs::Decisions { chosen, .. } => RowTarget::Name(chosen[0]),
        Outputs::Values(values) => RowTarget::Value(values[0]),
        Outputs::Actions { chosen, .. } => RowTarget::Name(chosen[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_likeliest_class_the_value_or_the_action() {
        let check = |outputs, expected| assert_eq!(answer(&outputs), expected);
        check(Outputs::Probabilities(vec![0.25, 0.75]), RowTarget::Name(1));
        check(Outputs::Values(vec![1.5]), RowTarget::Value(1.5));
        let actions = Outputs::Actions {
            chosen: vec![1],
            propensities: vec![0.5],
            scores: vec![2.0, 1.0],
        };
        check(actions, RowTarget::Name(1));
    }
}
