//! Retention at a promotion: a contender that forgot a class or a slice is not promoted, however well it
//! answers new rows.
//!
//! Invariant: champion and contender answer the same anchors, as they are now. The set is finite, and proves
//! nothing about other rows. A champion that has learned nothing has nothing to be retained.

use std::collections::BTreeMap;

use super::Learner;
use super::feedback::Example;
use crate::learn::gate::Veto;
use crate::learn::monitors::SliceName;

/// Anchors of a class or a slice before it is compared.
const ANCHORS_MIN: u64 = 30;

impl Learner {
    /// Takes note of the slices of an example that became an anchor, where any are declared.
    pub(super) fn note_anchor(&mut self, example: &Example<'_>, before: Option<u64>) {
        if self.spec.monitor.n_keys() == 0 {
            return;
        }
        let newest = self.learned.anchored().next_back();
        let (Some(gate), Some(number)) = (&mut self.accounts.gate, newest) else {
            return;
        };
        if before != newest {
            let keys = (example.tags, example.source);
            let slices = SliceName::of_row(&self.spec, (example.batch, example.row), keys);
            let slices = slices.iter().map(|one| one.shown(&self.spec)).collect();
            let anchored = self.learned.anchored();
            gate.anchor_slices.note(number, slices, anchored);
        }
    }

    /// The reason why the contender is not to be promoted, if it is not: it answers fewer anchors of a class,
    /// of a slice or of all right than the champion, by more than the margin. The largest loss is named.
    pub(super) fn veto(&self) -> Option<Veto> {
        let gate = self.accounts.gate.as_ref()?;
        let (champion, contender) = (gate.champion(), gate.contender()?);
        if champion.learned.n_examples() == 0 {
            return None;
        }
        let answers = |state| self.learned.anchor_answers(&self.spec, state);
        let (before, now) = (answers(&champion.learned)?, answers(&contender.learned)?);
        // By class and slice, both empty of all.
        let mut groups: BTreeMap<[&str; 2], Veto> = BTreeMap::new();
        for (before, now) in before.iter().zip(&now) {
            let slices = gate.anchor_slices.of(before.example).iter();
            let slices = slices.map(|slice| ["", slice.as_str()]);
            for [class, slice] in slices.chain([["", ""], [before.class, ""]]) {
                let group = groups.entry([class, slice]).or_insert_with(|| Veto {
                    version: contender.version,
                    class: class.to_owned(),
                    slice: slice.to_owned(),
                    ..Veto::default()
                });
                group.anchors += 1;
                group.right[0] += u64::from(before.is_right);
                group.right[1] += u64::from(now.is_right);
            }
        }
        let margin = self.spec.publish.retention_margin;
        let compared = groups.into_values();
        let compared = compared.filter(|one| one.anchors >= ANCHORS_MIN && one.lost() > margin);
        compared.max_by(|one, other| one.lost().total_cmp(&other.lost()))
    }
}
