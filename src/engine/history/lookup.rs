//! Where a learner finds what it asks for: in the journal, among the versions, in another history.
//!
//! Invariant: it is found by position and number alone, so that live, recovered and rederived
//! learners find the same.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::engine::history::rebuild::{Known, Rebuild};
use crate::engine::history::translation::Translation;
use crate::engine::versions::kept::Kept;
use crate::engine::versions::saved::Versions;
use crate::event::{Command, Entry, Event, Feedback, Order, Prediction, Time, Version};
use crate::learn::{Archive, Omission, Otherwise};
use crate::model::weights::Tensors;
use crate::model::{Device, Pinned, TextEncoder};
use crate::store::{self, Reader};

/// The journal and the versions of one model, for one learner.
pub struct JournalLookup {
    pub reader: Reader,
    pub versions: Versions,
    /// What the learner's history leaves out.
    pub omissions: Vec<Omission>,
    /// Orders that the recorded history refused, as far as its journal said so.
    pub refused: BTreeSet<u64>,
    /// States of versions as the learner's own history made them.
    pub kept: Kept,
    /// From the entries of the journal to those of another description.
    pub translation: Option<Translation>,
    /// A rebuild that has almost caught up with an order on its way.
    pub prepared: Prepared,
    /// Where a recovery ends; none once it has.
    pub recovers_to: Option<u64>,
    /// What stands up to there, once it was asked for.
    ahead: Option<Ahead>,
}

/// What the journal says of entries that are still to be applied.
struct Ahead {
    /// Retractions by the positions of their orders, each with the first position it concerns.
    retractions: BTreeMap<u64, u64>,
    /// Orders that were refused.
    refused: BTreeSet<u64>,
    /// The records of versions up to `last`, of which the next one was read.
    records: Reader,
    next: Option<Version>,
    last: u64,
}

impl Ahead {
    fn read(journal: &Path, first: u64, last: u64) -> Result<Ahead, store::Error> {
        let mut ahead = Ahead {
            retractions: BTreeMap::new(),
            refused: BTreeSet::new(),
            records: Reader::open(journal, first, last)?,
            next: None,
            last,
        };
        let mut reader = Reader::open(journal, first, last)?;
        while let Some(entry) = reader.next(last)? {
            match entry.event {
                Event::Command(Command {
                    order: Order::Retract(retraction),
                    ..
                }) => drop(
                    ahead
                        .retractions
                        .insert(entry.position, retraction.first_position),
                ),
                Event::Refusal(refusal) => drop(ahead.refused.insert(refusal.position)),
                _ => {}
            }
        }
        Ok(ahead)
    }

