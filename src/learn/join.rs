//! Predictions that wait for feedback, each with its state: the feedback it has had, and the part
//! of it that is learned.
//!
//! Invariant: bounded. A waiting prediction is a few numbers; its features stay in the journal.
//! Predictions make room in the order in which they came. Their windows close in the order of their
//! deadlines; under the first revision of the learning rules in that in which they came.

mod evicted;
mod saved;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::num::NonZeroU64;

use crate::event::{Prediction, PredictionId, Time};
use crate::model::Spec;
pub(crate) use evicted::{Arrivals, EvictedPredictions};
pub(crate) use saved::HeldExamples;

/// One row that was predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PendingPrediction {
    /// The position of the entry that holds it.
    pub position: u64,
    /// Its row in that entry.
    pub row: u32,
    /// The time until which a reward counts.
    pub deadline: Time,
    /// True once the truth (label or value) has come.
    pub has_truth: bool,
    /// The reward signals that have come, a bit for each.
    pub signals: u64,
    /// The reward credited to it. It is a fact of the world: it goes on through restores.
    pub credited: Option<f64>,
    /// True if its window closed in silence, which earned the default reward.
    pub closed: bool,
    /// The position of the newest truth; none before the first, and of one that came under the first
    /// revision.
    pub label: Option<NonZeroU64>,
    /// True if its label superseded another.
    pub is_relabelled: bool,
    /// True if the answer was judged by its label, not by its reward.
    pub is_judged_by_label: bool,
    /// True if its newest truth was beyond the budget of its source: any other takes its place.
    pub is_throttled: bool,
    /// The learned part of its reward: a restore brings back that of its version.
    pub held_reward: Option<LearnedExample>,
    /// The learned part of its truth: the index of a class or action, or a value.
    pub held_label: Option<LearnedExample>,
}

/// The learned example of a prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedExample {
    /// The target that the example had.
    pub value: f64,
    /// The number of the example: as many were learned by then, itself counted.
    pub number: NonZeroU64,
    /// Its weight: that of the event which taught it first.
    pub weight: f32,
}

impl LearnedExample {
    /// The example of this number, which is at least 1.
    pub fn new(value: f64, number: u64, weight: f32) -> LearnedExample {
        let number = NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN);
        LearnedExample {
            value,
            number,
            weight,
        }
    }
}

impl PendingPrediction {
    /// True if it has had no feedback, and its window is open.
    pub(crate) fn is_silent(&self) -> bool {
        !self.has_truth && self.credited.is_none()
    }

    /// Its place among open windows.
    fn window(&self) -> WindowEnd {
        (self.deadline, self.position, self.row)
    }
}

/// The outcome of the search for a prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PredictionSearch {
    /// The prediction waits.
    Waiting(PendingPrediction),
    /// The prediction waited, and made room.
    Expired,
    /// No prediction of this id is known.
    Unknown,
}

/// The time at which a window closes, and the entry and row of its prediction.
type WindowEnd = (Time, u64, u32);

/// Every prediction that waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PendingPredictions {
    waiting: BTreeMap<u128, PendingPrediction>,
    /// Their ids in the order in which they came.
    order: VecDeque<u128>,
    /// The windows of the silent ones, where silence earns something and they close in the order
    /// of their deadlines.
    open: Option<BTreeMap<WindowEnd, u128>>,
    /// Under the first revision: how many of the oldest need no look at their windows any more.
    n_closed: usize,
    /// The newest id that has gone, and the newest that has made room; not the same where an adopted
    /// description has let some go.
    expired: u128,
    made_room: u128,
    /// Windows that were of another length, in microseconds: each with the position that it was so
    /// before. Those of predictions that wait, from the second revision on.
    windows: Vec<(u64, i64)>,
}

impl PendingPredictions {
    /// The number of kept predictions.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if no prediction is kept.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Finds the prediction that a feedback event names.
    pub fn find(&self, id: PredictionId) -> PredictionSearch {
        match self.waiting.get(&id.0) {
            Some(waiting) => PredictionSearch::Waiting(*waiting),
            None if id.0 <= self.expired => PredictionSearch::Expired,
            None => PredictionSearch::Unknown,
        }
    }

