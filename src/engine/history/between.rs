//! The orders that a journal holds between a base and an order, scanned before a rebuild.
//!
//! Invariant: it grows with the orders that bring back or take back, never with the versions that
//! were made.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::history::rebuild::Known;
use crate::engine::versions::kept::Wanted;
use crate::engine::versions::saved::Versions;
use crate::event::{Event, Order, Reason, Retraction, Version};
use crate::learn::Omission;
use crate::store::Reader;

/// The orders between a base and an order.
#[derive(Default)]
pub struct Between {
    base: u64,
    /// Earlier retractions, with the positions of their orders.
    retractions: Vec<(u64, Retraction)>,
    /// Versions brought back, each with the position of the last order that does.
    restored: BTreeMap<u64, u64>,
    /// The same of orders of which no record says what became of them, by their positions.
    undecided: BTreeMap<u64, u64>,
    /// Orders that were refused.
    pub refused: BTreeSet<u64>,
}

impl Between {
    /// Reads the entries from behind `base` up to `last`, and records behind them.
    pub fn survey(
        versions: &Versions,
        base: u64,
        last: u64,
        known: &Known,
    ) -> Result<Between, String> {
        let said = |error: crate::store::Error| error.to_string();
        let retry = &versions.retry;
        let open = || Reader::open(&versions.journal, base + 1, u64::MAX);
        let mut reader = retry.run(open).map_err(said)?;
        let mut between = Between {
            base,
            refused: known.refused.clone(),
            ..Between::default()
        };
        while let Some(entry) = retry.run(|| reader.next(last)).map_err(said)? {
            match entry.event {
                Event::Command(command) => between.see(entry.position, command.order),
                Event::Version(version) => between.decide(&version),
                Event::Refusal(refusal) => between.refuse(refusal.position),
                _ => {}
            }
        }
        // Of these every one that was refused is known.
        let undecided = between.undecided.split_off(&(known.applied + 1));
        for (order, version) in std::mem::replace(&mut between.undecided, undecided) {
            between.bring_back(version, order);
        }
        while !between.undecided.is_empty()
            && let Some(entry) = retry.run(|| reader.next(known.written)).map_err(said)?
        {
            match entry.event {
                Event::Version(version) => between.decide(&version),
                Event::Refusal(refusal) => between.refuse(refusal.position),
                _ => {}
            }
        }
        Ok(between)
    }

    fn see(&mut self, position: u64, order: Order) {
        match order {
            Order::Retract(retraction) => self.retractions.push((position, retraction)),
            Order::Restore { .. } if self.refused.contains(&position) => {}
            Order::Restore { version } => drop(self.undecided.insert(position, version)),
            Order::EarlierRestore { version } => self.bring_back(version, position),
            Order::Checkpoint | Order::Erase(_) | Order::Adopt(_) => {}
        }
    }

    fn bring_back(&mut self, version: u64, order: u64) {
        let last = self.restored.entry(version).or_insert(order);
        *last = order.max(*last);
    }

    /// An order that made its version was carried out.
    fn decide(&mut self, record: &Version) {
        if record.reason == Reason::Restore
            && let Some(version) = self.undecided.remove(&record.position)
        {
            self.bring_back(version, record.position);
        }
    }

    fn refuse(&mut self, order: u64) {
        self.undecided.remove(&order);
        self.refused.insert(order);
    }

    /// The first order of which it is not known whether it was refused.
    pub fn first_undecided(&self) -> Option<u64> {
        self.undecided.keys().next().copied()
    }

    /// The versions that were brought back and that the history makes itself, by position; the
    /// others must be on disk.
    pub fn wanted(&self, versions: &Versions, last: u64) -> Result<Wanted, String> {
        let mut wanted = Wanted::default();
        let made = self.made(versions, last)?;
        let position = |version: u64| {
            let find = || versions.retry.run(|| versions.find(version));
            let saved = || Some(find().ok()??.position);
            let position = made.get(&version).copied().or_else(saved);
            position.filter(|position| *position > self.base)
        };
        for (&version, &order) in &self.restored {
            match position(version) {
                Some(position) => wanted.add(position, version, order),
                None => {
                    let loaded = versions.retry.run(|| versions.load(version));
                    loaded.map_err(|error| error.to_string())?;
                }
            }
        }
        // A restore whose version is missing may be refused: the rebuild begins again by then.
        for (&order, &version) in &self.undecided {
            let position = position(version);
            position
                .iter()
                .for_each(|position| wanted.add(*position, version, order));
        }
        Ok(wanted)
    }

    /// Where the versions that were brought back were made, of those that were made behind the
    /// base.
    fn made(&self, versions: &Versions, last: u64) -> Result<BTreeMap<u64, u64>, String> {
        let said = |error: crate::store::Error| error.to_string();
        let mut made = BTreeMap::new();
        let brought = self.restored.keys().chain(self.undecided.values());
        let brought: BTreeSet<u64> = brought.copied().collect();
        if brought.is_empty() {
            return Ok(made);
        }
        let retry = &versions.retry;
        let open = || Reader::open(&versions.journal, self.base + 1, u64::MAX);
        let mut reader = retry.run(open).map_err(said)?;
        while let Some(entry) = retry.run(|| reader.next(last)).map_err(said)? {
            if let Event::Version(record) = entry.event
                && brought.contains(&record.version)
            {
                made.insert(record.version, record.position);
            }
        }
        Ok(made)
    }

    /// What a history that `order` asks for leaves out besides: what was retracted on the way,
    /// and last what the order itself takes back.
    pub fn omissions(&self, order: Option<&Order>) -> Result<Vec<Omission>, String> {
        let (Some(order), base) = (order, self.base) else {
            return Ok(Vec::new());
        };
        let mut omissions = Vec::new();
        for (before, retraction) in &self.retractions {
            if retraction.first_position <= base {
                return Err(format!(
                    "the state at {base} holds what was retracted since"
                ));
            }
            omissions.push(Omission {
                selector: retraction.selector.clone(),
                before: *before,
            });
        }
        if let Order::Retract(retraction) = order {
            // It applies no entry behind its order.
            omissions.push(Omission {
                selector: retraction.selector.clone(),
                before: u64::MAX,
            });
        }
        Ok(omissions)
    }
}
