//! A stretch of the recorded history of which some feedback was erased: from the first erased
//! event to the last order that took one back.
//!
//! Invariant: nothing that was learned there is claimed to be known. The accounts of the world are
//! followed, versions are taken from their records, and the order at the end brings the state of
//! the history that never saw the erased feedback.

use super::super::lookup::Lookup;
use super::{Error, History, Learner, Step};
use crate::event::{Entry, ErasedKind, Event, Order, OrderRefusal};
use crate::learn::records::ledger::Fate;

/// A stretch of the journal that another history may have excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gap {
    /// The first position that another history may have left out.
    pub first: u64,
    /// The position of the order that ends it.
    until: u64,
}

impl Learner {
    /// True if the entry stands in such a stretch, which it may begin or make longer.
    pub(super) fn is_in_gap(
        &mut self,
        entry: &Entry,
        lookup: &mut dyn Lookup,
    ) -> Result<bool, Error> {
        let erased = matches!(entry.event, Event::Erased(ErasedKind::Feedback(_)));
        let until = if erased && self.history == History::Recorded {
            let order = lookup.taken_back(entry.position);
            order.map_err(|cause| self.missing(cause))?
        } else {
            None
        };
        if let Some(until) = until {
            let first = entry.position;
            let gap = self.gap.get_or_insert(Gap { first, until });
            gap.until = gap.until.max(until);
        }
        Ok(self.gap.is_some_and(|gap| entry.position < gap.until))
    }

    /// Passes an entry of it.
    pub(super) fn pass(&mut self, entry: &Entry, lookup: &mut dyn Lookup) -> Result<Step, Error> {
        match &entry.event {
            Event::Feedback(feedback) => {
                let seen = &mut self.stream.feedback_ids;
                seen.forget(entry.time);
                if seen.position(&feedback.feedback_id).is_none() {
                    seen.insert(&feedback.feedback_id, entry.position, entry.time);
                }
                self.count(Fate::Pending);
            }
            Event::Duplicate(_) | Event::Erased(_) => self.count(Fate::Pending),
            Event::Command(command) => {
                if command.order.erased().is_some() {
                    self.stream.erasures.push(entry.position);
                }
                self.note_retraining(&command.order);
                match &command.order {
                    Order::Retract(retraction) => {
                        let gap = self.gap.as_mut().expect("the entry stands in it");
                        gap.first = gap.first.min(retraction.first_position);
                    }
                    Order::Restore { .. } | Order::Retrain { .. }
                        if lookup.refused(entry.position) =>
                    {
                        let position = entry.position;
                        self.stream.refusals.push(OrderRefusal { position });
                    }
                    _ => {}
                }
            }
            Event::Version(version) => drop(self.check(version, lookup)?),
            Event::Verdict(verdict) => self
                .stream
                .verdicts
                .retain(|derived| derived.position != verdict.position),
            Event::Drift(alarm) => self.pass_alarm(alarm),
            Event::Refusal(refusal) => drop(self.check_refusal(*refusal)?),
            Event::Erasure(erasure) => self.end_erasure(*erasure),
            Event::Description(_) | Event::Prediction(_) | Event::Tick(_) => {}
        }
        loop {
            let recorded = lookup.recorded(entry.position);
            let Some(version) = recorded.map_err(|cause| self.missing(cause))? else {
                break;
            };
            self.stream.newest_version = version.version;
            // Those of champion and contender stand behind that of the candidate.
            let is_first =
                self.stream.unrecorded.last().map(|last| last.position) != Some(entry.position);
            if is_first {
                self.stream.version = version.version;
            }
            self.stream.newest.add(&version);
            self.stream.unrecorded.push(version);
        }
        Ok(Step::default())
    }

    fn count(&mut self, fate: Fate) {
        self.accounts.ledger.add(fate);
        self.stream.n_events += 1;
    }
}
