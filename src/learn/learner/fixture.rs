//! The past that the tests of a learner look up: the journal that it applied, and the states of the
//! versions that this made.
//!
//! Invariant: no other history is derived here; a test that needs one brings it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::lookup::{Lookup, LookupError};
use super::{Counterfactual, CounterfactualLookup, Learner, Step};
use crate::event::{Entry, Event, Order, Prediction};
use crate::learn::Comparison;
use crate::model::weights::Tensors;

/// The past of one learner.
#[derive(Clone, Default)]
pub(super) struct PastFixture {
    pub journal: Vec<Entry>,
    /// Weights and learner states by the numbers of their versions.
    pub versions: BTreeMap<u64, (Tensors, Tensors)>,
    /// The learner of the history that every order brings, and the positions that it excludes.
    pub other: Option<(Learner, Vec<u64>)>,
    /// Predictions that were looked up.
    pub n_predictions_read: usize,
}

impl PastFixture {
    /// Applies an entry to the learner, and keeps it with the version that it made.
    pub(super) fn apply(&mut self, learner: &mut Learner, entry: Entry) -> Step {
        self.journal.push(entry.clone());
        let step = learner.apply(&entry, self).expect("applied");
        if let Some(version) = &step.version {
            let state = (learner.learned().weights(), learner.state());
            self.versions.insert(version.version, state);
        }
        step
    }
}

impl Lookup for PastFixture {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, LookupError> {
        self.n_predictions_read += 1;
        match &self.journal[position as usize - 1].event {
            Event::Prediction(prediction) => Ok(Cow::Borrowed(prediction)),
            other => Err(LookupError::NotRetained(format!("{other:?}"))),
        }
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), LookupError> {
        Ok(self.versions[&version].clone())
    }
}

impl CounterfactualLookup for PastFixture {
    fn counterfactual(
        &mut self,
        _: &Order,
        position: u64,
        _: &[u64],
        _: Option<u64>,
    ) -> Result<Counterfactual, LookupError> {
        let none = || LookupError::NotRetained(format!("order {position}"));
        let (learner, excluded) = self.other.clone().ok_or_else(none)?;
        Ok(Counterfactual {
            learner,
            excluded,
            comparison: Comparison::default(),
        })
    }
}
