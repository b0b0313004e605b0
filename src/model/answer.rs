//! A model: rows in, answers out.
//!
//! Invariant: immutable, and complete: the description, the encoder and the function that
//! learned together are served together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::loss::{argmax, softmax};
use super::policy::{Estimates, draw};
use super::spec::{Datatype, Spec, Task};
use crate::device;
use crate::event::{Batch, Outputs, PredictionId};
use crate::model::encoders::features::{Encoded, Encoder, Scale};
use crate::model::encoders::text::Adapters;
use crate::model::predictors::neighbours::Nearest;
use crate::model::predictors::network::Network;
use crate::model::predictors::portfolio::Portfolio;
use crate::model::predictors::ridge::Ridge;

/// A model as it is served.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its description.
    pub spec: Arc<Spec>,
    /// The classes or actions known by now, in the order of the outputs; none for regression.
    pub names: Arc<Vec<String>>,
    /// Examples learned by now.
    pub n_examples: u64,
    /// The adapters of its text encoders, by the place of their input.
    pub adapters: Vec<Option<Arc<Adapters>>>,
    /// The encoder from values to features.
    pub encoder: Encoder,
    /// The scale of values and rewards.
    pub target: Scale,
    /// The function from features to outputs.
    pub function: Function,
    /// The cost of missing each of `names`, where costs decide which class is answered.
    pub costs: Option<Arc<[f32]>>,
}

/// The function from features to outputs.
#[derive(Clone, Debug)]
pub enum Function {
    /// One network.
    Network(Network),
    /// A ridge regression on random features.
    Ridge(Ridge),
    /// A mixture.
    Portfolio {
        /// The members and how they are mixed.
        portfolio: Box<Portfolio>,
        /// The one that is a network.
        network: Option<Network>,
    },
    /// Remembered examples.
    Neighbours(Nearest),
}

/// Rows that are computed before others have a turn, where each is computed apart.
const SLICE_ROWS: usize = 16;

/// The choice of a bandit's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// The best estimate, without exploring: its propensity is one.
    Best,
    /// Drawn by the policy of the description, by the id of each row.
    Drawn(&'a [PredictionId]),
}

impl Choice<'_> {
    /// The choice for some of the rows.
    fn of(self, rows: Range<usize>) -> Self {
        match self {
            Choice::Best => Choice::Best,
            Choice::Drawn(ids) => Choice::Drawn(&ids[rows]),
        }
    }
}

impl Function {
    /// The standard deviation of each action's estimate, `[n_actions]` in the scale of the
    /// target; none where the function does not know it.
    pub fn deviations(&self, row: &Encoded) -> Option<Vec<f32>> {
        match self {
            Function::Ridge(ridge) => ridge.deviations(row),
            Function::Network(_) | Function::Neighbours(_) | Function::Portfolio { .. } => None,
        }
    }
}

impl Model {
    /// Answers every row of a validated batch.
    ///
    /// # Errors
    /// As [`Model::forward`].
    ///
    /// # Panics
    /// When [`Choice::Drawn`] brings fewer ids than rows.
    pub fn predict(&self, batch: &Batch, choice: Choice<'_>) -> Result<Outputs, device::Error> {
        self.predict_rows(batch, 0..batch.n_rows, choice)
    }

    /// Answers some of the rows of a batch; `choice` is that of the whole batch.
    ///
    /// # Errors
    /// As [`Model::forward`].
    ///
    /// # Panics
    /// As [`Model::predict`].
    pub(crate) fn predict_rows(
        &self,
        batch: &Batch,
        rows: Range<usize>,
        choice: Choice<'_>,
    ) -> Result<Outputs, device::Error> {
        let encoded = self.encode_rows(batch, rows.clone());
        let outputs = self.forward(&encoded)?;
        Ok(self.answer(&encoded, outputs, choice.of(rows)))
    }

    /// The slices in which the rows of a batch may be computed one after the other: the outputs are those of
    /// the whole batch to the bit. There is one at least.
    pub fn slices(&self, n_rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let slice_rows = match &self.function {
            Function::Network(network) => network.slice_rows(n_rows),
            _ => SLICE_ROWS,
        };
        // The last one has the rest.
        let n_slices = (n_rows / slice_rows).max(1);
        (0..n_slices).map(move |index| {
            let start = index * slice_rows;
            if index + 1 == n_slices {
                start..n_rows
            } else {
                start..start + slice_rows
            }
        })
    }

