//! Which entries a version's state was made of: the tree of versions.
//!
//! Invariant: a version holds what its parent holds and what came since; a restored one holds
//! what the version it brought back holds, and nothing since.

use std::collections::BTreeMap;

use crate::event::{Reason, Version};
use crate::model::weights::{Error, Tensors};

/// Every version that was made, with where its state came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lineage {
    origins: BTreeMap<u64, Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Origin {
    parent: u64,
    position: u64,
    restored: bool,
}

impl Lineage {
    pub(super) fn add(&mut self, version: &Version) {
        let origin = Origin {
            parent: version.parent,
            position: version.position,
            restored: version.reason == Reason::Restore,
        };
        self.origins.insert(version.version, origin);
    }

    /// The position of a version's state; none of a version that was never made.
    pub fn position(&self, version: u64) -> Option<u64> {
        self.origins.get(&version).map(|origin| origin.position)
    }

    /// The versions that hold an entry of `positions`, which rise; rising.
    pub fn holding(&self, positions: &[u64]) -> Vec<u64> {
        let mut holding: Vec<u64> = Vec::new();
        for (version, origin) in &self.origins {
            let from_parent = holding.binary_search(&origin.parent).is_ok();
            let since = self.position(origin.parent).unwrap_or(0);
            let after = positions.partition_point(|position| *position <= since);
            let next = positions.get(after).copied();
            let new = !origin.restored && next.is_some_and(|next| next <= origin.position);
            if from_parent || new {
                holding.push(*version);
            }
        }
        holding
    }

    /// Stretches of positions, both ends included, that the state at `position` was made of, the
    /// newest first; `version` is the newest that it descends from.
    pub fn stretches(&self, version: u64, position: u64) -> Vec<(u64, u64)> {
        let mut stretches = Vec::new();
        let (mut version, mut last) = (version, position);
        while let Some(origin) = self.origins.get(&version) {
            if origin.position < last {
                stretches.push((origin.position + 1, last));
            }
            last = match origin.restored {
                true => self.position(origin.parent).unwrap_or(0),
                false => origin.position,
            };
            version = origin.parent;
        }
        if last > 0 {
            stretches.push((1, last));
        }
        stretches
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        let row = |(version, origin): (&u64, &Origin)| {
            let restored = u64::from(origin.restored);
            [*version, origin.parent, origin.position, restored]
        };
        let numbers = self.origins.iter().flat_map(row);
        tensors.put_u64("lineage", &[self.origins.len(), 4], numbers.collect());
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Lineage, Error> {
        let numbers = tensors.take_u64("lineage", &[None, Some(4)])?;
        let mut lineage = Lineage::default();
        for row in numbers.chunks_exact(4) {
            if row[1] >= row[0] {
                return Err(Error::Value {
                    name: "lineage".to_owned(),
                    what: format!("version {} comes from {}", row[0], row[1]),
                });
            }
            let origin = Origin {
                parent: row[1],
                position: row[2],
                restored: row[3] == 1,
            };
            lineage.origins.insert(row[0], origin);
        }
        Ok(lineage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 at 2; 2 from 1 at 10; 3 from 2 at 20; 4 brings 2 back at 25; 5 from 4 at 30.
    fn lineage() -> Lineage {
        let mut lineage = Lineage::default();
        for (version, parent, position, reason) in [
            (1, 0, 2, Reason::Initial),
            (2, 1, 10, Reason::Checkpoint),
            (3, 2, 20, Reason::Cadence),
            (4, 2, 25, Reason::Restore),
            (5, 4, 30, Reason::Checkpoint),
        ] {
            lineage.add(&Version {
                version,
                parent,
                position,
                reason,
                digest: [0; 32],
            });
        }
        lineage
    }

    #[test]
    fn a_version_holds_what_it_descends_from_and_not_what_was_undone() {
        let lineage = lineage();
        let check = |positions: &[u64], expected: &[u64]| {
            assert_eq!(lineage.holding(positions), expected, "{positions:?}");
        };
        check(&[], &[]);
        check(&[2], &[1, 2, 3, 4, 5]);
        check(&[10], &[2, 3, 4, 5]);
        check(&[11, 22], &[3]);
        check(&[22], &[]);
        check(&[26, 40], &[5]);
        check(&[31], &[]);
    }

    #[test]
    fn a_state_is_made_of_stretches_of_the_journal() {
        let lineage = lineage();
        assert_eq!(
            lineage.stretches(5, 33),
            [(31, 33), (26, 30), (3, 10), (1, 2)]
        );
        assert_eq!(lineage.stretches(3, 20), [(11, 20), (3, 10), (1, 2)]);
        assert_eq!(lineage.stretches(4, 25), [(3, 10), (1, 2)]);
        let mut tensors = Tensors::default();
        lineage.save(&mut tensors);
        assert_eq!(Lineage::load(&mut tensors), Ok(lineage));
    }
}