    /// Keeps windows open by a description.
    pub(super) fn reconfigure(&mut self, spec: &Spec) {
        let by_deadline = spec.revision >= 2 && spec.rewards.default.is_some();
        self.open = by_deadline.then(|| {
            let silent = self.waiting.iter().filter(|(_, one)| one.is_silent());
            silent.map(|(id, one)| (one.window(), *id)).collect()
        });
    }

    /// Lets every row of a prediction wait.
    pub(super) fn wait(&mut self, prediction: &Prediction, position: u64, deadline: Time) {
        for (row, id) in prediction.ids.iter().enumerate() {
            let waiting = PendingPrediction {
                position,
                row: row as u32,
                deadline,
                has_truth: false,
                signals: 0,
                credited: None,
                closed: false,
                label: None,
                is_relabelled: false,
                is_judged_by_label: false,
                is_throttled: false,
                held_reward: None,
                held_label: None,
            };
            let before = self.waiting.insert(id.0, waiting);
            if let Some(open) = &mut self.open {
                before.iter().for_each(|one| {
                    open.remove(&one.window());
                });
                open.insert(waiting.window(), id.0);
            }
            if before.is_none() {
                self.order.push_back(id.0);
            }
        }
    }

    /// Lets the oldest beyond `waiting_max` go.
    pub(super) fn make_room(&mut self, waiting_max: usize) {
        while self.waiting.len() > waiting_max {
            self.remove_oldest();
        }
    }

    /// The silent ones among the `n_oldest` whose windows ended before `now`, where silence earns
    /// something.
    pub(super) fn due_among(&self, n_oldest: usize, now: Time) -> Vec<PredictionId> {
        let Some(open) = &self.open else {
            return Vec::new();
        };
        let due = |id: &&u128| {
            let window = self.waiting[*id].window();
            window.0 < now && open.contains_key(&window)
        };
        let oldest = self.order.iter().take(n_oldest).filter(due);
        oldest.map(|id| PredictionId(*id)).collect()
    }

    /// Windows of predictions before a position had this length.
    pub(super) fn note_window(&mut self, before: u64, window_us: i64) {
        self.windows.push((before, window_us));
    }

    /// The former length of the window of the prediction there, if it was another than now.
    pub(super) fn window_us(&self, position: u64) -> Option<i64> {
        let mut windows = self.windows.iter();
        windows.find(|one| position < one.0).map(|one| one.1)
    }

    /// Lets those go that have waited for as long as they may, given how long their windows were; one
    /// that is still to be closed stays, with all that came after it.
    pub(super) fn expire(&mut self, has_ended: impl Fn(&PendingPrediction, Option<i64>) -> bool) {
        while let Some(id) = self.order.front() {
            let waiting = &self.waiting[id];
            let open = self.open.as_ref();
            let is_open = open.is_some_and(|open| open.contains_key(&waiting.window()));
            if is_open || !has_ended(waiting, self.window_us(waiting.position)) {
                break;
            }
            self.remove_oldest();
        }
        let oldest = self.oldest_position().unwrap_or(u64::MAX);
        self.windows.retain(|(before, _)| oldest < *before);
    }

    /// Removes the oldest, which makes room.
    fn remove_oldest(&mut self) {
        let Some(id) = self.order.pop_front() else {
            return;
        };
        self.remove(id);
        self.made_room = self.made_room.max(id);
        self.n_closed = self.n_closed.saturating_sub(1);
    }

    fn remove(&mut self, id: u128) {
        if let (Some(waiting), Some(open)) = (self.waiting.remove(&id), &mut self.open) {
            open.remove(&waiting.window());
        }
        self.expired = self.expired.max(id);
    }

    /// Lets all go but those that `stay`; those that made room in the `earlier` history have here.
    pub(super) fn retain(
        &mut self,
        earlier: &PendingPredictions,
        stay: impl Fn(PredictionId) -> bool,
    ) {
        self.made_room = self.made_room.max(earlier.made_room);
        let (order, n_closed) = (mem::take(&mut self.order), mem::take(&mut self.n_closed));
        for (index, id) in order.into_iter().enumerate() {
            if stay(PredictionId(id)) {
                self.order.push_back(id);
                self.n_closed += usize::from(index < n_closed);
            } else {
                self.remove(id);
            }
        }
    }

