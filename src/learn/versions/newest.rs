//! The places of the newest version of each reason.
//!
//! Invariant: as many numbers as there are reasons, however many versions there are.

use crate::event::{Reason, Version};
use crate::model::weights::{Error, Tensors};

/// The positions of the newest versions, by their reasons.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Newest {
    /// 0 where there is none: no version stands there.
    positions: [u64; Reason::ALL.len()],
}

impl Newest {
    /// The position of the newest version that was made for this reason.
    pub fn of(&self, reason: Reason) -> Option<u64> {
        let position = self.positions[reason as usize];
        (position > 0).then_some(position)
    }

    /// The position of the newest order that has brought other learning back; 0 before the first.
    pub(crate) fn renamed(&self) -> u64 {
        let brought = [
            Reason::Restore,
            Reason::Retract,
            Reason::Adopt,
            Reason::Rewind,
            Reason::Retrain,
        ];
        let positions = brought.map(|reason| self.positions[reason as usize]);
        positions.into_iter().max().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, version: &Version) {
        self.note(version.reason, version.position);
    }

    fn note(&mut self, reason: Reason, position: u64) {
        let newest = &mut self.positions[reason as usize];
        *newest = position.max(*newest);
    }

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        // A state that no newer reason made a version of is saved as earlier programs saved it.
        let [.., contender, rewind, retrain, champion] = self.positions;
        let n_newer = match (contender, rewind, retrain.max(champion)) {
            (0, 0, 0) => 4,
            (_, _, 0) => 2,
            _ => 0,
        };
        let n_reasons = self.positions.len() - n_newer;
        let positions = self.positions[..n_reasons].to_vec();
        tensors.put_u64("newest", &[positions.len()], positions);
    }

    pub(crate) fn load(tensors: &mut Tensors) -> Result<Newest, Error> {
        let mut newest = Newest::default();
        let positions = tensors.take_u64("newest", &[None])?;
        // Reasons that came into the program since then have made no version yet.
        let known = newest.positions.get_mut(..positions.len());
        let known = known.ok_or_else(|| {
            Error::value(
                "newest",
                format!("{} reasons for versions", positions.len()),
            )
        })?;
        known.copy_from_slice(&positions);
        Ok(newest)
    }

    /// The newest versions of the tree that earlier programs saved: number, parent, position and reason of
    /// each.
    pub(crate) fn of_tree(tree: &[u64]) -> Result<Newest, Error> {
        let mut newest = Newest::default();
        for row in tree.chunks_exact(4) {
            let reason = Reason::ALL.into_iter().find(|r| *r as u64 == row[3]);
            let reason = reason.filter(|_| row[1] < row[0]).ok_or_else(|| {
                let what = format!("version {} comes from {} by {}", row[0], row[1], row[3]);
                Error::value("lineage", what)
            })?;
            newest.note(reason, row[2]);
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_of_a_reason_is_known() {
        let mut newest = Newest::default();
        assert_eq!((newest.of(Reason::Cadence), newest.renamed()), (None, 0));
        for (version, position, reason) in [
            (1, 2, Reason::Initial),
            (2, 10, Reason::Retract),
            (3, 20, Reason::Restore),
            (4, 25, Reason::Cadence),
            (5, 30, Reason::Cadence),
        ] {
            newest.add(&Version {
                version,
                parent: version - 1,
                position,
                reason,
                digest: [0; 32].into(),
                tallies: None,
            });
        }
        let of = [Reason::Retract, Reason::Cadence, Reason::Adopt].map(|reason| newest.of(reason));
        assert_eq!((of, newest.renamed()), ([Some(10), Some(30), None], 20));
        let mut tensors = Tensors::default();
        newest.save(&mut tensors);
        assert_eq!(Newest::load(&mut tensors), Ok(newest.clone()));
        let tree = [
            [1, 0, 2, 0],
            [2, 1, 10, 4],
            [3, 2, 20, 3],
            [4, 3, 25, 2],
            [5, 4, 30, 2],
        ];
        assert_eq!(Newest::of_tree(tree.as_flattened()), Ok(newest));
        assert!(Newest::of_tree(&[3, 3, 9, 0]).is_err(), "of itself");
        assert!(Newest::of_tree(&[3, 2, 9, 10]).is_err(), "for no reason");
    }
}