    /// Answers encoded rows for which the function gives these outputs, `[rows, n_outputs]`.
    ///
    /// # Panics
    /// As [`Model::predict`].
    pub fn answer(&self, rows: &[Encoded], outputs: Vec<f32>, choice: Choice<'_>) -> Outputs {
        let outputs = self.finish(outputs);
        match &self.spec.task {
            Task::Classification { .. } => self.decide(outputs),
            Task::Regression => Outputs::Values(self.values(&outputs)),
            Task::Bandit { actions } => {
                let mut chosen = Vec::with_capacity(rows.len());
                let mut propensities = Vec::with_capacity(rows.len());
                for (index, scores) in outputs.chunks_exact(actions.len()).enumerate() {
                    let (action, propensity) = match choice {
                        Choice::Best => (argmax(scores), 1.0),
                        Choice::Drawn(ids) => {
                            let probabilities = self.action_probabilities(&rows[index], scores);
                            let action = draw(&probabilities, self.spec.seed, ids[index]);
                            (action, probabilities[action])
                        }
                    };
                    chosen.push(action as u32);
                    propensities.push(propensity);
                }
                Outputs::Actions {
                    chosen,
                    propensities,
                    scores: self.restore(outputs),
                }
            }
        }
    }

    /// The labels that these outputs answer, by the places of their classes; none where the
    /// description names every class.
    pub fn labels(&self, outputs: &Outputs) -> BTreeMap<u32, String> {
        let mut labels = BTreeMap::new();
        if let Task::Classification {
            classes,
            classes_max,
        } = &self.spec.task
            && classes.len() < *classes_max
        {
            let answered = |row| answered_class(outputs, row, self.names.len());
            for place in (0..).map_while(answered) {
                let label = || self.names[place].clone();
                labels.entry(place as u32).or_insert_with(label);
            }
        }
        labels
    }

    /// The answer of these probabilities `[rows, classes]`: where costs decide, the class whose
    /// expected cost of being missed is the largest.
    fn decide(&self, probabilities: Vec<f32>) -> Outputs {
        let Some(costs) = &self.costs else {
            return Outputs::Probabilities(probabilities);
        };
        let choose = |row: &[f32]| {
            let expected = row.iter().zip(costs.iter()).map(|(p, cost)| p * cost);
            argmax(&expected.collect::<Vec<f32>>()) as u32
        };
        let chosen = probabilities
            .chunks_exact(costs.len())
            .map(choose)
            .collect();
        Outputs::Decisions {
            probabilities,
            chosen,
        }
    }

