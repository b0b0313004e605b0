//! The states of versions that a derived history makes and brings back later.
//!
//! Invariant: they lie on disk, each from where its version is made until it is last brought back,
//! and none of them stays in memory. So a rebuild holds its own state and, while it sets one
//! aside or brings one back, that one; and on disk no more than versions that were there when they
//! were brought back.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::compute::retry::ShortageRetry;
use crate::engine::versions::saved::Versions;
use crate::event::Reason;
use crate::learn::Learner;
use crate::model::weights::Tensors;
use crate::store::{Error, Manifest, ScratchFolder};

/// The states of the wanted versions, as one history made them.
#[derive(Default)]
pub(crate) struct RetainedStates {
    wanted: VersionRequests,
    /// Made once a version is wanted.
    scratch: Option<ScratchFolder>,
    /// The versions set aside, and the same with the positions where they are last brought back.
    in_scratch: BTreeSet<u64>,
    ends: BTreeSet<(u64, u64)>,
}

/// Versions to be kept, by the positions of their states and their numbers.
#[derive(Default)]
pub(crate) struct VersionRequests(BTreeMap<(u64, u64), Want>);

struct Want {
    /// The side that it is the frozen state of, if it is.
    side: Option<Reason>,
    /// Where it is last brought back.
    until: u64,
}

/// The origin of a version: the position where it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionOrigin {
    pub position: u64,
    /// The side that it is the frozen state of, if it is.
    pub side: Option<Reason>,
}

impl VersionOrigin {
    /// By the manifest of a version.
    pub(crate) fn by(manifest: &Manifest) -> VersionOrigin {
        let sides = [Reason::Champion, Reason::Contender].into_iter();
        let mut sides = sides.filter(|_| manifest.frozen_at > 0);
        VersionOrigin {
            position: manifest.position,
            side: sides.find(|side| side.word() == manifest.reason),
        }
    }
}

impl VersionRequests {
    /// A version that was made there is brought back at `until`, or later again.
    pub(crate) fn add(&mut self, made: VersionOrigin, version: u64, until: u64) {
        let VersionOrigin { position, side } = made;
        let wanted = self.0.entry((position, version));
        let want = wanted.or_insert(Want { side, until });
        want.until = want.until.max(until);
    }

    /// Takes one that stands at a position, with its number.
    fn take_at(&mut self, position: u64) -> Option<(u64, Want)> {
        let (key, _) = self.0.range((position, 0)..=(position, u64::MAX)).next()?;
        let key = *key;
        self.0.remove(&key).map(|want| (key.1, want))
    }
}

impl RetainedStates {
    pub(crate) fn new(versions: &Versions, wanted: VersionRequests) -> RetainedStates {
        let any = !wanted.0.is_empty();
        RetainedStates {
            scratch: any.then(|| ScratchFolder::new(&versions.disk, &versions.scratch)),
            wanted,
            ..RetainedStates::default()
        }
    }

    /// Sets the state aside if its version is wanted, and gives up those that no order needs any
    /// more. To be called after each entry.
    pub(crate) fn follow(&mut self, learner: &Learner, retry: &ShortageRetry) -> Result<(), Error> {
        let Some(scratch) = &self.scratch else {
            return Ok(());
        };
        let position = learner.position();
        while let Some(&(end, version)) = self.ends.first()
            && end <= position
        {
            self.ends.pop_first();
            self.in_scratch.remove(&version);
            for file in files(version) {
                retry.run(|| scratch.remove(&file))?;
            }
        }
        while let Some((version, Want { side, until })) = self.wanted.take_at(position) {
            let [weights, state] = files(version);
            // Where this history has no such side, the candidate stands in its place.
            let part = side.and_then(|side| learner.side(side));
            let learner = part.as_ref().unwrap_or(learner);
            // One after the other, so that never the whole is held twice.
            retry.run(|| scratch.put(&weights, learner.learned().weights()))?;
            retry.run(|| scratch.put(&state, learner.state()))?;
            self.in_scratch.insert(version);
            self.ends.insert((until, version));
        }
        Ok(())
    }

    /// Weights and learner state of a version, if this history has made it.
    pub(crate) fn find(&self, version: u64) -> Result<Option<(Tensors, Tensors)>, Error> {
        let scratch = self.scratch.as_ref();
        let Some(scratch) = scratch.filter(|_| self.in_scratch.contains(&version)) else {
            return Ok(None);
        };
        let [weights, state] = files(version);
        Ok(Some((scratch.get(&weights)?, scratch.get(&state)?)))
    }
}

fn files(version: u64) -> [String; 2] {
    ["weights", "learner"].map(|part| format!("{version}.{part}"))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::model::Spec;
    use crate::store::disk::{ChangeOutcome, DiskChange};
    use crate::store::{Directory, Disk};

    const TOML: &str = "task = \"classification\"\nclasses = [\"a\", \"b\"]\n\
        [[input]]\nname = \"x\"\nkind = \"number\"\n";

    /// A disk that refuses every second change of a file set aside, `n_left` times in all.
    fn short_of_room(n_left: usize) -> (Arc<AtomicUsize>, Disk) {
        let left = Arc::new(AtomicUsize::new(n_left));
        let (counted, n_changes) = (left.clone(), AtomicUsize::new(0));
        let disk = Disk::watched(move |change| {
            let (DiskChange::Create(path) | DiskChange::Write(path, ..)) = change else {
                return Ok(ChangeOutcome::Make);
            };
            let is_aside = path.to_string_lossy().contains(".scratch-");
            let is_second = is_aside && n_changes.fetch_add(1, Relaxed) % 2 == 1;
            let fewer = |n: usize| n.checked_sub(1);
            if is_second && counted.fetch_update(Relaxed, Relaxed, fewer).is_ok() {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            } else {
                Ok(ChangeOutcome::Make)
            }
        });
        (left, disk)
    }

    #[test]
    fn p12_a_state_is_set_aside_once_there_is_room() {
        let check = |retry: &ShortageRetry, n_refused: usize, expected: bool| {
            let folder = tempfile::tempdir().unwrap();
            let (left, disk) = short_of_room(n_refused);
            let directory = Directory::open_on(folder.path(), disk).unwrap();
            let versions = Versions::new(&directory, "m", [7; 16]);
            let learner = Learner::new(Arc::new(Spec::parse(TOML).unwrap()));
            let mut wanted = VersionRequests::default();
            let made = VersionOrigin {
                position: 0,
                side: None,
            };
            wanted.add(made, 1, 10);
            let mut kept = RetainedStates::new(&versions, wanted);
            let followed = kept.follow(&learner, retry);
            assert_eq!(followed.is_ok(), expected, "{followed:?}");
            assert_eq!(left.load(Relaxed), 0);
            let found = kept.find(1).unwrap();
            assert_eq!(found.is_some(), expected);
            if let Some((weights, state)) = found {
                assert_eq!(weights.digest(), learner.learned().weights().digest());
                assert_eq!(state.digest(), learner.state().digest());
            }
        };
        check(&ShortageRetry::of("m"), 3, true);
        check(&ShortageRetry::default(), 1, false);
    }
}
