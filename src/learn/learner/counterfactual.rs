//! Other histories than the recorded one: the state that one has led to, and its comparison with
//! the recorded versions.
//!
//! Invariant: the state of another history comes from a [`CounterfactualLookup`] alone, and only an
//! order makes a learner ask for one.

use super::Learner;
use crate::event::{Entry, Event, Order};
use crate::learn::comparison::{Comparison, OrderState};
use crate::learn::gate::champion::Gate;
use crate::learn::join::HeldExamples;
use crate::learn::lookup::{Lookup, LookupError};
use crate::learn::versions::revised_tallies::BYTES_MAX;

/// The state that another history would have led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Counterfactual {
    /// The state, as [`Learner::rederive`] led to it.
    pub learner: Learner,
    /// The positions of the feedback that it excludes and the recorded history did not, rising.
    pub excluded: Vec<u64>,
    /// The versions of the recorded history beside the states of this one in their places.
    pub comparison: Comparison,
}

/// The lookups of a learner that obeys orders to take feedback back or to adopt a description.
pub trait CounterfactualLookup: Lookup {
    /// The state before the entry at `position` as the history that `order` asks for would have
    /// made it. The learner has carried out the orders before that position, but for those
    /// that the journal marks as refused and those of `refused`, which it does not mark yet. The comparison
    /// of versions begins at the first position that the history excludes, or at `unknown_from`, the first
    /// position whose learned examples the learner does not know.
    ///
    /// # Errors
    /// When the journal does not reach back far enough.
    fn counterfactual(
        &mut self,
        order: &Order,
        position: u64,
        refused: &[u64],
        unknown_from: Option<u64>,
    ) -> Result<Counterfactual, LookupError>;
}

/// Nothing is kept: for streams whose feedback brings its own rows.
impl CounterfactualLookup for () {
    fn counterfactual(
        &mut self,
        _: &Order,
        position: u64,
        _: &[u64],
        _: Option<u64>,
    ) -> Result<Counterfactual, LookupError> {
        Err(LookupError::NotRetained(format!(
            "no journal is kept to derive entry {position} from"
        )))
    }
}

impl Comparison {
    /// Takes note of an entry that the other history has just applied.
    pub fn observe(&mut self, entry: &Entry, other: &Learner) {
        self.note(entry, other.spec.revision, || other.moment());
        if let Event::Command(command) = &entry.event
            && matches!(command.order, Order::Retract(_) | Order::Adopt(_))
        {
            let champion = other.accounts.gate.as_ref().map(Gate::champion);
            let champion = champion.map(|state| other.part_of(state).moment());
            self.note_champion(entry.position, champion);
        }
    }
}

impl Learner {
    /// The state as a comparison keeps it.
    fn moment(&self) -> OrderState {
        let bounded = self.spec.revision >= 2;
        if bounded && HeldExamples::n_bytes_of(&self.accounts.pending) > BYTES_MAX {
            OrderState::partial(&self.learned, self.counted(), self.accounts.tallies())
        } else {
            OrderState::whole(&self.learned, self.counted(), self.tallies())
        }
    }
}
