//! The states of versions that a derived history makes and brings back later.
//!
//! Invariant: they lie on disk, each from where its version is made until it is last brought back,
//! and none of them stays in memory. So a rebuild holds its own state and, while it sets one
//! aside or brings one back, that one; and on disk no more than versions that were there when they
//! were brought back.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::versions::saved::Versions;
use crate::learn::Learner;
use crate::model::weights::Tensors;
use crate::store::{Error, Scratch};

/// The states of the wanted versions, as one history made them.
#[derive(Default)]
pub(crate) struct Kept {
    wanted: Wanted,
    /// Made once a version is wanted.
    scratch: Option<Scratch>,
    /// The versions set aside, and the same by the positions where they are last brought back.
    aside: BTreeSet<u64>,
    ends: BTreeMap<u64, u64>,
}

/// Versions to be kept, by the positions of their states.
#[derive(Default)]
pub(crate) struct Wanted(BTreeMap<u64, Want>);

struct Want {
    version: u64,
    /// Where it is last brought back.
    until: u64,
}

impl Wanted {
    /// A version whose state is made at `position` is brought back at `until`, or later again.
    pub(crate) fn add(&mut self, position: u64, version: u64, until: u64) {
        let want = self.0.entry(position).or_insert(Want { version, until });
        want.until = want.until.max(until);
    }
}

impl Kept {
    pub(crate) fn new(versions: &Versions, wanted: Wanted) -> Kept {
        let any = !wanted.0.is_empty();
        Kept {
            scratch: any.then(|| Scratch::new(&versions.disk, &versions.scratch)),
            wanted,
            ..Kept::default()
        }
    }

    /// Sets the state aside if its version is wanted, and gives up those that no order needs any
    /// more. To be called after each entry.
    pub(crate) fn follow(&mut self, learner: &Learner) -> Result<(), Error> {
        let Some(scratch) = &self.scratch else {
            return Ok(());
        };
        let position = learner.position();
        while let Some((&end, &version)) = self.ends.first_key_value()
            && end <= position
        {
            self.ends.remove(&end);
            self.aside.remove(&version);
            for file in files(version) {
                scratch.remove(&file)?;
            }
        }
        if let Some(Want { version, until }) = self.wanted.0.remove(&position) {
            let [weights, state] = files(version);
            // One after the other, so that never the whole is held twice.
            scratch.put(&weights, learner.learned().weights())?;
            scratch.put(&state, learner.state())?;
            self.aside.insert(version);
            self.ends.insert(until, version);
        }
        Ok(())
    }

    /// Weights and learner state of a version, if this history has made it.
    pub(crate) fn find(&self, version: u64) -> Result<Option<(Tensors, Tensors)>, Error> {
        let scratch = self.scratch.as_ref();
        let Some(scratch) = scratch.filter(|_| self.aside.contains(&version)) else {
            return Ok(None);
        };
        let [weights, state] = files(version);
        Ok(Some((scratch.get(&weights)?, scratch.get(&state)?)))
    }
}

fn files(version: u64) -> [String; 2] {
    ["weights", "learner"].map(|part| format!("{version}.{part}"))
}
