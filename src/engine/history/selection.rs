//! The feedback that a selector chooses in a journal, with the orders that took it back before.
//!
//! Invariant: one pass over the journal, which an order that follows later continues. Events before
//! an order that was not known are read again, one by one.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::history::facts::Facts;
use crate::engine::history::lineage::Lineage;
use crate::engine::history::pass::{Pass, first_position};
use crate::engine::versions::saved::Versions;
use crate::event::{Command, Disposal, Entry, ErasedKind, Event, Order, Selector};
use crate::store::Error;

/// The positions of feedback that a selector chooses.
pub(crate) struct FeedbackSelection {
    versions: Versions,
    /// The position that is read next; no file stays open between two readings.
    next: u64,
    selector: Selector,
    disposal: Disposal,
    /// Orders behind this position take nothing back here.
    until: u64,
    /// The facts of the journal as far as it was read, and which of them were known before.
    pub facts: Facts,
    known: Facts,
    /// The versions made since the first chosen event.
    pub lineage: Lineage,
    /// The chosen events that no order took back before, rising.
    pub new: Vec<u64>,
    /// The chosen events that an order took back and that are not erased, with the positions of the orders.
    pub retracted: BTreeMap<u64, u64>,
    /// Orders that came behind events which may be theirs.
    unsorted: BTreeSet<u64>,
    /// Erased feedback, with the positions of the orders; only where something is to be erased.
    tombstones: BTreeMap<u64, u64>,
    /// Resent events that hold a key, with the positions of the first ones.
    resent: BTreeMap<u64, u64>,
}

impl FeedbackSelection {
    /// A selection that has read nothing yet. `known` facts save reading chosen events again.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn begin(
        versions: &Versions,
        selector: &Selector,
        disposal: Disposal,
        known: Facts,
    ) -> Result<FeedbackSelection, Error> {
        let first = first_position(versions)?;
        let mut facts = Facts::from(first);
        facts.know(&known);
        Ok(FeedbackSelection {
            versions: versions.clone(),
            next: first,
            selector: selector.clone(),
            disposal,
            until: u64::MAX,
            facts,
            known,
            lineage: Lineage::default(),
            new: Vec::new(),
            retracted: BTreeMap::new(),
            unsorted: BTreeSet::new(),
            tombstones: BTreeMap::new(),
            resent: BTreeMap::new(),
        })
    }

    /// The feedback that the order at a position asks to be erased; none where the journal does not
    /// hold the order any more.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn of_order(
        versions: &Versions,
        position: u64,
        known: Facts,
    ) -> Result<Option<FeedbackSelection>, Error> {
        // The events that it chose stood before it, and are gone as well.
        if position < first_position(versions)? {
            return Ok(None);
        }
        let order = Pass::from(versions, position, 0)?.next(position)?;
        let Some(Event::Command(Command { order, .. })) = order.map(|entry| entry.event) else {
            return Ok(None);
        };
        let Some(selector) = order.erased() else {
            return Ok(None);
        };
        let mut selection = FeedbackSelection::begin(versions, selector, Disposal::Erase, known)?;
        selection.end_at(position);
        selection.read_on(position)?;
        Ok(Some(selection))
    }

    /// Orders behind this one take nothing back here.
    pub(crate) fn end_at(&mut self, order: u64) {
        self.until = order;
    }

    /// Reads on up to `last`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn read_on(&mut self, last: u64) -> Result<(), Error> {
        if last < self.next {
            return Ok(());
        }
        let mut pass = Pass::from(&self.versions, self.next, u64::MAX)?;
        while let Some(entry) = pass.next(last)? {
            self.note(&entry);
        }
        self.next = pass.next_position();
        self.sort(&mut pass)
    }

    fn note(&mut self, entry: &Entry) {
        self.facts.note(entry);
        let position = entry.position;
        match &entry.event {
            Event::Feedback(feedback) if self.selector.chooses(feedback, entry.time) => {
                let facts = &self.facts;
                match facts.retracted_by(position, entry.time, feedback, self.until) {
                    Some(order) => drop(self.retracted.insert(position, order)),
                    None => self.new.push(position),
                }
            }
            Event::Command(Command {
                order: Order::Retract(_),
                ..
            }) if position <= self.until && !self.known.span(position) => {
                self.unsorted.insert(position);
            }
            Event::Version(version) if !self.is_empty() => self.lineage.add(version),
            Event::Erased(ErasedKind::Feedback(tombstone)) if self.disposal == Disposal::Erase => {
                self.tombstones.insert(position, tombstone.order);
            }
            Event::Duplicate(resent)
                if self.disposal == Disposal::Erase && !resent.feedback_id.is_empty() =>
            {
                let first = resent.first_position;
                if self.holds(first) || self.tombstones.contains_key(&first) {
                    self.resent.insert(position, first);
                }
            }
            _ => {}
        }
    }

    /// True if no feedback was chosen yet.
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.retracted.is_empty()
    }

    fn holds(&self, position: u64) -> bool {
        self.retracted.contains_key(&position) || self.new.binary_search(&position).is_ok()
    }

    /// Gives the events before orders that were not known then to those that took them back.
    fn sort(&mut self, pass: &mut Pass) -> Result<(), Error> {
        let unsorted = std::mem::take(&mut self.unsorted);
        let Some(newest) = unsorted.last() else {
            return Ok(());
        };
        let new = std::mem::take(&mut self.new);
        for position in new {
            let order = if position < *newest {
                self.order_of(position, &unsorted, pass)?
            } else {
                None
            };
            match order {
                Some(order) => drop(self.retracted.insert(position, order)),
                None => self.new.push(position),
            }
        }
        Ok(())
    }

    /// The first of these orders that took the event at a position back.
    fn order_of(
        &self,
        position: u64,
        orders: &BTreeSet<u64>,
        pass: &mut Pass,
    ) -> Result<Option<u64>, Error> {
        let mut event = None;
        for order in orders.range(position + 1..) {
            let Some(retraction) = self.facts.retraction(*order) else {
                continue;
            };
            if retraction.selector.hashed() == self.selector.hashed() {
                return Ok(Some(*order));
            }
            let entry = match event.take() {
                Some(entry) => entry,
                None => pass.read(position)?,
            };
            let Event::Feedback(feedback) = &entry.event else {
                return Ok(None);
            };
            if retraction.selector.chooses(feedback, entry.time) {
                return Ok(Some(*order));
            }
            event = Some(entry);
        }
        Ok(None)
    }

    /// The last position that was read.
    pub(crate) fn last_position(&self) -> u64 {
        self.next - 1
    }

    /// The position of the newest order that took any of the chosen back.
    pub(crate) fn order(&self) -> u64 {
        self.retracted.values().copied().max().unwrap_or(0)
    }

    /// All that is to be overwritten, with the positions of the orders: retracted events, and resent
    /// ones with their keys or those of events that were erased before.
    pub(crate) fn erasable(&self) -> BTreeMap<u64, u64> {
        let mut all = self.retracted.clone();
        for (position, first) in &self.resent {
            let order = self.retracted.get(first).or(self.tombstones.get(first));
            all.extend(order.map(|order| (*position, *order)));
        }
        all
    }
}
