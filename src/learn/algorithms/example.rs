//! An example as every algorithm takes it: its truth, its amendment, its effect.

use std::borrow::Cow;

use crate::event::PredictionId;
use crate::model::{Encoded, RawRow, RememberedRow, Spec, StoredRow, Target, Task};

/// An example on its way into the learner: the truth of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NewExample {
    /// The truth.
    pub target: Target,
    /// The weight beside an example of weight 1.
    pub weight: f32,
    /// The prediction that its row was asked by, where it was asked.
    pub asked: Option<PredictionId>,
}

/// The truth of a row that is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Known<'a> {
    /// The truth.
    pub target: Target,
    /// The number of the example; none under the first revision.
    pub example: Option<u64>,
    /// The weight beside an example of weight 1.
    pub weight: f32,
    /// Whether its row is an anchor of the retention set: no memory stores it.
    pub is_anchor: bool,
    /// The row as memories store it; none under earlier revisions than the third, where they store it
    /// as it is encoded.
    pub raw: Option<&'a RawRow>,
    /// The prediction that its row was asked by, where it was asked.
    pub asked: Option<PredictionId>,
    /// Examples learned by now.
    pub n_learned: u64,
}

impl From<Target> for Known<'_> {
    /// A row of an example that has no number.
    fn from(target: Target) -> Self {
        Known {
            target,
            example: None,
            weight: 1.0,
            is_anchor: false,
            raw: None,
            asked: None,
            n_learned: 0,
        }
    }
}

impl Known<'_> {
    /// The row as a memory stores it, where it is encoded so.
    pub(crate) fn stored(self, row: Encoded) -> StoredRow {
        self.raw.map_or(row.into(), |raw| raw.clone().into())
    }

    /// The part that neighbours remember.
    pub(crate) fn remembered(self) -> RememberedRow {
        RememberedRow {
            target: self.target,
            number: self.example,
            weight: self.weight,
        }
    }
}

/// An example that was learned, and turns out to be another one than it was learned as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Amendment {
    /// The number of the example: see [`super::learned::Learned::next_number`].
    pub example: u64,
    /// The weight that it was learned with, and keeps.
    pub weight: f32,
    /// The target that it was learned with.
    pub before: Target,
    /// The right target.
    pub after: Target,
    /// Examples that have been learned since; within a kind, those of the same output.
    pub n_since: u64,
    /// Whether its row is an anchor of the retention set.
    pub is_anchor: bool,
}

/// The effect of an example on its learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The example waits until an update is full.
    Waits,
    /// An update of so many new examples was made.
    Updated(u64),
    /// An update of so many new examples was rejected.
    Rejected(u64),
    /// The device that was to learn it failed, as this sentence reports; the learning since the last
    /// checkpoint stands in the journal alone.
    Failed(String),
}

/// Features and targets of an example, by the root of its weight: a regression learns such a row as it
/// learns the example itself as often as its weight (weighted least squares).
pub(crate) fn weighted(values: &[f32], weight: f32) -> Cow<'_, [f32]> {
    if weight == 1.0 {
        return Cow::Borrowed(values);
    }
    let root = weight.sqrt();
    values.iter().map(|value| value * root).collect()
}

/// True if the learners of this description keep the past updates that amending rewards needs.
pub(crate) fn amends_rewards(spec: &Spec) -> bool {
    spec.revision >= 2 && matches!(spec.task, Task::Bandit { .. })
}
