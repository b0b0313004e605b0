//! Waiting predictions as tensors, and back.
//!
//! Invariant: what only the second revision of the learning rules knows is written where there is
//! some, so that a state of the first is written as it always was.

use std::num::NonZeroU64;

use super::{Held, Joins, Waiting};
use crate::event::{PredictionId, Time};
use crate::model::weights::{Error, Tensors};

/// What a row of `waiting.held` speaks of.
const REWARD: u64 = 0;
const LABEL: u64 = 1;

/// What was learned of the predictions that waited in a version.
pub struct HeldThen(Vec<(PredictionId, Option<Held>, Option<Held>)>);

impl Joins {
    pub(in super::super) fn save(&self, tensors: &mut Tensors) {
        let (mut columns, mut rewards) = (Vec::with_capacity(7 * self.len()), Vec::new());
        let (mut labels, mut held, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let all = self.order.iter();
        let all = all.filter_map(|id| self.waiting.get_key_value(id));
        for (index, (id, waiting)) in all.enumerate() {
            columns.extend([(id >> 64) as u64, *id as u64, waiting.position]);
            columns.extend([u64::from(waiting.row), waiting.deadline.0 as u64]);
            columns.extend([flags(waiting), waiting.signals]);
            rewards.push(waiting.credited.unwrap_or(0.0));
            let index = index as u64;
            labels.extend(waiting.label.iter().flat_map(|at| [index, at.get()]));
            for (kind, one) in [(REWARD, waiting.held_reward), (LABEL, waiting.held_label)] {
                held.extend(one.iter().flat_map(|one| [index, kind, one.number.get()]));
                values.extend(one.map(|one| one.value));
            }
        }
        tensors.put_u64("waiting", &[self.len(), 7], columns);
        tensors.put_f64("waiting.earned", &[self.len()], rewards);
        if !labels.is_empty() {
            tensors.put_u64("waiting.labels", &[labels.len() / 2, 2], labels);
        }
        if !held.is_empty() {
            tensors.put_u64("waiting.held", &[values.len(), 3], held);
            tensors.put_f64("waiting.held.values", &[values.len()], values);
        }
        let expired = [(self.expired >> 64) as u64, self.expired as u64];
        let numbers = vec![expired[0], expired[1], self.n_closed as u64];
        tensors.put_u64("expired", &[3], numbers);
        if !self.windows.is_empty() {
            let windows = self.windows.iter();
            let windows = windows.flat_map(|(before, us)| [*before, *us as u64]);
            tensors.put_u64("windows", &[self.windows.len(), 2], windows.collect());
        }
        if self.made_room != self.expired {
            let halves = vec![(self.made_room >> 64) as u64, self.made_room as u64];
            tensors.put_u64("made_room", &[2], halves);
        }
    }

    /// As they were saved; windows are kept open once they are reconfigured.
    pub(in super::super) fn load(tensors: &mut Tensors) -> Result<Joins, Error> {
        let all = take_waiting(tensors)?;
        let numbers = tensors.take_u64("expired", &[Some(3)])?;
        let expired = id(&numbers);
        let made_room = match tensors.0.contains_key("made_room") {
            true => id(&tensors.take_u64("made_room", &[Some(2)])?),
            false => expired,
        };
        let windows = match tensors.0.contains_key("windows") {
            true => tensors.take_u64("windows", &[None, Some(2)])?,
            false => Vec::new(),
        };
        let windows = windows.chunks_exact(2).map(|one| (one[0], one[1] as i64));
        let mut joins = Joins {
            expired,
            made_room,
            windows: windows.collect(),
            ..Joins::default()
        };
        for (id, waiting) in all {
            if joins.waiting.insert(id, waiting).is_some() {
                return Err(Error::value("waiting", "an id stands there twice"));
            }
            joins.order.push_back(id);
        }
        joins.n_closed = (numbers[2] as usize).min(joins.order.len());
        Ok(joins)
    }

    /// Holds of each what was learned of it then, and nothing of those that did not wait yet.
    pub(in super::super) fn hold(&mut self, then: HeldThen) {
        for waiting in self.waiting.values_mut() {
            (waiting.held_reward, waiting.held_label) = (None, None);
        }
        for (id, reward, label) in then.0 {
            if let Some(waiting) = self.waiting.get_mut(&id.0) {
                (waiting.held_reward, waiting.held_label) = (reward, label);
            }
        }
    }
}

impl HeldThen {
    /// Of the saved world of a version. Under the first revision all that was earned by then is
    /// taken for learned, as one of `n_examples`.
    pub fn load(tensors: &mut Tensors, revision: u32, n_examples: u64) -> Result<HeldThen, Error> {
        let all = take_waiting(tensors)?.into_iter();
        let held = |(id, waiting): (u128, Waiting)| {
            let credited = waiting.credited.filter(|_| revision < 2);
            let credited = credited.map(|value| Held::of(value, n_examples));
            let reward = waiting.held_reward.or(credited);
            (PredictionId(id), reward, waiting.held_label)
        };
        let some = |(_, reward, label): &(_, Option<Held>, Option<Held>)| {
            reward.is_some() || label.is_some()
        };
        Ok(HeldThen(all.map(held).filter(some).collect()))
    }
}

fn id(halves: &[u64]) -> u128 {
    u128::from(halves[0]) << 64 | u128::from(halves[1])
}

fn flags(waiting: &Waiting) -> u64 {
    let flags = [
        waiting.told,
        waiting.closed,
        waiting.credited.is_some(),
        waiting.is_relabelled,
        waiting.is_judged_by_label,
    ];
    let flags = flags.iter().rev();
    flags.fold(0, |bits, flag| bits << 1 | u64::from(*flag))
}

/// In the order in which they came.
fn take_waiting(tensors: &mut Tensors) -> Result<Vec<(u128, Waiting)>, Error> {
    let columns = tensors.take_u64("waiting", &[None, Some(7)])?;
    let credited = tensors.take_f64("waiting.earned", &[Some(columns.len() / 7)])?;
    let rows = columns.chunks_exact(7).zip(credited);
    let mut all: Vec<(u128, Waiting)> = rows
        .map(|(row, credited)| {
            let flag = |place: u32| row[5] >> place & 1 == 1;
            let waiting = Waiting {
                position: row[2],
                row: row[3] as u32,
                deadline: Time(row[4] as i64),
                told: flag(0),
                closed: flag(1),
                credited: flag(2).then_some(credited),
                signals: row[6],
                label: None,
                is_relabelled: flag(3),
                is_judged_by_label: flag(4),
                held_reward: None,
                held_label: None,
            };
            (id(row), waiting)
        })
        .collect();
    let wrong = |index: u64| Error::value("waiting", format!("there is no row {index}"));
    if tensors.0.contains_key("waiting.labels") {
        let labels = tensors.take_u64("waiting.labels", &[None, Some(2)])?;
        for row in labels.chunks_exact(2) {
            let one = all.get_mut(row[0] as usize).ok_or_else(|| wrong(row[0]))?;
            one.1.label = NonZeroU64::new(row[1]);
        }
    }
    if tensors.0.contains_key("waiting.held") {
        let held = tensors.take_u64("waiting.held", &[None, Some(3)])?;
        let values = tensors.take_f64("waiting.held.values", &[Some(held.len() / 3)])?;
        for (row, value) in held.chunks_exact(3).zip(values) {
            let (_, one) = all.get_mut(row[0] as usize).ok_or_else(|| wrong(row[0]))?;
            let number = NonZeroU64::new(row[2]);
            let held = number.map(|number| Held { value, number });
            match row[1] {
                REWARD => one.held_reward = held,
                LABEL => one.held_label = held,
                kind => return Err(Error::value("waiting.held", format!("kind {kind}"))),
            }
        }
    }
    Ok(all)
}
