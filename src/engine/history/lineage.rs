//! The tree of versions, as the journal records it from some position on.
//!
//! Invariant: a version holds the feedback of its parent and that since; a restored one holds
//! that of the version it brought back, and nothing since. It grows with the versions, so it
//! lives only as long as the order that needs it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::event::{Reason, Version};

/// The versions whose records stand from a position on, with where their states came from.
#[derive(Clone, Default)]
pub(crate) struct Lineage {
    origins: BTreeMap<u64, Origin>,
}

#[derive(Clone)]
struct Origin {
    parent: u64,
    position: u64,
    reason: Reason,
}

impl Lineage {
    /// Takes note of the record of a version, or of a version that has none yet.
    pub(crate) fn add(&mut self, version: &Version) {
        let origin = Origin {
            parent: version.parent,
            position: version.position,
            reason: version.reason,
        };
        self.origins.insert(version.version, origin);
    }

    /// The position of a version's state; none of one that was made before, or never.
    pub(crate) fn position(&self, version: u64) -> Option<u64> {
        self.origins.get(&version).map(|origin| origin.position)
    }

    /// The positions whose entries a version was made of, except for feedback that the order at
    /// `order` took back and entries before the first record that was noted.
    pub(crate) fn spans(&self, mut version: u64, order: u64) -> Vec<RangeInclusive<u64>> {
        let mut spans = Vec::new();
        while let Some(origin) = self.origins.get(&version) {
            if origin.reason == Reason::Retract && origin.position >= order {
                break;
            }
            // A version that was brought back holds nothing that came since.
            if !matches!(origin.reason, Reason::Restore | Reason::Rewind) {
                let parent = self.position(origin.parent).unwrap_or(0);
                // Of an order that brought another history both may be.
                if parent < origin.position {
                    spans.push(parent + 1..=origin.position);
                }
            }
            version = origin.parent;
        }
        spans
    }

    /// The versions made at this position or later, rising.
    pub(crate) fn since(&self, position: u64) -> Vec<u64> {
        let since = self
            .origins
            .iter()
            .filter(|(_, origin)| origin.position >= position);
        since.map(|(version, _)| *version).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 at 2; 2 from 1 at 10; 3 from 2 at 20; 4 brings 2 back at 25; 5 from 4 at 30; 6 from 5,
    /// which takes something back, at 40.
    fn lineage(from: u64) -> Lineage {
        let mut lineage = Lineage::default();
        for (version, parent, position, reason) in [
            (1, 0, 2, Reason::Initial),
            (2, 1, 10, Reason::Checkpoint),
            (3, 2, 20, Reason::Cadence),
            (4, 2, 25, Reason::Restore),
            (5, 4, 30, Reason::Checkpoint),
            (6, 5, 40, Reason::Retract),
        ] {
            if position >= from {
                lineage.add(&Version {
                    version,
                    parent,
                    position,
                    reason,
                    digest: [version as u8; 32].into(),
                    tallies: None,
                });
            }
        }
        lineage
    }

    #[test]
    fn a_version_holds_what_its_state_was_made_of() {
        let check = |from, position, expected: &[u64]| {
            let lineage = lineage(from);
            let holds = (1..=6).filter(|version| {
                let spans = lineage.spans(*version, 40);
                spans.iter().any(|span| span.contains(&position))
            });
            assert_eq!(holds.collect::<Vec<_>>(), expected, "{position} of {from}");
        };
        check(0, 5, &[2, 3, 4, 5]);
        // Records before the first one that is asked for change no answer.
        for from in [0, 10, 15] {
            check(from, 15, &[3]);
            check(from, 22, &[]);
            check(from, 28, &[5]);
            check(from, 35, &[]);
        }
    }

    #[test]
    fn those_made_later_are_found() {
        assert_eq!(lineage(0).since(20), [3, 4, 5, 6]);
        assert_eq!(
            (lineage(10).position(1), lineage(10).position(2)),
            (None, Some(10))
        );
    }
}