    /// The policy's probability of each action, `[rows, actions]`; empty for other tasks.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn distribution(&self, batch: &Batch) -> Result<Vec<f32>, device::Error> {
        let Task::Bandit { actions } = &self.spec.task else {
            return Ok(Vec::new());
        };
        let rows = self.encode(batch);
        let outputs = self.finish(self.forward(&rows)?);
        let scores = outputs.chunks_exact(actions.len());
        let probabilities = rows.iter().zip(scores);
        let probabilities =
            probabilities.flat_map(|(row, scores)| self.action_probabilities(row, scores));
        Ok(probabilities.collect())
    }

    /// The rows of a validated batch, as features.
    pub fn encode(&self, batch: &Batch) -> Vec<Encoded> {
        self.encode_rows(batch, 0..batch.n_rows)
    }

    fn encode_rows(&self, batch: &Batch, rows: Range<usize>) -> Vec<Encoded> {
        let series = match &self.function {
            Function::Portfolio { portfolio, .. } => portfolio.series.as_ref(),
            _ => None,
        };
        let encode = |row| Encoded {
            past: series.map(|series| Arc::new(series.past(batch, row))),
            ..self.encoder.encode(batch, row)
        };
        rows.map(encode).collect()
    }

    /// The probability of each action of one row.
    fn action_probabilities(&self, row: &Encoded, scores: &[f32]) -> Vec<f32> {
        let deviations = if self.spec.policy.needs_posterior() {
            self.function.deviations(row)
        } else {
            None
        };
        self.spec.action_probabilities(Estimates {
            scores,
            deviations: &deviations.unwrap_or_default(),
            n_examples: self.n_examples,
        })
    }

    /// The values of outputs in the unit of the target, in the datatype of the description.
    fn values(&self, outputs: &[f32]) -> Vec<f64> {
        let value = |z: &f32| match self.spec.datatype {
            Datatype::Fp32 => f64::from(self.target.restore(*z)),
            Datatype::Fp64 => self.target.value(*z),
        };
        outputs.iter().map(value).collect()
    }

    /// Scores, from the scale of the target to its unit.
    fn restore(&self, mut outputs: Vec<f32>) -> Vec<f32> {
        for output in &mut outputs {
            *output = self.target.restore(*output);
        }
        outputs
    }

    /// The network that another device than the processor is to compute.
    pub fn elsewhere(&self) -> Option<&Network> {
        match &self.function {
            Function::Network(network) => Some(network).filter(|network| network.is_elsewhere()),
            Function::Ridge(_) | Function::Portfolio { .. } | Function::Neighbours(_) => None,
        }
    }

    /// True if rows of several requests can be computed together: [`Model::forward_apart`].
    pub(crate) fn shares_passes(&self) -> bool {
        match &self.function {
            Function::Network(network) => network.shares_passes(),
            Function::Ridge(_) | Function::Portfolio { .. } | Function::Neighbours(_) => false,
        }
    }

    /// The outputs of the function for a few encoded rows, `[rows, n_outputs]`, where each row has those that it
    /// has alone, to the bit; none where rows cannot be computed so.
    ///
    /// # Panics
    /// When there are more than 256 rows.
    pub(crate) fn forward_apart(&self, rows: &[Encoded]) -> Option<Vec<f32>> {
        match &self.function {
            Function::Network(network) => network.forward_apart(rows),
            Function::Ridge(_) | Function::Portfolio { .. } | Function::Neighbours(_) => None,
        }
    }

    /// The outputs of the function for encoded rows, `[rows, n_outputs]`.
    ///
    /// # Errors
    /// The device that is to compute a network does not; the processor never fails.
    pub fn forward(&self, rows: &[Encoded]) -> Result<Vec<f32>, device::Error> {
        Ok(match &self.function {
            Function::Network(network) => network.forward(rows)?,
            Function::Neighbours(nearest) => {
                let outputs = |row| nearest.outputs(row, &self.target);
                rows.iter().flat_map(outputs).collect()
            }
            Function::Ridge(ridge) => rows.iter().flat_map(|row| ridge.outputs(row)).collect(),
            Function::Portfolio { portfolio, network } => {
                let member_outputs =
                    |row| portfolio.member_outputs(row, &self.target, network.as_ref());
                let mixed = |row| portfolio.mix(&member_outputs(row));
                rows.iter().flat_map(mixed).collect()
            }
        })
    }

    /// `[rows, outputs]`: probabilities of the classes known, or values in the scale of the target.
    fn finish(&self, outputs: Vec<f32>) -> Vec<f32> {
        let form = match &self.function {
            Function::Network(_) => OutputForm::Logits,
            _ => OutputForm::Probabilities,
        };
        finish(outputs, &self.spec.task, self.names.len(), form)
    }
}

/// The meaning of the outputs of a classifying function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputForm {
    /// Logarithms of probabilities, up to a constant.
    Logits,
    /// Probabilities.
    Probabilities,
}

/// `[rows, outputs]`: probabilities of the `n_known` classes of a classification, whose outputs are of
/// this form; of other tasks the outputs as they are.
pub(crate) fn finish(
    mut outputs: Vec<f32>,
    task: &Task,
    n_known: usize,
    form: OutputForm,
) -> Vec<f32> {
    let n_outputs = task.n_outputs();
    if !matches!(task, Task::Classification { .. }) {
        return outputs;
    }
    if n_known < n_outputs {
        let known = outputs.chunks_exact(n_outputs);
        outputs = known.flat_map(|row| &row[..n_known]).copied().collect();
    }
    for row in outputs.chunks_exact_mut(n_known) {
        match form {
            OutputForm::Logits => softmax(row),
            OutputForm::Probabilities if n_known < n_outputs => normalise(row),
            OutputForm::Probabilities => {}
        }
    }
    outputs
}

/// The place of the class that is answered for a row; none beyond the last, and of other tasks.
pub(crate) fn answered_class(outputs: &Outputs, row: usize, n_classes: usize) -> Option<usize> {
    match outputs {
        Outputs::Probabilities(all) => all.chunks_exact(n_classes).nth(row).map(argmax),
        Outputs::Decisions { chosen, .. } => chosen.get(row).map(|place| *place as usize),
        Outputs::Values(_) | Outputs::Actions { .. } => None,
    }
}

/// Makes probabilities of those that are left after others were cut off.
fn normalise(probabilities: &mut [f32]) {
    let total: f32 = probabilities.iter().sum();
    let even = 1.0 / probabilities.len() as f32;
    for probability in probabilities.iter_mut() {
        *probability = if total > f32::MIN_POSITIVE {
            *probability / total
        } else {
            even
        };
    }
}
