//! Which feedback a selector chooses in a journal, and what of it was taken back before.
//!
//! Invariant: it is read from the journal alone.

use std::collections::BTreeMap;
use std::path::Path;

use crate::event::{Command, Entry, Event, Feedback, Kind, Order, Selector, Time};
use crate::store::{self, Reader};

/// The positions of feedback that a selector chooses, rising.
#[derive(Default)]
pub struct Selection {
    /// What was not taken back before.
    pub new: Vec<u64>,
    /// What was, and was not erased, with the positions of the orders.
    pub retracted: BTreeMap<u64, u64>,
    /// The position of the newest order that took any of those back.
    pub order: u64,
}

/// The events up to `last` that a selector chooses.
pub fn chosen(journal: &Path, selector: &Selector, last: u64) -> Result<Selection, store::Error> {
    let earlier = retractions(journal, last)?;
    let mut all = Selection::default();
    let mut reader = Reader::from_start(journal, last)?;
    while let Some(Entry {
        position,
        time,
        event,
    }) = reader.next(last)?
    {
        let Event::Feedback(feedback) = event else {
            continue;
        };
        if !selector.chooses(&feedback, time) {
            continue;
        }
        match earlier.order(position, &feedback, time) {
            None => all.new.push(position),
            Some(order) => {
                all.retracted.insert(position, order);
                all.order = all.order.max(order);
            }
        }
    }
    Ok(all)
}

/// Resent events that hold the keys of these, or of what was erased before, up to `last`.
pub fn came_again(
    journal: &Path,
    retracted: &BTreeMap<u64, u64>,
    last: u64,
) -> Result<BTreeMap<u64, u64>, store::Error> {
    let (mut firsts, mut again) = (retracted.clone(), BTreeMap::new());
    let mut reader = Reader::from_start(journal, last)?;
    while let Some(entry) = reader.next(last)? {
        match entry.event {
            Event::Erased(Kind::Feedback(tombstone)) => {
                firsts.insert(entry.position, tombstone.order);
            }
            Event::Duplicate(resent) if !resent.feedback_id.is_empty() => {
                let order = firsts.get(&resent.first_position);
                again.extend(order.map(|order| (entry.position, *order)));
            }
            _ => {}
        }
    }
    Ok(again)
}

/// What was taken back, with the positions of the orders.
pub struct Retractions(Vec<(u64, Selector)>);

impl Retractions {
    /// Whether an event, which stands at `position` since `time`, was taken back.
    pub fn hold(&self, position: u64, feedback: &Feedback, time: Time) -> bool {
        self.order(position, feedback, time).is_some()
    }

    /// The position of the first order that took the event back.
    fn order(&self, position: u64, feedback: &Feedback, time: Time) -> Option<u64> {
        let mut orders = self.0.iter();
        let (order, _) = orders
            .find(|(before, selector)| position < *before && selector.chooses(feedback, time))?;
        Some(*order)
    }
}

/// All that was taken back up to `last`.
pub fn retractions(journal: &Path, last: u64) -> Result<Retractions, store::Error> {
    let mut retractions = Vec::new();
    let mut reader = Reader::from_start(journal, last)?;
    while let Some(entry) = reader.next(last)? {
        if let Event::Command(Command {
            order: Order::Retract(retraction),
            ..
        }) = entry.event
        {
            retractions.push((entry.position, retraction.selector));
        }
    }
    Ok(Retractions(retractions))
}
