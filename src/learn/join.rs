//! Predictions that wait for feedback: where each stands, and which signals it has had.
//!
//! Invariant: bounded. A waiting prediction is a few numbers; its features stay in the journal.
//! Predictions make room, and their windows close, in the order in which they came.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use crate::event::{Prediction, PredictionId, Time};
use crate::model::weights::{Error, Tensors};

/// One row that was predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// The position of the entry that holds it.
    pub position: u64,
    /// Its row in that entry.
    pub row: u32,
    /// Until when a reward counts.
    pub deadline: Time,
    /// Whether the truth (label or value) has come.
    pub told: bool,
    /// The reward signals that have come, a bit for each.
    pub signals: u64,
    /// What it has earned as far as that was learned.
    pub earned: Option<f64>,
    /// Whether its window closed in silence, which earned the default reward.
    pub closed: bool,
}

impl Waiting {
    /// Whether nothing has been heard of it, nor its window closed.
    fn is_silent(&self) -> bool {
        !self.told && self.earned.is_none()
    }
}

/// Where the search for a prediction ended.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Their ids in the order in which they came.
    order: VecDeque<u128>,
    /// How many of the oldest need no look at their windows any more.
    n_closed: usize,
    /// The newest id that has made room.
    expired: u128,
}

impl Joins {
    /// How many are kept.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is.
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
                signals: 0,
                earned: None,
                closed: false,
            };
            if self.waiting.insert(id.0, waiting).is_none() {
                self.order.push_back(id.0);
            }
        }
        while self.waiting.len() > waiting_max {
            self.let_go();
        }
    }

    /// Lets those go whose windows ended before `before`.
    pub(super) fn expire(&mut self, before: Time) {
        while let Some(id) = self.order.front() {
            if self.waiting[id].deadline >= before {
                break;
            }
            self.let_go();
        }
    }

    /// The oldest goes.
    fn let_go(&mut self) {
        let Some(id) = self.order.pop_front() else {
            return;
        };
        self.waiting.remove(&id);
        self.expired = self.expired.max(id);
        self.n_closed = self.n_closed.saturating_sub(1);
    }

    /// Lets all go but those that `stay`.
    pub(super) fn retain(&mut self, stay: impl Fn(PredictionId) -> bool) {
        let (order, n_closed) = (mem::take(&mut self.order), mem::take(&mut self.n_closed));
        for (index, id) in order.into_iter().enumerate() {
            if stay(PredictionId(id)) {
                self.order.push_back(id);
                self.n_closed += usize::from(index < n_closed);
            } else {
                self.waiting.remove(&id);
                self.expired = self.expired.max(id);
            }
        }
    }

    /// Where the oldest that waits stands: none stands before it.
    pub fn oldest_position(&self) -> Option<u64> {
        let oldest = self.order.front()?;
        Some(self.waiting[oldest].position)
    }

    pub(super) fn get_mut(&mut self, id: PredictionId) -> Option<&mut Waiting> {
        self.waiting.get_mut(&id.0)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.waiting.values_mut()
    }

    /// When the next window closes; none where no silent prediction waits.
    pub fn next_deadline(&self) -> Option<Time> {
        let mut open = self.order.iter().skip(self.n_closed);
        open.find_map(|id| self.silent(*id))
    }

    /// How many are kept of which nothing has been heard; looks at each of them.
    pub fn n_silent(&self) -> usize {
        self.waiting.values().filter(|one| one.is_silent()).count()
    }

    /// The deadline of a prediction of which nothing has been heard.
    fn silent(&self, id: u128) -> Option<Time> {
        let waiting = self.waiting.get(&id)?;
        waiting.is_silent().then_some(waiting.deadline)
    }

    /// The oldest silent prediction, if its window ended before `now`.
    pub(super) fn next_due(&mut self, now: Time) -> Option<(PredictionId, Waiting)> {
        // What needs no look any more is passed over for good, so that the next look is short.
        while let Some(id) = self.order.get(self.n_closed) {
            match self.silent(*id) {
                Some(deadline) if deadline < now => {
                    return Some((PredictionId(*id), self.waiting[id]));
                }
                Some(_) => return None,
                None => self.n_closed += 1,
            }
        }
        None
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        let (mut columns, mut rewards) = (Vec::with_capacity(7 * self.len()), Vec::new());
        for (id, waiting) in self
            .order
            .iter()
            .filter_map(|id| self.waiting.get_key_value(id))
        {
            let flags = [waiting.told, waiting.closed, waiting.earned.is_some()];
            let flags = flags
                .iter()
                .rev()
                .fold(0, |bits, flag| bits << 1 | u64::from(*flag));
            columns.extend([(id >> 64) as u64, *id as u64, waiting.position]);
            columns.extend([u64::from(waiting.row), waiting.deadline.0 as u64]);
            columns.extend([flags, waiting.signals]);
            rewards.push(waiting.earned.unwrap_or(0.0));
        }
        tensors.put_u64("waiting", &[self.len(), 7], columns);
        tensors.put_f64("waiting.earned", &[self.len()], rewards);
        let expired = [(self.expired >> 64) as u64, self.expired as u64];
        let numbers = vec![expired[0], expired[1], self.n_closed as u64];
        tensors.put_u64("expired", &[3], numbers);
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Joins, Error> {
        let id = |halves: &[u64]| u128::from(halves[0]) << 64 | u128::from(halves[1]);
        let columns = tensors.take_u64("waiting", &[None, Some(7)])?;
        let rewards = tensors.take_f64("waiting.earned", &[Some(columns.len() / 7)])?;
        let numbers = tensors.take_u64("expired", &[Some(3)])?;
        let mut joins = Joins {
            expired: id(&numbers),
            ..Joins::default()
        };
        for (row, earned) in columns.chunks_exact(7).zip(rewards) {
            let waiting = Waiting {
                position: row[2],
                row: row[3] as u32,
                deadline: Time(row[4] as i64),
                told: row[5] & 1 == 1,
                closed: row[5] >> 1 & 1 == 1,
                earned: (row[5] >> 2 & 1 == 1).then_some(earned),
                signals: row[6],
            };
            if joins.waiting.insert(id(row), waiting).is_some() {
                return Err(Error::value("waiting", "an id stands there twice"));
            }
            joins.order.push_back(id(row));
        }
        joins.n_closed = (numbers[2] as usize).min(joins.order.len());
        Ok(joins)
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
            labels: Default::default(),
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

    #[test]
    fn those_whose_windows_ended_long_ago_go() {
        let mut joins = Joins::default();
        joins.wait(&prediction(&[10, 11]), 1, Time(5), 9);
        joins.wait(&prediction(&[12]), 2, Time(6), 9);
        assert_eq!(joins.oldest_position(), Some(1));
        joins.expire(Time(5));
        assert_eq!(joins.len(), 3);
        joins.expire(Time(6));
        assert_eq!(joins.find(PredictionId(11)), Found::Expired);
        assert_eq!((joins.len(), joins.oldest_position()), (1, Some(2)));
        joins.expire(Time(7));
        assert_eq!(joins.oldest_position(), None);
    }

    #[test]
    fn some_go_and_the_others_keep_their_order() {
        let mut joins = Joins::default();
        joins.wait(&prediction(&[10, 11, 12]), 1, Time(5), 9);
        joins.get_mut(PredictionId(10)).unwrap().told = true;
        joins.get_mut(PredictionId(11)).unwrap().told = true;
        assert_eq!(joins.next_due(Time(6)).map(|(id, _)| id.0), Some(12));
        joins.retain(|id| id.0 != 11);
        assert_eq!(joins.find(PredictionId(11)), Found::Expired);
        assert!(matches!(joins.find(PredictionId(10)), Found::Waiting(_)));
        assert_eq!((joins.len(), joins.oldest_position()), (2, Some(1)));
        assert_eq!(joins.next_due(Time(6)).map(|(id, _)| id.0), Some(12));
        joins.retain(|_| false);
        assert_eq!((joins.len(), joins.next_deadline()), (0, None));
    }

    #[test]
    fn a_clock_that_steps_back_does_not_make_newcomers_expire() {
        let mut joins = Joins::default();
        joins.wait(&prediction(&[100, 101]), 1, Time(5), 2);
        joins.wait(&prediction(&[7]), 2, Time(6), 2);
        assert!(matches!(joins.find(PredictionId(7)), Found::Waiting(_)));
        assert_eq!(joins.find(PredictionId(100)), Found::Expired);
    }

    #[test]
    fn windows_close_in_order_and_only_in_silence() {
        let mut joins = Joins::default();
        joins.wait(&prediction(&[1, 2, 3]), 1, Time(5), 9);
        joins.wait(&prediction(&[4]), 2, Time(8), 9);
        assert_eq!(joins.next_deadline(), Some(Time(5)));
        assert_eq!(joins.n_silent(), 4);
        joins.get_mut(PredictionId(1)).unwrap().earned = Some(1.0);
        joins.get_mut(PredictionId(2)).unwrap().told = true;
        let due = |joins: &mut Joins, now| joins.next_due(Time(now)).map(|(id, _)| id.0);
        assert_eq!(due(&mut joins, 5), None);
        assert_eq!(due(&mut joins, 6), Some(3));
        joins.get_mut(PredictionId(3)).unwrap().earned = Some(0.0);
        assert_eq!(due(&mut joins, 8), None);
        assert_eq!(joins.next_deadline(), Some(Time(8)));
        assert_eq!(due(&mut joins, 9), Some(4));
        assert_eq!((joins.len(), joins.n_silent()), (4, 1));
        let mut tensors = Tensors::default();
        joins.save(&mut tensors);
        assert_eq!(Joins::load(&mut tensors), Ok(joins));
    }
}
