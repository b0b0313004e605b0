//! The signature of a model: its inputs and its task, from its description or from a server.
//!
//! Invariant: the inputs stand in the order of the description.

use perennial::model::{InputKind, Spec, Task};

use super::{Input, Kind};

/// What a model takes and answers, as far as its client must know.
#[derive(Debug)]
pub struct ModelSignature {
    /// In the order of the description.
    pub inputs: Vec<Input>,
    /// With its classes or actions.
    pub task: Task,
    /// The least and the largest reward that is taken.
    pub rewards: [f64; 2],
}

impl ModelSignature {
    /// The description that a checked model.toml gives.
    pub fn of(spec: &Spec) -> ModelSignature {
        let inputs = spec.inputs.iter().map(|input| Input {
            name: input.name.clone(),
            kind: match &input.kind {
                InputKind::Number { .. } => Kind::Number,
                InputKind::Category | InputKind::Text | InputKind::Embedded { .. } => Kind::Text,
                InputKind::Vector { length, .. }
                | InputKind::EmbeddedVector {
                    n_values: length, ..
                } => Kind::Vector(*length),
            },
        });
        ModelSignature {
            inputs: inputs.collect(),
            task: spec.task.clone(),
            rewards: [spec.rewards.min, spec.rewards.max],
        }
    }
}
