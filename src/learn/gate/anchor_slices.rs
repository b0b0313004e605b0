//! The slices of the anchors of the retention set, whose tags are not stored with their rows.
//!
//! Invariant: bounded; an example that is no anchor any more is not asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::learn::records::saved::{put_texts, take_texts};
use crate::model::weights::{Error, Tensors};

/// Examples that are remembered, of which a retention set has a thousand.
const EXAMPLES_MAX: usize = 2048;

/// The names of slices by the number of the example.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AnchorSlices(BTreeMap<u64, Vec<String>>);

impl AnchorSlices {
    /// Takes note of the slices of a new anchor, and forgets the examples that are none any more where there
    /// is no room.
    pub(crate) fn note(
        &mut self,
        example: u64,
        slices: Vec<String>,
        anchored: impl Iterator<Item = u64>,
    ) {
        if self.0.len() >= EXAMPLES_MAX {
            let kept: BTreeSet<u64> = anchored.collect();
            self.0.retain(|number, _| kept.contains(number));
        }
        self.0.insert(example, slices);
    }

    /// The slices of an anchor.
    pub(crate) fn of(&self, example: u64) -> &[String] {
        self.0.get(&example).map_or(&[], Vec::as_slice)
    }

    /// Saves nothing where no slice is declared.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        if self.0.is_empty() {
            return;
        }
        let mut saved = Tensors::default();
        let counts = self.0.iter();
        let counts: Vec<u64> = counts
            .flat_map(|(number, slices)| [*number, slices.len() as u64])
            .collect();
        saved.put_u64("counts", &[self.0.len(), 2], counts);
        put_texts(&mut saved, self.0.values().flatten().map(String::as_str));
        tensors.nest("anchor_slices", saved);
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<AnchorSlices, Error> {
        let mut saved = tensors.unnest("anchor_slices");
        if saved.0.is_empty() {
            return Ok(AnchorSlices::default());
        }
        let counts = saved.take_u64("counts", &[None, Some(2)])?;
        let mut names = take_texts(&mut saved)?.into_iter();
        let mut slices = BTreeMap::new();
        for pair in counts.chunks_exact(2) {
            let of_one: Vec<String> = names.by_ref().take(pair[1] as usize).collect();
            if of_one.len() as u64 != pair[1] {
                return Err(Error::value("anchor_slices", "fewer names than slices"));
            }
            slices.insert(pair[0], of_one);
        }
        if names.next().is_some() || slices.len() > EXAMPLES_MAX {
            return Err(Error::value("anchor_slices", "more names than slices"));
        }
        Ok(AnchorSlices(slices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_slices_of_what_is_no_anchor_any_more_make_room() {
        let mut slices = AnchorSlices::default();
        for number in 1..=10_000 {
            let anchored = (1..=number).rev().take(1000);
            slices.note(number, vec![format!("tag:team={}", number % 3)], anchored);
            assert!(slices.0.len() <= EXAMPLES_MAX);
        }
        assert_eq!(slices.of(9_999), ["tag:team=0".to_owned()]);
        assert!(slices.of(3).is_empty());
        let mut tensors = Tensors::default();
        slices.save(&mut tensors);
        assert_eq!(AnchorSlices::load(&mut tensors), Ok(slices));
        let mut none = Tensors::default();
        AnchorSlices::default().save(&mut none);
        assert!(none.0.is_empty());
    }
}