    /// The version that was made at a position; they are asked for in their order, in which the
    /// records stand as well.
    fn recorded(&mut self, position: u64) -> Result<Option<Version>, store::Error> {
        while self
            .next
            .as_ref()
            .is_none_or(|next| next.position < position)
        {
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

/// Where a rebuild is handed over to the learner that has to become it.
pub type Prepared = Arc<Mutex<Option<Rebuild>>>;

impl JournalLookup {
    pub fn new(reader: Reader, versions: Versions) -> JournalLookup {
        JournalLookup {
            reader,
            versions,
            omissions: Vec::new(),
            refused: BTreeSet::new(),
            kept: Kept::default(),
            translation: None,
            prepared: Prepared::default(),
            recovers_to: None,
            ahead: None,
        }
    }

    /// Looks at what the journal says of the entries that a recovery is still to apply.
    fn look_ahead(&mut self) {
        let Some(last) = self.recovers_to.filter(|_| self.ahead.is_none()) else {
            return;
        };
        let found = Ahead::read(&self.versions.journal, self.reader.next_position(), last);
        match found {
            Ok(ahead) => {
                self.refused.extend(&ahead.refused);
                self.ahead = Some(ahead);
            }
            Err(error) => tracing::error!(%error, "the journal could not be looked through"),
        }
    }

    /// A version whose checkpoint is not whole, made again from an older state.
    fn made_again(&self, version: u64) -> Result<(Tensors, Tensors), String> {
        let last = self.reader.next_position() - 1;
        let retry = &self.versions.retry;
        let position = retry.run(|| self.versions.position(version, last));
        let position = position.map_err(|error| error.to_string())?;
        let position = position.ok_or_else(|| format!("nothing says where {version} was made"))?;
        let learner = Rebuild::again(&self.versions, position)?.finish(position)?;
        let learner = learner.learner;
        Ok((learner.learned().weights(), learner.state()))
    }

    /// What was derived for this order, and for no other, beside the learner.
    fn take_prepared(&self, order: &Order) -> Option<Rebuild> {
        let mut prepared = self.prepared.lock().expect("nothing panics under it");
        let mut taken = prepared.take_if(|rebuild| rebuild.order() == Some(order))?;
        taken.retry_like(&self.versions);
        Some(taken)
    }

    /// The entry at a position, which stands before the one that is applied.
    fn entry(&mut self, position: u64) -> Result<Entry, String> {
        let (retry, reader) = (&self.versions.retry, &mut self.reader);
        let entry = retry.run(|| reader.read(position));
        entry.map_err(|error| error.to_string())
    }

    /// The next entry up to position `last`; none when all are applied.
    pub fn next(&mut self, last: u64) -> Result<Option<Entry>, String> {
        let (retry, reader) = (&self.versions.retry, &mut self.reader);
        let next = retry.run(|| reader.next(last));
        next.map_err(|error| error.to_string())
    }
}

impl Archive for JournalLookup {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, String> {
        match self.entry(position)?.event {
            Event::Prediction(prediction) => Ok(Cow::Owned(match &self.translation {
                Some(translation) => translation.prediction(position, prediction)?,
                None => prediction,
            })),
            _ => Err(format!("entry {position} is not a prediction")),
        }
    }

    fn feedback(&mut self, position: u64) -> Result<(Time, Feedback), String> {
        let entry = self.entry(position)?;
        match entry.event {
            Event::Feedback(feedback) => Ok((entry.time, feedback)),
            _ => Err(format!("entry {position} is not feedback")),
        }
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), String> {
        let (retry, kept) = (&self.versions.retry, &self.kept);
        let kept = retry.run(|| kept.find(version));
        if let Some(kept) = kept.map_err(|error| error.to_string())? {
            return Ok(kept);
        }
        let loaded = retry.run(|| self.versions.load(version));
        loaded.or_else(|error| {
            let again = self.made_again(version);
            let model = &self.versions.model;
            tracing::warn!(model, version, %error, "made a version again that is not whole");
            again.map_err(|why| format!("{error}; and it cannot be made again: {why}"))
        })
    }

    fn encoder(&mut self, pinned: &Pinned) -> Result<Arc<TextEncoder>, String> {
        self.versions.encoder(pinned)
    }

    fn device(&self, named: Device) -> Device {
        match self.versions.stand_in {
            Some(other) if other != named && named.check().is_err() => other,
            _ => named,
        }
    }

    fn refused(&mut self, position: u64) -> bool {
        self.refused.contains(&position)
    }

    fn taken_back(&mut self, position: u64) -> Option<u64> {
        self.look_ahead();
        let ahead = self.ahead.as_ref()?;
        let behind = ahead.retractions.range(position + 1..).rev();
        let mut took = behind.filter(|(_, first)| **first <= position);
        took.next().map(|(order, _)| *order)
    }

    fn recorded(&mut self, position: u64) -> Option<Version> {
        let recorded = self.ahead.as_mut()?.recorded(position);
        recorded.unwrap_or_else(|error| {
            tracing::error!(%error, "the journal could not be looked through");
            None
        })
    }

    fn otherwise(
        &mut self,
        order: &Order,
        position: u64,
        refused: &[u64],
        unknown_from: Option<u64>,
    ) -> Result<Otherwise, String> {
        let last = position - 1;
        let refused = self.refused.iter().chain(refused).copied().collect();
        // What is unknown is so in a recovery alone, beside which nothing is derived.
        if let Some(rebuild) = self.take_prepared(order) {
            return rebuild.finish_for(last, refused);
        }
        let known = Known {
            omissions: self.omissions.clone(),
            refused,
            applied: last,
            written: last,
            unknown_from,
        };
        Rebuild::begin(&self.versions, order, last, &known)?.finish(last)
    }
}
