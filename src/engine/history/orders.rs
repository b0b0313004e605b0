//! The orders of the recorded history that a rebuild has to obey.
//!
//! Invariant: they are known from facts; only where the cadence made a version that was brought back,
//! and its manifest is gone, is the journal read for its record.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::history::error::Error;
use crate::engine::history::facts::Facts;
use crate::engine::history::pass::Pass;
use crate::engine::versions::kept::{VersionOrigin, VersionRequests};
use crate::engine::versions::saved::Versions;
use crate::event::{Event, Order};
use crate::learn::Exclusion;

/// Facts of the recorded history besides the entries that a rebuild applies.
#[derive(Clone, Debug)]
pub(crate) struct RecordedFacts {
    /// Feedback that the history excludes which the rebuilt one is a part of.
    pub exclusions: Vec<Exclusion>,
    /// Orders that were refused, which need not be recorded yet.
    pub refused: BTreeSet<u64>,
    /// The position up to which every refused order is known, from the journal or from `refused`.
    pub applied: u64,
    /// The position up to which the journal is written, for records of refusals behind the entries.
    pub written: u64,
    /// The position from which the recorded history is not known, since it learned erased feedback.
    pub unknown_from: Option<u64>,
    /// The facts that were read before; more are read where these do not reach.
    pub facts: Facts,
}

/// The orders of the recorded history between a state and a position.
pub(crate) struct RecordedOrders {
    /// Versions brought back, each with the position of the last order that does.
    restored: BTreeMap<u64, u64>,
    /// The restored versions of orders whose outcome is not known, by the positions of the orders.
    pub undecided: BTreeMap<u64, u64>,
    /// Orders that were refused.
    pub refused: BTreeSet<u64>,
}

impl RecordedFacts {
    /// The facts alone, without exclusions or refusals.
    pub(crate) fn new(facts: Facts) -> RecordedFacts {
        RecordedFacts {
            exclusions: Vec::new(),
            refused: BTreeSet::new(),
            applied: 0,
            written: 0,
            unknown_from: None,
            facts,
        }
    }
}

impl RecordedOrders {
    /// The orders behind the state at `base`, up to position `last`.
    pub(crate) fn between(
        facts: &Facts,
        base: u64,
        last: u64,
        known: &RecordedFacts,
    ) -> RecordedOrders {
        let mut orders = RecordedOrders {
            restored: BTreeMap::new(),
            undecided: BTreeMap::new(),
            refused: known.refused.union(facts.refused()).copied().collect(),
        };
        for (order, version) in facts.restores(base, last) {
            if orders.refused.contains(&order) {
                continue;
            }
            // Of those that were applied every one that was refused is known.
            if facts.is_carried_out(order) || order <= known.applied {
                orders.restored.insert(version, order);
            } else {
                orders.undecided.insert(order, version);
            }
        }
        orders
    }

    /// The states of versions that were brought back and that the rebuilt history makes itself; the
    /// others must be on disk.
    pub(crate) fn wanted(
        &self,
        versions: &Versions,
        facts: &Facts,
        base: u64,
        last: u64,
    ) -> Result<VersionRequests, Error> {
        let brought = self.restored.keys().chain(self.undecided.values());
        let mut positions = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for version in brought {
            if let Some(made) = facts.version_made(*version) {
                positions.insert(*version, made);
                continue;
            }
            match versions.retry.run(|| versions.find(*version))? {
                Some(manifest) => drop(positions.insert(*version, VersionOrigin::by(&manifest))),
                None => drop(missing.insert(*version)),
            }
        }
        positions.extend(recorded(versions, facts, (base, last), &missing)?);
        let made = |version| positions.get(version).copied();
        let made = |version| made(version).filter(|made: &VersionOrigin| made.position > base);
        let mut wanted = VersionRequests::default();
        for (version, order) in &self.restored {
            match made(version) {
                Some(made) => wanted.add(made, *version, *order),
                None => drop(versions.retry.run(|| versions.load(*version))?),
            }
        }
        // A restore whose version is missing may be refused: the rebuild begins again by then.
        for (order, version) in &self.undecided {
            let made = made(version).into_iter();
            made.for_each(|made| wanted.add(made, *version, *order));
        }
        Ok(wanted)
    }
}

/// The exclusions of a history that `order` asks for: those of the retractions on the way, and last
/// that of the order itself.
pub(crate) fn exclusions(
    order: Option<&Order>,
    facts: &Facts,
    base: u64,
    last: u64,
) -> Result<Vec<Exclusion>, Error> {
    let Some(order) = order else {
        return Ok(Vec::new());
    };
    // A learner that begins anew holds nothing that was retracted since.
    let holds = match order {
        Order::Retrain { .. } => 0,
        _ => base,
    };
    let mut exclusions = facts.exclusions(holds, last).map_err(|_| {
        Error::NotRetained(format!(
            "the state at {base} holds what was retracted since"
        ))
    })?;
    if let Order::Retract(retraction) = order {
        exclusions.push(Exclusion {
            selector: retraction.selector.clone(),
            // No entry behind the order is applied.
            before: u64::MAX,
        });
    }
    Ok(exclusions)
}

/// The origins of these versions that are recorded behind a state, up to `last`.
fn recorded(
    versions: &Versions,
    facts: &Facts,
    (base, last): (u64, u64),
    missing: &BTreeSet<u64>,
) -> Result<BTreeMap<u64, VersionOrigin>, Error> {
    let mut made = BTreeMap::new();
    if missing.is_empty() {
        return Ok(made);
    }
    let mut pass = Pass::from(versions, base + 1, u64::MAX)?;
    while let Some(entry) = pass.next(last)? {
        if let Event::Version(record) = entry.event
            && missing.contains(&record.version)
        {
            made.insert(record.version, facts.made_as(&record));
        }
    }
    Ok(made)
}
