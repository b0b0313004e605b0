//! Evicted predictions: those that made room, for readers that cannot look at the waiting ones.
//!
//! Invariant: an evicted prediction never waits again. Bounded: where the list would be long, fewer
//! are listed.

use std::collections::VecDeque;

use crate::event::PredictionId;

/// Ids that are listed at most of those that still wait, which one request can bring at once, and of
/// those that go next, which every publication copies.
const LISTED_MAX: usize = 16 * 1024;
const NEXT_MAX: usize = 4 * 1024;
/// Predictions that may come before the next look.
const ARRIVALS_MAX: usize = 64 * 1024;

/// The evicted predictions at one moment, and the next ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvictedPredictions {
    /// No id up to this one waits, but for those of `waiting`, which rise.
    newest: u128,
    waiting: Vec<u128>,
    /// The number of waiting predictions, and the first of them that will make room, in their order.
    n_waiting: usize,
    next: Vec<u128>,
}

/// Predictions that were journaled since, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrivals {
    /// Each with the position of its entry.
    ids: VecDeque<(u64, u128)>,
    /// The position up to which some came that are not listed.
    unlisted: u64,
}

impl EvictedPredictions {
    /// The predictions that have made room by now, of which the newest has this id, where
    /// `waiting_max` may wait: `waiting` are the ids that wait in the order in which they came, and
    /// `older` those of them up to the newest that has made room, rising.
    pub(super) fn new(
        newest: u128,
        waiting_max: usize,
        older: impl Iterator<Item = u128>,
        waiting: impl ExactSizeIterator<Item = u128>,
    ) -> EvictedPredictions {
        let n_waiting = waiting.len();
        let mut older: Vec<u128> = older.take(LISTED_MAX + 1).collect();
        let newest = if older.len() > LISTED_MAX {
            older.pop().map_or(0, |id| id - 1)
        } else {
            newest
        };
        let near = n_waiting + ARRIVALS_MAX >= waiting_max;
        let n_next = if near { NEXT_MAX } else { 0 };
        EvictedPredictions {
            newest,
            waiting: older,
            n_waiting,
            next: waiting.take(n_next).collect(),
        }
    }

    /// The number of waiting predictions.
    pub fn n_waiting(&self) -> usize {
        self.n_waiting
    }

    /// True if a prediction waits no more, or will not once the `arrivals` are applied.
    pub fn contains(&self, id: PredictionId, arrivals: &Arrivals, waiting_max: usize) -> bool {
        let id = id.0;
        let is_older = id <= self.newest && arrivals.unlisted == 0;
        // Within a millisecond ids do not rise.
        if is_older && self.waiting.binary_search(&id).is_err() && arrivals.place(id).is_none() {
            return true;
        }
        // Nothing makes room before another one comes, also where fewer may wait than before.
        let n_leaving = match arrivals.ids.len() {
            0 => 0,
            n_arrivals => (self.n_waiting + n_arrivals).saturating_sub(waiting_max),
        };
        let mut leaving = self.next.iter().take(n_leaving);
        let n_arrivals = n_leaving.saturating_sub(self.n_waiting);
        leaving.any(|next| *next == id)
            || n_arrivals > 0 && arrivals.place(id).is_some_and(|place| place < n_arrivals)
    }
}

impl Arrivals {
    /// Adds predictions that stand at a position. Beyond the bound the first are dropped, and fewer are
    /// then reported as evicted.
    pub fn add(&mut self, ids: &[PredictionId], position: u64) {
        self.ids.extend(ids.iter().map(|id| (position, id.0)));
        let n_over = self.ids.len().saturating_sub(ARRIVALS_MAX);
        if let Some((position, _)) = self.ids.drain(..n_over).next_back() {
            self.unlisted = position;
        }
    }

    /// Drops the predictions up to a position, which have arrived.
    pub fn pass(&mut self, position: u64) {
        while self.ids.front().is_some_and(|(at, _)| *at <= position) {
            self.ids.pop_front();
        }
        if self.unlisted <= position {
            self.unlisted = 0;
        }
    }

