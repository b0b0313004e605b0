//! Which of the feedback whose ids are remembered was taken back: who sends it again is told so.
//!
//! Invariant: no more positions than feedback ids that are remembered. Nothing of this is saved:
//! a start finds it in the journal, also where the content was erased.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::learning::Learning;
use crate::event::{Command, Event, Kind, Order, Reason};
use crate::learn::Learner;
use crate::store::{Error, Reader, segments};

/// The positions of such feedback.
#[derive(Debug, Default)]
pub struct Retracted(Mutex<BTreeSet<u64>>);

impl Retracted {
    /// What the journal says of the feedback that a learner remembers, up to where it has learned.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read(learning: &Learning) -> Result<Retracted, Error> {
        let (learner, last) = (&learning.learner, learning.learner.position());
        let Some(oldest) = learner.seen().oldest_position() else {
            return Ok(Retracted::default());
        };
        let newest_order = learner.lineage().newest(Reason::Retract);
        if newest_order.is_none_or(|order| order < oldest) {
            return Ok(Retracted::default());
        }
        let journal = &learning.shelf.versions.journal;
        // Ids stay known when the segments of their events are let go.
        let first = segments(journal)?;
        let oldest = first
            .first()
            .map_or(oldest, |first| first.first_position.max(oldest));
        let mut orders = Vec::new();
        let mut reader = Reader::open(journal, oldest, 0)?;
        while let Some(entry) = reader.next(last)? {
            if let Event::Command(Command {
                order: Order::Retract(retraction),
                ..
            }) = entry.event
            {
                orders.push((entry.position, retraction.selector));
            }
        }
        let mut positions = BTreeSet::new();
        let mut reader = Reader::open(journal, oldest, 0)?;
        while let Some(entry) = reader.next(last)? {
            let position = entry.position;
            let retracted = match &entry.event {
                Event::Erased(Kind::Feedback(_)) => true,
                Event::Feedback(feedback) => orders.iter().any(|(order, selector)| {
                    position < *order && selector.chooses(feedback, entry.time)
                }),
                _ => false,
            };
            if retracted {
                positions.insert(position);
            }
        }
        Ok(Retracted(Mutex::new(positions)))
    }

    /// Whether the feedback that stands there was taken back.
    pub fn holds(&self, position: u64) -> bool {
        let positions = self.0.lock().expect("nothing panics under it");
        positions.contains(&position)
    }

    /// Takes over what an order has taken back, and lets go what the learner does not remember.
    pub fn add(&self, left_out: &[u64], learner: &Learner) {
        let mut positions = self.0.lock().expect("nothing panics under it");
        positions.extend(left_out);
        let oldest = learner.seen().oldest_position().unwrap_or(u64::MAX);
        *positions = positions.split_off(&oldest);
    }
}
