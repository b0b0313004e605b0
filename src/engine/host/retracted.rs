//! The retracted feedback whose ids are remembered: a sender that repeats it gets that answer.
//!
//! Invariant: no more positions than feedback ids that are remembered. A start finds them in the
//! journal, also where the content was erased, and beside the ids, where their segments have gone.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::engine::history::following::FollowerLookup;
use crate::engine::history::pass::{Pass, first_position};
use crate::event::{ErasedKind, Event, Reason};
use crate::learn::Learner;
use crate::store::{Error, Ids};

/// The positions of such feedback.
#[derive(Debug, Default)]
pub(crate) struct RetractedFeedback(Mutex<BTreeSet<u64>>);

impl RetractedFeedback {
    /// The retracted feedback among these ids, up to the last entry that a learner has applied.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn read(
        learner: &Learner,
        lookup: &FollowerLookup,
        ids: &Ids,
    ) -> Result<RetractedFeedback, Error> {
        let last = learner.position();
        let Some(oldest) = ids.oldest_position() else {
            return Ok(RetractedFeedback::default());
        };
        let mut positions: BTreeSet<u64> = ids.retracted().range(oldest..).copied().collect();
        let newest_order = learner.newest().of(Reason::Retract);
        if newest_order.is_none_or(|order| order < oldest) {
            return Ok(RetractedFeedback(Mutex::new(positions)));
        }
        let versions = &lookup.versions;
        // Ids stay known when the segments of their events are removed.
        let oldest = first_position(versions)?.max(oldest);
        let facts = lookup.facts.spanning(versions, oldest, last)?;
        let mut pass = Pass::from(versions, oldest, 0)?;
        while let Some(entry) = pass.next(last)? {
            let (position, time) = (entry.position, entry.time);
            let retracted = match &entry.event {
                Event::Erased(ErasedKind::Feedback(_)) => true,
                Event::Feedback(feedback) => {
                    let order = facts.retracted_by(position, time, feedback, last);
                    order.is_some()
                }
                _ => false,
            };
            if retracted {
                positions.insert(position);
            }
        }
        Ok(RetractedFeedback(Mutex::new(positions)))
    }

    /// True if the feedback at this position was taken back.
    pub(crate) fn holds(&self, position: u64) -> bool {
        let positions = self.0.lock().expect("nothing panics under it");
        positions.contains(&position)
    }

    /// All of them from this position on.
    pub(crate) fn since(&self, oldest: u64) -> BTreeSet<u64> {
        let positions = self.0.lock().expect("nothing panics under it");
        positions.range(oldest..).copied().collect()
    }

    /// Takes over the events of an order, and drops those that stand before the oldest event whose
    /// id is remembered.
    pub(crate) fn add(&self, excluded: &[u64], oldest: u64) {
        let mut positions = self.0.lock().expect("nothing panics under it");
        positions.extend(excluded);
        *positions = positions.split_off(&oldest);
    }
}