    fn place(&self, id: u128) -> Option<usize> {
        self.ids.iter().position(|(_, arrivals)| *arrivals == id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PendingPredictions;
    use super::*;
    use crate::event::{Batch, Outputs, Prediction, Time};

    fn wait(joins: &mut PendingPredictions, ids: &[u128], position: u64) {
        let prediction = Prediction {
            ids: ids.iter().map(|id| PredictionId(*id)).collect(),
            batch: Batch::default(),
            outputs: Outputs::Values(vec![0.0; ids.len()]),
            labels: Default::default(),
            version: 1,
            position: 1,
        };
        joins.wait(&prediction, position, Time(5));
    }

    #[test]
    fn p12_what_has_gone_and_what_goes_next_is_known() {
        let mut joins = PendingPredictions::default();
        // Within a millisecond ids do not rise.
        wait(&mut joins, &[14, 11, 19, 12], 1);
        joins.make_room(3);
        let evicted = joins.evicted(3);
        let mut arrivals = Arrivals::default();
        let check = |evicted: &EvictedPredictions, arrivals: &Arrivals, expected: &[u128]| {
            let contains = |id: &u128| evicted.contains(PredictionId(*id), arrivals, 3);
            let ids: Vec<u128> = (11..30).filter(contains).collect();
            assert_eq!(ids, expected);
        };
        // Nor is one known that never was.
        check(&evicted, &arrivals, &[13, 14]);
        // Fewer may wait from now on.
        assert!(!evicted.contains(PredictionId(11), &arrivals, 1));
        assert_eq!(evicted.n_waiting(), 3);
        arrivals.add(&[PredictionId(25), PredictionId(21)], 2);
        check(&evicted, &arrivals, &[11, 13, 14, 19]);
        arrivals.add(&[22, 23].map(PredictionId), 3);
        check(&evicted, &arrivals, &[11, 12, 13, 14, 19, 25]);
        // One of the same millisecond is on its way.
        let mut other = Arrivals::default();
        other.add(&[PredictionId(13)], 2);
        check(&evicted, &other, &[11, 14]);
        // A prediction that is named as evicted is evicted.
        wait(&mut joins, &[25, 21], 2);
        joins.make_room(3);
        arrivals.pass(2);
        check(
            &joins.evicted(3),
            &arrivals,
            &(11..20).chain([25]).collect::<Vec<_>>(),
        );
        wait(&mut joins, &[22, 23], 3);
        joins.make_room(3);
        arrivals.pass(3);
        let evicted = joins.evicted(3);
        let stay = |id: u128| !evicted.contains(PredictionId(id), &arrivals, 3);
        assert_eq!([21, 22, 23].map(stay), [true; 3]);
        assert_eq!([12, 19, 25].map(stay), [false; 3]);
    }

    #[test]
    fn p8_where_many_come_less_is_known_and_nothing_wrong() {
        let mut arrivals = Arrivals::default();
        let many: Vec<PredictionId> = (0..ARRIVALS_MAX as u128 + 2).map(PredictionId).collect();
        arrivals.add(&many, 7);
        assert_eq!((arrivals.ids.len(), arrivals.unlisted), (ARRIVALS_MAX, 7));
        let contains =
            |id: u128| EvictedPredictions::default().contains(PredictionId(id), &arrivals, 10);
        let last = ARRIVALS_MAX as u128 + 1;
        assert_eq!([2, last - 10].map(contains), [true; 2]);
        assert_eq!([last - 9, last].map(contains), [false; 2]);
        let mut joins = PendingPredictions::default();
        let ids: Vec<u128> = (1..=2 * LISTED_MAX as u128).collect();
        wait(&mut joins, &[u128::MAX >> 1], 1);
        joins.make_room(0);
        wait(&mut joins, &ids, 2);
        let evicted = joins.evicted(usize::MAX);
        assert_eq!((evicted.waiting.len(), evicted.next.len()), (LISTED_MAX, 0));
        assert!(!ids.iter().any(|id| evicted.contains(
            PredictionId(*id),
            &Arrivals::default(),
            1 << 20
        )));
    }
}
