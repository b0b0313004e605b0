//! A model: rows in, answers out.
//!
//! Invariant: immutable, and complete: the description, the encoder and the function that
//! learned together are served together.

use std::sync::Arc;

use super::backend::Network;
use super::features::{Encoded, Encoder, Scale};
use super::loss::{argmax, softmax};
use super::portfolio::Portfolio;
use super::ridge::Ridge;
use super::spec::{Spec, Task};
use crate::event::{Batch, Outputs};

/// What is served.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it takes and answers.
    pub spec: Arc<Spec>,
    /// From values to features.
    pub encoder: Encoder,
    /// The scale of values and rewards.
    pub target: Scale,
    /// From features to outputs.
    pub function: Function,
}

/// From features to outputs.
#[derive(Clone, Debug)]
pub enum Function {
    /// One network.
    Network(Network),
    /// A ridge regression on random features.
    Ridge(Ridge),
    /// A mixture.
    Portfolio(Portfolio),
}

impl Function {
    /// The standard deviation of each action's estimate, `[n_actions]` in the scale of the
    /// target; none where the function does not know it.
    pub fn deviations(&self, row: &Encoded) -> Option<Vec<f32>> {
        match self {
            Function::Ridge(ridge) => ridge.deviations(row),
            Function::Network(_) | Function::Portfolio(_) => None,
        }
    }
}

impl Model {
    /// Answers every row of a validated batch.
    pub fn predict(&self, batch: &Batch) -> Outputs {
        let rows: Vec<Encoded> = (0..batch.n_rows)
            .map(|row| self.encoder.encode(batch, row))
            .collect();
        let mut outputs = self.outputs(&rows);
        match &self.spec.task {
            Task::Classification { .. } => Outputs::Probabilities(outputs),
            Task::Regression => {
                outputs
                    .iter_mut()
                    .for_each(|value| *value = self.target.restore(*value));
                Outputs::Values(outputs)
            }
            Task::Bandit { actions } => {
                outputs
                    .iter_mut()
                    .for_each(|score| *score = self.target.restore(*score));
                let rows = outputs.chunks_exact(actions.len());
                Outputs::Actions {
                    chosen: rows.map(|scores| argmax(scores) as u32).collect(),
                    propensities: vec![1.0; batch.n_rows],
                    scores: outputs,
                }
            }
        }
    }

    /// `[rows, n_outputs]`: probabilities of classes, or values in the scale of the target.
    fn outputs(&self, rows: &[Encoded]) -> Vec<f32> {
        match &self.function {
            Function::Network(network) => {
                let mut outputs = network.forward(rows);
                if let Task::Classification { classes } = &self.spec.task {
                    outputs.chunks_exact_mut(classes.len()).for_each(softmax);
                }
                outputs
            }
            Function::Ridge(ridge) => rows.iter().flat_map(|row| ridge.outputs(row)).collect(),
            Function::Portfolio(portfolio) => {
                let mixed = |row| portfolio.mix(&portfolio.members(row, &self.target));
                rows.iter().flat_map(mixed).collect()
            }
        }
    }
}
