//! The tallies of a version: the counts beside its weights that a restore of it reads.
//!
//! Invariant: versions of equal learning and equal tallies are restored to the same.

use crate::learn::join::HeldExamples;
use crate::learn::records::ledger::Ledger;
use crate::learn::records::sources::Sources;
use crate::model::weights::{Error, Tensors};

/// The counts of a version beside its weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tallies {
    pub(crate) ledger: Ledger,
    pub(crate) sources: Sources,
    /// The learned part of the predictions that waited; none where that is as the checkpoint of the
    /// version has, and under the first revision of the learning rules.
    pub(crate) held: Option<HeldExamples>,
}

impl Tallies {
    /// The bytes that they take in a state, about.
    pub(crate) fn n_bytes(&self) -> usize {
        /// The names, types and shapes of the tensors.
        const HEADERS: usize = 800;
        let tensors = self.tensors();
        let values = tensors.0.values().map(|tensor| tensor.data.n_bytes());
        HEADERS + values.sum::<usize>()
    }

    pub(crate) fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.ledger.save(&mut tensors);
        self.sources.save(&mut tensors);
        self.held.iter().for_each(|held| held.save(&mut tensors));
        tensors
    }

    /// The tallies of a state at `position`.
    pub(crate) fn load(tensors: &mut Tensors, position: u64) -> Result<Tallies, Error> {
        Ok(Tallies {
            ledger: Ledger::load(tensors)?,
            sources: Sources::load(tensors, position)?,
            held: HeldExamples::take(tensors)?,
        })
    }
}
