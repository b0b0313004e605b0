//! The signature of a model: its inputs and its task, from its description or from a server.
//!
//! Invariant: the inputs stand in the order of the description.

use perennial::model::{InputKind, RowFormat, Spec, Task};

use super::layout::{ModelInput, ModelInputKind};

/// The inputs and the task of a model, as far as a client needs them.
#[derive(Debug)]
pub(crate) struct ModelSignature {
    /// The inputs, in the order of the description.
    pub inputs: Vec<ModelInput>,
    /// The task, with its classes or actions.
    pub task: Task,
    /// The smallest and the largest reward that the model accepts.
    pub rewards: [f64; 2],
    /// The format of the rows of files.
    pub rows: RowFormat,
}

impl ModelSignature {
    /// The signature in a checked model.toml.
    pub(crate) fn of(spec: &Spec) -> ModelSignature {
        let inputs = spec.inputs.iter().map(|input| ModelInput {
            name: input.name.clone(),
            gaps: input.has_gaps(),
            kind: match &input.kind {
                InputKind::Number { .. } => ModelInputKind::Number,
                InputKind::Time(times) => ModelInputKind::Time(times.format.clone(), times.zone_s),
                InputKind::Category | InputKind::Text | InputKind::Embedded { .. } => {
                    ModelInputKind::Text
                }
                InputKind::Vector { length, .. }
                | InputKind::EmbeddedVector {
                    n_values: length, ..
                } => ModelInputKind::Vector(*length),
            },
        });
        ModelSignature {
            inputs: inputs.collect(),
            task: spec.task.clone(),
            rows: spec.rows.clone(),
            rewards: [spec.rewards.min, spec.rewards.max],
        }
    }
}