    /// The position of the oldest waiting prediction: none stands before it.
    pub(crate) fn oldest_position(&self) -> Option<u64> {
        let oldest = self.order.front()?;
        Some(self.waiting[oldest].position)
    }

    /// Changes the record of a prediction, if it waits.
    pub(super) fn update(&mut self, id: PredictionId, change: impl FnOnce(&mut PendingPrediction)) {
        let Some(waiting) = self.waiting.get_mut(&id.0) else {
            return;
        };
        change(waiting);
        if let Some(open) = &mut self.open
            && !waiting.is_silent()
        {
            open.remove(&waiting.window());
        }
    }

    /// The oldest that waits.
    pub(super) fn oldest(&self) -> Option<&PendingPrediction> {
        self.waiting.get(self.order.front()?)
    }

    /// Gives the signals of all other bits.
    pub(super) fn carry_signals(&mut self, carry: impl Fn(u64) -> u64) {
        let all = self.waiting.values_mut();
        all.for_each(|waiting| waiting.signals = carry(waiting.signals));
    }

    /// Takes the reward of each for learned, as one of `n_examples`: the first revision does not
    /// distinguish the two.
    pub(super) fn hold_credited(&mut self, n_examples: u64) {
        for waiting in self.waiting.values_mut() {
            let held = waiting
                .credited
                .map(|value| LearnedExample::new(value, n_examples, 1.0));
            waiting.held_reward = held;
        }
    }

    /// The examples after `n_examples` were rejected: nothing of them is learned.
    pub(super) fn reject(&mut self, n_examples: u64) {
        let rejected = |held: &mut LearnedExample| held.number.get() > n_examples;
        for waiting in self.waiting.values_mut() {
            waiting.held_reward.take_if(rejected);
            waiting.held_label.take_if(rejected);
        }
    }

