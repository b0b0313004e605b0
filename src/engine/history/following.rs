//! Lookups of the learner that follows a journal: besides the past it asks for other histories.
//!
//! Invariant: a history that was rebuilt beside the learner is taken only for the order that it was
//! rebuilt for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use crate::engine::history::error::Error;
use crate::engine::history::facts::Facts;
use crate::engine::history::lookup::JournalLookup;
use crate::engine::history::orders::RecordedFacts;
use crate::engine::history::pass::Pass;
use crate::engine::history::rebuild::Rebuild;
use crate::engine::versions::saved::Versions;
use crate::event::{Description, Event, Feedback, Order, Prediction, Time, Version};
use crate::learn::{Counterfactual, CounterfactualLookup, Lookup, LookupError};
use crate::model::weights::Tensors;
use crate::model::{Device, PinnedFile, Spec, TextEncoder};
use crate::store::{self, Reader};

/// The handover of a rebuilt history to the learner that has to become it.
pub(crate) type PreparedHistory = Arc<Mutex<Option<Rebuild>>>;

/// The lookups of one learner that follows its journal.
pub(crate) struct FollowerLookup {
    journal: JournalLookup,
    /// A history that has almost caught up with an order on its way.
    pub prepared: PreparedHistory,
    /// The position at which a recovery ends; none once it has.
    pub recovers_to: Option<u64>,
    /// The entries up to there, once they were asked for.
    ahead: Option<UnappliedFacts>,
}

/// Facts of entries that a recovery is still to apply.
struct UnappliedFacts {
    facts: Facts,
    /// The records of versions up to `last`, of which the next one was read.
    records: Pass,
    next: Option<Version>,
    last: u64,
}

impl UnappliedFacts {
    fn read(versions: &Versions, first: u64, last: u64) -> Result<UnappliedFacts, store::Error> {
        Ok(UnappliedFacts {
            facts: Facts::read(versions, first, last)?,
            records: Pass::from(versions, first, last)?,
            next: None,
            last,
        })
    }

    /// The next version that was made at a position; they are asked for in their order, in which the
    /// records stand as well.
    fn recorded(&mut self, position: u64) -> Result<Option<Version>, store::Error> {
        let is_before = |next: &Version| next.position < position;
        while self.next.as_ref().is_none_or(is_before) {
            let Some(entry) = self.records.next(self.last)? else {
                return Ok(None);
            };
            if let Event::Version(version) = entry.event {
                self.next = Some(version);
            }
        }
        Ok(self.next.take_if(|next| next.position == position))
    }
}

impl FollowerLookup {
    pub(crate) fn new(reader: Reader, versions: Versions) -> FollowerLookup {
        FollowerLookup {
            journal: JournalLookup::new(reader, versions),
            prepared: PreparedHistory::default(),
            recovers_to: None,
            ahead: None,
        }
    }

    /// Reads the entries that a recovery is still to apply.
    fn look_ahead(&mut self) -> Result<(), store::Error> {
        let Some(last) = self.recovers_to.filter(|_| self.ahead.is_none()) else {
            return Ok(());
        };
        let first = self.journal.reader.next_position();
        let ahead = UnappliedFacts::read(&self.journal.versions, first, last)?;
        self.journal.refused.extend(ahead.facts.refused());
        self.ahead = Some(ahead);
        Ok(())
    }

    /// The history that was rebuilt for this order, and for no other, beside the learner.
    fn take_prepared(&self, order: &Order) -> Option<Rebuild> {
        let mut prepared = self.prepared.lock().expect("nothing panics under it");
        let mut taken = prepared.take_if(|rebuild| rebuild.order() == Some(order))?;
        taken.retry_like(&self.journal.versions);
        Some(taken)
    }

    fn other(
        &self,
        order: &Order,
        position: u64,
        refused: &[u64],
        unknown_from: Option<u64>,
    ) -> Result<Counterfactual, Error> {
        let last = position - 1;
        let refused: BTreeSet<u64> = self.refused.iter().chain(refused).copied().collect();
        // Something is unknown in a recovery alone, and no history is rebuilt beside one.
        if let Some(rebuild) = self.take_prepared(order) {
            return rebuild.finish_for(last, refused);
        }
        let known = RecordedFacts {
            exclusions: self.exclusions.clone(),
            refused,
            applied: last,
            written: last,
            unknown_from,
            facts: self.facts.clone(),
        };
        Rebuild::begin(&self.versions, order, last, &known)?.finish(last)
    }
}

impl Deref for FollowerLookup {
    type Target = JournalLookup;

    fn deref(&self) -> &JournalLookup {
        &self.journal
    }
}

impl DerefMut for FollowerLookup {
    fn deref_mut(&mut self) -> &mut JournalLookup {
        &mut self.journal
    }
}

impl Lookup for FollowerLookup {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, LookupError> {
        self.journal.prediction(position)
    }

    fn feedback(&mut self, position: u64) -> Result<(Time, Feedback), LookupError> {
        self.journal.feedback(position)
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), LookupError> {
        self.journal.version(version)
    }

    fn encoder(&mut self, pinned: &PinnedFile) -> Result<Arc<TextEncoder>, LookupError> {
        self.journal.encoder(pinned)
    }

    fn device(&self, named: Device) -> Device {
        self.journal.device(named)
    }

    fn has_profile(&self, description: &Description, spec: &Spec) -> bool {
        self.journal.has_profile(description, spec)
    }

    fn refused(&mut self, position: u64) -> bool {
        self.journal.refused.contains(&position)
    }

    fn taken_back(&mut self, position: u64) -> Result<Option<u64>, LookupError> {
        let read = self.look_ahead();
        read.map_err(|error| Error::from(error).of_lookup())?;
        let ahead = self.ahead.as_ref();
        Ok(ahead.and_then(|ahead| ahead.facts.taken_back_by(position)))
    }

    fn recorded(&mut self, position: u64) -> Result<Option<Version>, LookupError> {
        let Some(ahead) = &mut self.ahead else {
            return Ok(None);
        };
        let recorded = ahead.recorded(position);
        recorded.map_err(|error| Error::from(error).of_lookup())
    }
}

impl CounterfactualLookup for FollowerLookup {
    fn counterfactual(
        &mut self,
        order: &Order,
        position: u64,
        refused: &[u64],
        unknown_from: Option<u64>,
    ) -> Result<Counterfactual, LookupError> {
        let other = self.other(order, position, refused, unknown_from);
        other.map_err(Error::of_lookup)
    }
}
