//! A frozen state: all that was learned up to a position, which learns no more.
//!
//! Invariant: within the recorded history it is a version, and all that a restore of that version would bring
//! back is here. The order that brings another history makes versions of the states that this one froze.

use std::sync::Arc;

use crate::learn::algorithms::learned::Learned;
use crate::learn::join::HeldExamples;
use crate::learn::versions::tallies::Tallies;
use crate::model::Spec;
use crate::model::weights::{Error, Tensors};

/// The learned state up to a position, with the tallies that a restore brings back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FrozenState {
    pub learned: Learned,
    pub tallies: Tallies,
    /// The number of the version; 0 within another history.
    pub version: u64,
    /// The position of the state.
    pub position: u64,
}

impl FrozenState {
    /// `NAME.weights.*`, `NAME.learned.*`, `NAME.tallies.*` and U64 `NAME.numbers` `[2]`.
    pub(crate) fn save(&self, name: &str, tensors: &mut Tensors) {
        tensors.nest(&format!("{name}.weights"), self.learned.weights());
        tensors.nest(&format!("{name}.learned"), self.learned.state());
        tensors.nest(&format!("{name}.tallies"), self.tallies.tensors());
        let numbers = vec![self.version, self.position];
        tensors.put_u64(format!("{name}.numbers"), &[2], numbers);
    }

    /// The saved state; none where nothing was saved.
    pub(crate) fn load(
        name: &str,
        spec: &Spec,
        tensors: &mut Tensors,
    ) -> Result<Option<Arc<FrozenState>>, Error> {
        let numbers = format!("{name}.numbers");
        if !tensors.0.contains_key(&numbers) {
            return Ok(None);
        }
        let numbers = tensors.take_u64(&numbers, &[Some(2)])?;
        let mut part = |part: &str| tensors.unnest(&format!("{name}.{part}"));
        let (mut weights, mut learned, mut tallies) =
            (part("weights"), part("learned"), part("tallies"));
        let tallies = Tallies::load(&mut tallies, numbers[1])?;
        Ok(Some(Arc::new(FrozenState {
            learned: Learned::load(spec, &mut weights, &mut learned)?,
            tallies: Tallies {
                held: Some(tallies.held.unwrap_or_else(HeldExamples::default)),
                ..tallies
            },
            version: numbers[0],
            position: numbers[1],
        })))
    }
}
