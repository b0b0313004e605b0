//! Predictions that wait for feedback: where each stands, and which signals it has had.
//!
//! Invariant: bounded. A waiting prediction is a few numbers; its features stay in the journal.
//! Ids are UUIDv7, so the smallest is the oldest, and the oldest makes room.

use std::collections::BTreeMap;

use crate::event::{Prediction, PredictionId, Time};
use crate::model::weights::{Error, Tensors};

/// One row that was predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The position of the entry that holds it.
    pub position: u64,
    /// Its row in that entry.
    pub row: u32,
    /// Until when a reward counts.
    pub deadline: Time,
    /// Whether the truth (label or value) has come.
    pub told: bool,
    /// Whether a reward has come.
    pub rewarded: bool,
}

/// Where the search for a prediction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It waits.
    Waiting(Waiting),
    /// It waited, and made room.
    Expired,
    /// It is not known here.
    Unknown,
}

/// Every prediction that waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joins {
    waiting: BTreeMap<u128, Waiting>,
    /// The newest id that has made room.
    expired: u128,
}

impl Joins {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Finds the prediction that a feedback event names.
    pub fn find(&self, id: PredictionId) -> Found {
        match self.waiting.get(&id.0) {
            Some(waiting) => Found::Waiting(*waiting),
            None if id.0 <= self.expired => Found::Expired,
            None => Found::Unknown,
        }
    }

    /// Lets every row of a prediction wait, and the oldest beyond `waiting_max` go.
    pub(super) fn wait(
        &mut self,
        prediction: &Prediction,
        position: u64,
        deadline: Time,
        waiting_max: usize,
    ) {
        for (row, id) in prediction.ids.iter().enumerate() {
            let waiting = Waiting {
                position,
                row: row as u32,
                deadline,
                told: false,
                rewarded: false,
            };
            self.waiting.insert(id.0, waiting);
        }
        while self.waiting.len() > waiting_max {
            if let Some((id, _)) = self.waiting.pop_first() {
                self.expired = self.expired.max(id);
            }
        }
    }

    pub(super) fn get_mut(&mut self, id: PredictionId) -> Option<&mut Waiting> {
        self.waiting.get_mut(&id.0)
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        let mut columns = Vec::with_capacity(6 * self.len());
        for (id, waiting) in &self.waiting {
            let flags = u64::from(waiting.told) | u64::from(waiting.rewarded) << 1;
            columns.extend([(id >> 64) as u64, *id as u64, waiting.position]);
            columns.extend([u64::from(waiting.row), waiting.deadline.0 as u64, flags]);
        }
        tensors.put_u64("waiting", &[self.len(), 6], columns);
        let expired = vec![(self.expired >> 64) as u64, self.expired as u64];
        tensors.put_u64("expired", &[2], expired);
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Joins, Error> {
        let id = |halves: &[u64]| u128::from(halves[0]) << 64 | u128::from(halves[1]);
        let columns = tensors.take_u64("waiting", &[None, Some(6)])?;
        let waiting = columns.chunks_exact(6).map(|row| {
            let waiting = Waiting {
                position: row[2],
                row: row[3] as u32,
                deadline: Time(row[4] as i64),
                told: row[5] & 1 == 1,
                rewarded: row[5] >> 1 & 1 == 1,
            };
            (id(row), waiting)
        });
        Ok(Joins {
            waiting: waiting.collect(),
            expired: id(&tensors.take_u64("expired", &[Some(2)])?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Batch, Outputs};

    fn prediction(ids: &[u128]) -> Prediction {
        Prediction {
            ids: ids.iter().map(|id| PredictionId(*id)).collect(),
            batch: Batch::default(),
            outputs: Outputs::Values(vec![0.0; ids.len()]),
            version: 1,
            position: 1,
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut joins = Joins::default();
        joins.wait(&prediction(&[10, 11]), 1, Time(5), 3);
        joins.wait(&prediction(&[12, 13]), 2, Time(6), 3);
        assert_eq!(joins.find(PredictionId(10)), Found::Expired);
        assert_eq!(joins.find(PredictionId(99)), Found::Unknown);
        let Found::Waiting(found) = joins.find(PredictionId(13)) else {
            panic!("it waits")
        };
        assert_eq!((found.position, found.row, found.deadline), (2, 1, Time(6)));
        let mut tensors = Tensors::default();
        joins.save(&mut tensors);
        assert_eq!(Joins::load(&mut tensors), Ok(joins));
    }
}