    /// The time at which the next window closes; none where no silent prediction waits.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if let Some(open) = &self.open {
            return open.keys().next().map(|window| window.0);
        }
        let mut open = self.order.iter().skip(self.n_closed);
        open.find_map(|id| self.silent(*id))
    }

    /// The predictions that have made room by now, where `waiting_max` may wait.
    pub(crate) fn evicted(&self, waiting_max: usize) -> EvictedPredictions {
        let older = self.waiting.range(..=self.made_room).map(|(id, _)| *id);
        EvictedPredictions::new(
            self.made_room,
            waiting_max,
            older,
            self.order.iter().copied(),
        )
    }

    /// The number of kept predictions without any feedback; looks at each of them.
    pub(crate) fn n_silent(&self) -> usize {
        self.waiting.values().filter(|one| one.is_silent()).count()
    }

    /// The deadline of a prediction that has had no feedback.
    fn silent(&self, id: u128) -> Option<Time> {
        let waiting = self.waiting.get(&id)?;
        waiting.is_silent().then_some(waiting.deadline)
    }

    /// The silent prediction whose window is the next to close, if it ended before `now`.
    pub(super) fn next_due(&mut self, now: Time) -> Option<(PredictionId, PendingPrediction)> {
        if let Some(open) = &self.open {
            let (window, id) = open.first_key_value()?;
            return (window.0 < now).then(|| (PredictionId(*id), self.waiting[id]));
        }
        // Predictions that need no look any more are passed over for good: the next look is short.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Batch, Outputs};
    use crate::model::weights::Tensors;

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
        let mut joins = PendingPredictions::default();
        joins.wait(&prediction(&[10, 11]), 1, Time(5));
        joins.make_room(3);
        joins.wait(&prediction(&[12, 13]), 2, Time(6));
        joins.make_room(3);
        assert_eq!(joins.find(PredictionId(10)), PredictionSearch::Expired);
        assert_eq!(joins.find(PredictionId(99)), PredictionSearch::Unknown);
        let PredictionSearch::Waiting(found) = joins.find(PredictionId(13)) else {
            panic!("it waits")
        };
        assert_eq!((found.position, found.row, found.deadline), (2, 1, Time(6)));
        let mut tensors = Tensors::default();
        joins.save(&mut tensors);
        assert_eq!(PendingPredictions::load(&mut tensors), Ok(joins));
    }

    #[test]
    fn those_whose_windows_ended_long_ago_go() {
        let mut joins = PendingPredictions::default();
        joins.wait(&prediction(&[10, 11]), 1, Time(5));
        joins.wait(&prediction(&[12]), 2, Time(6));
        assert_eq!(joins.oldest_position(), Some(1));
        joins.expire(|one, _| one.deadline < Time(5));
        assert_eq!(joins.len(), 3);
        joins.expire(|one, _| one.deadline < Time(6));
        assert_eq!(joins.find(PredictionId(11)), PredictionSearch::Expired);
        assert_eq!((joins.len(), joins.oldest_position()), (1, Some(2)));
        joins.expire(|one, _| one.deadline < Time(7));
        assert_eq!(joins.oldest_position(), None);
    }

    #[test]
    fn some_go_and_the_others_keep_their_order() {
        let mut joins = PendingPredictions::default();
        joins.wait(&prediction(&[10, 11, 12]), 1, Time(5));
        joins.update(PredictionId(10), |one| one.has_truth = true);
        joins.update(PredictionId(11), |one| one.has_truth = true);
        assert_eq!(joins.next_due(Time(6)).map(|(id, _)| id.0), Some(12));
        joins.retain(&PendingPredictions::default(), |id| id.0 != 11);
        assert_eq!(joins.find(PredictionId(11)), PredictionSearch::Expired);
        assert!(matches!(
            joins.find(PredictionId(10)),
            PredictionSearch::Waiting(_)
        ));
        assert_eq!((joins.len(), joins.oldest_position()), (2, Some(1)));
        // It was removed without another in its place; that is known later as well.
        let (evicted, arrivals) = (joins.evicted(3), Arrivals::default());
        assert!(!evicted.contains(PredictionId(11), &arrivals, 3));
        let mut tensors = Tensors::default();
        joins.save(&mut tensors);
        assert_eq!(PendingPredictions::load(&mut tensors), Ok(joins.clone()));
        assert_eq!(joins.next_due(Time(6)).map(|(id, _)| id.0), Some(12));
        joins.retain(&PendingPredictions::default(), |_| false);
        assert_eq!((joins.len(), joins.next_deadline()), (0, None));
    }

    #[test]
    fn a_clock_that_steps_back_does_not_make_newcomers_expire() {
        let mut joins = PendingPredictions::default();
        joins.wait(&prediction(&[100, 101]), 1, Time(5));
        joins.make_room(2);
        joins.wait(&prediction(&[7]), 2, Time(6));
        joins.make_room(2);
        assert!(matches!(
            joins.find(PredictionId(7)),
            PredictionSearch::Waiting(_)
        ));
        assert_eq!(joins.find(PredictionId(100)), PredictionSearch::Expired);
    }

    #[test]
    fn windows_close_in_order_and_only_in_silence() {
        let mut joins = PendingPredictions::default();
        joins.wait(&prediction(&[1, 2, 3]), 1, Time(5));
        joins.wait(&prediction(&[4]), 2, Time(8));
        assert_eq!(joins.next_deadline(), Some(Time(5)));
        assert_eq!(joins.n_silent(), 4);
        joins.update(PredictionId(1), |one| one.credited = Some(1.0));
        joins.update(PredictionId(2), |one| one.has_truth = true);
        let due =
            |joins: &mut PendingPredictions, now| joins.next_due(Time(now)).map(|(id, _)| id.0);
        assert_eq!(due(&mut joins, 5), None);
        assert_eq!(due(&mut joins, 6), Some(3));
        joins.update(PredictionId(3), |one| one.credited = Some(0.0));
        assert_eq!(due(&mut joins, 8), None);
        assert_eq!(joins.next_deadline(), Some(Time(8)));
        assert_eq!(due(&mut joins, 9), Some(4));
        assert_eq!((joins.len(), joins.n_silent()), (4, 1));
        let mut tensors = Tensors::default();
        joins.save(&mut tensors);
        assert_eq!(PendingPredictions::load(&mut tensors), Ok(joins));
    }
}
