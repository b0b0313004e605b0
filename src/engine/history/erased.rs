//! Erasure in checkpoints: a checkpoint between feedback and the order that took it back holds the
//! feedback, also where a restore had undone it by then.
//!
//! Invariant: afterwards no checkpoint holds anything that the erased feedback led to, and every
//! version that never learned it can be restored as before.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::history::lineage::Lineage;
use crate::engine::versions::saved::Versions;
use crate::event::Version;
use crate::learn::{Learner, RevisedTallies, TaintedVersions};
use crate::store::checkpoint::UNNAMED;
use crate::store::{Error, Manifest, checkpoint};

/// The versions that a learner has made: which hold feedback that was taken back.
pub(crate) struct Origins {
    tainted: TaintedVersions,
    revised_tallies: RevisedTallies,
    unrecorded: Vec<Version>,
    lineage: Lineage,
}

impl Origins {
    /// The origins as far as the learner knows them.
    pub(crate) fn of(learner: &Learner) -> Origins {
        Origins {
            tainted: learner.tainted().clone(),
            revised_tallies: learner.revised_tallies().clone(),
            unrecorded: learner.unrecorded_versions().to_vec(),
            lineage: Lineage::default(),
        }
    }

    /// The origins with the versions that the journal records since the feedback that was taken back.
    pub(crate) fn with(mut self, lineage: Lineage) -> Origins {
        self.lineage = lineage;
        let unrecorded = self.unrecorded.iter();
        unrecorded.for_each(|version| self.lineage.add(version));
        self
    }

    /// True if a version learned feedback that was taken back, or anything derived from it.
    fn holds(&self, version: u64, taken: &BTreeMap<u64, u64>) -> bool {
        if self.tainted.has_left(version) {
            return true;
        }
        // A version that is not tainted is, bit for bit, the one that never saw it.
        let Some(successor) = self.tainted.successor(version) else {
            return false;
        };
        let orders: BTreeSet<u64> = taken.values().copied().collect();
        // An order whose record is gone stood before all of these.
        let by = self.lineage.position(successor);
        let learned = |order: &u64| {
            let spans = self.lineage.spans(version, *order).into_iter();
            let mut within = spans.flat_map(|span| taken.range(span));
            within.any(|(_, by)| by == order)
        };
        by.is_some_and(|by| orders.contains(&by)) || orders.iter().any(learned)
    }
}

/// Removes the checkpoints that learned the feedback at these positions, each of which comes with
/// that of the order that took it back, and all that name no version. Of the others, which only
/// knew of the feedback, the learned state stays.
///
/// # Errors
/// The disk refused: to be done again.
pub(crate) fn remove(
    versions: &Versions,
    origins: Origins,
    taken: &BTreeMap<u64, u64>,
) -> Result<(), Error> {
    let whole = versions.checkpoints()?.into_iter();
    let whole = whole.map(|one| (&versions.folder, Some(one.position), one));
    let frozen = versions.frozen()?.into_iter().map(|one| {
        let manifest = one.manifest.as_ref();
        let position = manifest.map(|manifest| manifest.position).ok();
        (&versions.frozen, position, one)
    });
    for (folder, position, one) in whole.chain(frozen) {
        // One that cannot be read may hold anything.
        let at = position.unwrap_or(u64::MAX);
        let before = taken.range(..=at).map(|(_, order)| *order);
        let Some(order) = before
            .filter(|order| position.is_none_or(|at| at < *order))
            .max()
        else {
            continue;
        };
        let kept = match one.manifest {
            Ok(manifest) if UNNAMED.contains(&manifest.reason.as_str()) => false,
            Ok(manifest) if origins.holds(manifest.version, taken) => false,
            Ok(manifest) => reduce(versions, &origins, manifest, order)?,
            Err(_) => false,
        };
        if !kept {
            checkpoint::remove(&versions.disk, folder, one.position)?;
        }
    }
    Ok(())
}

/// Reduces a checkpoint to the part that a restore takes; false where it cannot be read.
fn reduce(
    versions: &Versions,
    origins: &Origins,
    manifest: Manifest,
    order: u64,
) -> Result<bool, Error> {
    if manifest.erased_by > 0 {
        return Ok(true);
    }
    let Ok(learner) = versions.state_of_version(&manifest) else {
        return Ok(false);
    };
    let tallies = origins.revised_tallies.get(manifest.version).cloned();
    let learner = learner.restorable_part(tallies);
    let mut manifest = Manifest {
        erased_by: order,
        ..manifest
    };
    // The scores count the erased feedback.
    manifest.metrics.retain(|name, _| name == "examples");
    versions.replace(&learner, manifest)?;
    Ok(true)
}
