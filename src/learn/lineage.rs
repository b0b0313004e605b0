//! Which entries a version's state was made of: the tree of versions.
//!
//! Invariant: a version holds what its parent holds and what came since; a restored one holds
//! what the version it brought back holds, and nothing since.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::archive::Moment;
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
    reason: Reason,
    /// Of what had been learned.
    digest: [u8; 32],
}

impl Lineage {
    pub(super) fn add(&mut self, version: &Version) {
        let origin = Origin {
            parent: version.parent,
            position: version.position,
            reason: version.reason,
            digest: version.digest,
        };
        self.origins.insert(version.version, origin);
    }

    /// The position of a version's state; none of a version that was never made.
    pub fn position(&self, version: u64) -> Option<u64> {
        self.origins.get(&version).map(|origin| origin.position)
    }

    /// The position of the newest order that has brought other learning back; 0 before the first.
    pub(super) fn renamed(&self) -> u64 {
        let brought = |origin: &&Origin| {
            use Reason::{Adopt, Restore, Retract};
            matches!(origin.reason, Restore | Retract | Adopt)
        };
        let newest = self.origins.values().rev().find(brought);
        newest.map_or(0, |origin| origin.position)
    }

    /// The position of the newest version that was made for this reason.
    pub fn newest(&self, reason: Reason) -> Option<u64> {
        let mut newest = self.origins.values().rev();
        newest
            .find(|origin| origin.reason == reason)
            .map(|origin| origin.position)
    }

    /// The positions whose entries a version was made of, but for what an order at `order` took
    /// back; all there can be where an origin is not known.
    pub fn spans(&self, mut version: u64, order: u64) -> Vec<RangeInclusive<u64>> {
        let mut spans = Vec::new();
        while version > 0 {
            let Some(origin) = self.origins.get(&version) else {
                return vec![0..=u64::MAX];
            };
            if origin.reason == Reason::Retract && origin.position >= order {
                break;
            }
            // What was brought back holds nothing that came since.
            if origin.reason != Reason::Restore {
                let parent = self.position(origin.parent).unwrap_or(0);
                spans.push(parent + 1..=origin.position);
            }
            version = origin.parent;
        }
        spans
    }

    /// The versions made at this position or later, rising.
    pub fn since(&self, position: u64) -> Vec<u64> {
        let since = self
            .origins
            .iter()
            .filter(|(_, origin)| origin.position >= position);
        since.map(|(version, _)| *version).collect()
    }

    /// The versions that a history which parts from the recorded one at `first` would not have
    /// made as they are; `moments` are what it had come to at the positions of commands.
    ///
    /// Versions of the cadence have no command to be compared at: all from `first` on are among
    /// them.
    pub(super) fn parted(&self, first: u64, moments: &BTreeMap<u64, Moment>) -> Vec<u64> {
        let parted = |(version, origin): (&u64, &Origin)| {
            let moment = moments.get(&origin.position);
            let same = origin.reason != Reason::Cadence
                && moment.is_some_and(|moment| moment.digest == origin.digest);
            (origin.position >= first && !same).then_some(*version)
        };
        self.origins.iter().filter_map(parted).collect()
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        let (mut numbers, mut digests) = (Vec::new(), Vec::new());
        for (version, origin) in &self.origins {
            let reason = origin.reason as u64;
            numbers.extend([*version, origin.parent, origin.position, reason]);
            digests.extend(origin.digest);
        }
        let n_versions = self.origins.len();
        tensors.put_u64("lineage", &[n_versions, 4], numbers);
        tensors.put_u8("lineage.digests", &[n_versions, 32], digests);
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Lineage, Error> {
        let numbers = tensors.take_u64("lineage", &[None, Some(4)])?;
        let n_versions = Some(numbers.len() / 4);
        let digests = tensors.take_u8("lineage.digests", &[n_versions, Some(32)])?;
        let mut lineage = Lineage::default();
        for (row, digest) in numbers.chunks_exact(4).zip(digests.chunks_exact(32)) {
            let reason = Reason::ALL.into_iter().find(|r| *r as u64 == row[3]);
            let reason = reason.filter(|_| row[1] < row[0]);
            let origin = Origin {
                parent: row[1],
                position: row[2],
                reason: reason.ok_or_else(|| {
                    let what = format!("version {} comes from {} by {}", row[0], row[1], row[3]);
                    Error::value("lineage", what)
                })?,
                digest: digest.try_into().expect("thirty-two bytes"),
            };
            lineage.origins.insert(row[0], origin);
        }
        Ok(lineage)
    }
}

#[cfg(test)]
mod tests {
    use super::super::learner::Tallies;
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
                digest: [version as u8; 32],
            });
        }
        lineage
    }

    #[test]
    fn only_what_another_history_made_as_well_stays() {
        let lineage = lineage();
        let moment = |digest| Moment {
            digest: [digest; 32],
            tallies: Tallies::default(),
        };
        let moments = [(10, 2), (20, 3), (25, 4), (30, 0)];
        let moments = BTreeMap::from(moments.map(|(position, digest)| (position, moment(digest))));
        assert_eq!(lineage.parted(11, &moments), [3, 5]);
        assert_eq!(lineage.parted(3, &BTreeMap::new()), [2, 3, 4, 5]);
        assert!(lineage.parted(31, &moments).is_empty());
    }

    #[test]
    fn a_version_holds_what_its_state_was_made_of() {
        let mut lineage = lineage();
        lineage.add(&Version {
            version: 6,
            parent: 5,
            position: 40,
            reason: Reason::Retract,
            digest: [6; 32],
        });
        let check = |position, expected: &[u64]| {
            let holds = (1..=6).filter(|version| {
                let spans = lineage.spans(*version, 40);
                spans.iter().any(|span| span.contains(&position))
            });
            assert_eq!(holds.collect::<Vec<_>>(), expected, "{position}");
        };
        check(5, &[2, 3, 4, 5]);
        check(15, &[3]);
        check(22, &[]);
        check(28, &[5]);
        check(35, &[]);
        assert_eq!(
            lineage.spans(7, 40),
            [0..=u64::MAX],
            "nothing is known of it"
        );
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let lineage = lineage();
        let mut tensors = Tensors::default();
        lineage.save(&mut tensors);
        assert_eq!(Lineage::load(&mut tensors), Ok(lineage));
    }
}
