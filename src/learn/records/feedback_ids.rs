//! The feedback ids of the last day: the rule by which one is a duplicate, and the table that a
//! learner of the first revision of the rules keeps. Under later ones the journal records which
//! events are new: it holds a duplicate as one.
//!
//! Invariant: an id is forgotten only after [`WINDOW_US`] of journal time, never for room.

use std::collections::{BTreeMap, VecDeque};

use crate::event::Time;
use crate::model::weights::{Error, Tensors};

/// The time for which an id is remembered, in microseconds: a day.
pub(crate) const WINDOW_US: i64 = 24 * 3600 * 1_000_000;

/// True if an id whose first event was accepted at this time is known no more.
pub(crate) fn is_forgotten(accepted: Time, now: Time) -> bool {
    now.0.saturating_sub(accepted.0) > WINDOW_US
}

/// The key of a feedback id: the first half of its BLAKE3.
pub(crate) fn feedback_key(feedback_id: &str) -> u128 {
    let hash = blake3::hash(feedback_id.as_bytes());
    let half = hash.as_bytes()[..16].try_into().expect("sixteen bytes");
    u128::from_le_bytes(half)
}

/// Feedback ids by their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedbackIds {
    positions: BTreeMap<u128, u64>,
    order: VecDeque<(Time, u128)>,
}

impl FeedbackIds {
    /// The position of the first event of this id.
    pub fn position(&self, feedback_id: &str) -> Option<u64> {
        self.positions.get(&feedback_key(feedback_id)).copied()
    }

    /// Remembers an id.
    pub fn insert(&mut self, feedback_id: &str, position: u64, time: Time) {
        let key = feedback_key(feedback_id);
        if self.positions.insert(key, position).is_none() {
            self.order.push_back((time, key));
        }
    }

    /// Forgets the ids that are older than the window.
    pub fn forget(&mut self, now: Time) {
        while let Some((time, key)) = self.order.front() {
            if !is_forgotten(*time, now) {
                break;
            }
            self.positions.remove(key);
            self.order.pop_front();
        }
    }

    /// Each key with the position and the time of its first event, in the order in which they came.
    pub fn each(&self) -> impl Iterator<Item = (u128, u64, Time)> {
        let order = self.order.iter();
        order.map(|(time, key)| (*key, self.positions[key], *time))
    }

    /// The number of ids that are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// True if no id is known.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        let mut columns = Vec::with_capacity(4 * self.len());
        for (time, key) in &self.order {
            let position = self.positions[key];
            columns.extend([(key >> 64) as u64, *key as u64, position, time.0 as u64]);
        }
        tensors.put_u64("seen", &[self.len(), 4], columns);
    }

    pub(crate) fn load(tensors: &mut Tensors) -> Result<FeedbackIds, Error> {
        let mut seen = FeedbackIds::default();
        for row in tensors.take_u64("seen", &[None, Some(4)])?.chunks_exact(4) {
            let key = u128::from(row[0]) << 64 | u128::from(row[1]);
            if seen.positions.insert(key, row[2]).is_some() {
                return Err(Error::value("seen", "an id stands there twice"));
            }
            seen.order.push_back((Time(row[3] as i64), key));
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_a_day() {
        let mut seen = FeedbackIds::default();
        seen.insert("a", 7, Time(0));
        seen.insert("b", 8, Time(5));
        seen.forget(Time(WINDOW_US));
        assert_eq!(seen.position("a"), Some(7));
        seen.forget(Time(WINDOW_US + 1));
        assert_eq!(seen.position("a"), None);
        assert_eq!(seen.position("b"), Some(8));
        let mut tensors = Tensors::default();
        seen.save(&mut tensors);
        assert_eq!(FeedbackIds::load(&mut tensors), Ok(seen));
    }
}
