//! Served answers.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::names::PredictionId;

/// The outputs of a model, for every row of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Outputs {
    /// `[rows, classes]`, each row sums to one. The answer is the likeliest class.
    Probabilities(Vec<f32>),
    /// Probabilities and the decision by costs, which may be another class than the likeliest.
    Decisions {
        /// `[rows, classes]`.
        probabilities: Vec<f32>,
        /// `[rows]`, the place of the class that is answered.
        chosen: Vec<u32>,
    },
    /// `[rows]`; of a description whose values are FP32, each is one.
    Values(Vec<f64>),
    /// A bandit's answer: the served action, its propensity, and the estimate of every action.
    Actions {
        /// `[rows]`, index of the served action.
        chosen: Vec<u32>,
        /// `[rows]`, in (0, 1].
        propensities: Vec<f32>,
        /// `[rows, actions]`, the estimated rewards.
        scores: Vec<f32>,
    },
}

impl Outputs {
    /// The probabilities of the classes, `[rows, classes]`; none of other tasks.
    pub fn probabilities(&self) -> Option<&[f32]> {
        match self {
            Outputs::Probabilities(probabilities) | Outputs::Decisions { probabilities, .. } => {
                Some(probabilities)
            }
            Outputs::Values(_) | Outputs::Actions { .. } => None,
        }
    }

    /// Adds the outputs of further rows by the same model.
    ///
    /// # Panics
    /// When they are of another task.
    pub fn append(&mut self, more: Outputs) {
        match (self, more) {
            (Outputs::Probabilities(all), Outputs::Probabilities(more)) => all.extend(more),
            (
                Outputs::Decisions {
                    probabilities,
                    chosen,
                },
                Outputs::Decisions {
                    probabilities: more,
                    chosen: more_chosen,
                },
            ) => {
                probabilities.extend(more);
                chosen.extend(more_chosen);
            }
            (Outputs::Values(all), Outputs::Values(more)) => all.extend(more),
            (
                Outputs::Actions {
                    chosen,
                    propensities,
                    scores,
                },
                Outputs::Actions {
                    chosen: more_chosen,
                    propensities: more_propensities,
                    scores: more_scores,
                },
            ) => {
                chosen.extend(more_chosen);
                propensities.extend(more_propensities);
                scores.extend(more_scores);
            }
            _ => panic!("the outputs of one model are of one kind"),
        }
    }
}

/// A value of an answer as text: the shortest that reads back as it, a value of 32 bits as one of them.
pub fn value_text(value: f64) -> String {
    if is_single(value) {
        (value as f32).to_string()
    } else {
        value.to_string()
    }
}

/// True if 32 bits hold a value to the bit.
pub(crate) fn is_single(value: f64) -> bool {
    f64::from(value as f32).to_bits() == value.to_bits()
}

/// An answer that was served: one entry for a request with all its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The ids, one for each row.
    pub ids: Vec<PredictionId>,
    /// The rows as validated, before any hashing or scaling.
    pub batch: Batch,
    /// The outputs.
    pub outputs: Outputs,
    /// The answered labels, by the places of their classes, where new classes are allowed: after a
    /// restore a place may belong to another label. Empty where the description names every class.
    pub labels: BTreeMap<u32, String>,
    /// The newest version that the answering state descends from.
    pub version: u64,
    /// The position of the state that answered.
    pub position: u64,
}
