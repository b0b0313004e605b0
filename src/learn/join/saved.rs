//! Waiting predictions as tensors, and back.
//!
//! Invariant: tensors of the second revision of the learning rules are written only where there is
//! something in them, so that a state of the first is written as it always was.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::{LearnedExample, PendingPrediction, PendingPredictions};
use crate::event::{PredictionId, Time};
use crate::learn::memory::is_weight;
use crate::model::weights::{Error, Tensors};

/// Kinds of the rows of `waiting.held`: the learned reward of a prediction, and its learned label.
const REWARD: u64 = 0;
const LABEL: u64 = 1;

/// A prediction, with the learned examples of its reward and of its truth.
type HeldPair = (PredictionId, Option<LearnedExample>, Option<LearnedExample>);

/// The learned examples of the predictions that waited in a version, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeldExamples(Vec<HeldPair>);

impl PendingPredictions {
    pub(in crate::learn) fn save(&self, tensors: &mut Tensors) {
        let (mut columns, mut rewards) = (Vec::with_capacity(7 * self.len()), Vec::new());
        let (mut labels, mut held, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut weights = Vec::new();
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
                weights.extend(one.map(|one| one.weight));
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
            put_weights("waiting.held.weights", weights, tensors);
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

    /// The saved predictions; windows are kept open once they are reconfigured.
    pub(in crate::learn) fn load(tensors: &mut Tensors) -> Result<PendingPredictions, Error> {
        let all = take_waiting(tensors)?;
        let numbers = tensors.take_u64("expired", &[Some(3)])?;
        let expired = id(&numbers);
        let made_room = if tensors.0.contains_key("made_room") {
            id(&tensors.take_u64("made_room", &[Some(2)])?)
        } else {
            expired
        };
        let windows = if tensors.0.contains_key("windows") {
            tensors.take_u64("windows", &[None, Some(2)])?
        } else {
            Vec::new()
        };
        let windows = windows.chunks_exact(2).map(|one| (one[0], one[1] as i64));
        let mut joins = PendingPredictions {
            expired,
            made_room,
            windows: windows.collect(),
            ..PendingPredictions::default()
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

    /// Holds of each the part that was learned then, and nothing of those that did not wait yet.
    pub(in crate::learn) fn hold(&mut self, then: HeldExamples) {
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

impl HeldExamples {
    /// The held examples of the predictions that wait.
    pub(crate) fn of(joins: &PendingPredictions) -> HeldExamples {
        HeldExamples(HeldExamples::each(joins).collect())
    }

    /// The predictions of which something was learned, one by one.
    fn each(joins: &PendingPredictions) -> impl Iterator<Item = HeldPair> {
        let all = joins.waiting.iter();
        let all = all.map(|(id, one)| (PredictionId(*id), one.held_reward, one.held_label));
        all.filter(|(_, reward, label)| reward.is_some() || label.is_some())
    }

    /// The bytes of the held parts of those that wait in a state.
    pub(crate) fn n_bytes_of(joins: &PendingPredictions) -> usize {
        let n_held = |(_, reward, label): HeldPair| {
            usize::from(reward.is_some()) + usize::from(label.is_some())
        };
        40 * HeldExamples::each(joins).map(n_held).sum::<usize>()
    }

    /// Hashes the held parts of those that wait, of which no copy is made.
    pub(crate) fn hash(joins: &PendingPredictions, hash: &mut blake3::Hasher) {
        for (id, reward, label) in HeldExamples::each(joins) {
            for (kind, one) in [(REWARD, reward), (LABEL, label)] {
                if let Some(one) = one {
                    hash.update(&id.0.to_le_bytes());
                    hash.update(&kind.to_le_bytes());
                    hash.update(&one.number.get().to_le_bytes());
                    hash.update(&one.value.to_bits().to_le_bytes());
                    if one.weight != 1.0 {
                        hash.update(&one.weight.to_bits().to_le_bytes());
                    }
                }
            }
        }
    }

    /// The pending predictions of these alone, with nothing but their learned parts.
    pub(crate) fn alone(&self, joins: &PendingPredictions) -> PendingPredictions {
        let stripped = |(id, reward, label): &HeldPair| {
            let waiting = joins.waiting.get(&id.0)?;
            let stripped = PendingPrediction {
                signals: 0,
                credited: None,
                label: None,
                is_relabelled: false,
                is_judged_by_label: false,
                is_throttled: false,
                held_reward: *reward,
                held_label: *label,
                ..*waiting
            };
            Some((id.0, stripped))
        };
        let waiting: BTreeMap<u128, PendingPrediction> =
            self.0.iter().filter_map(stripped).collect();
        PendingPredictions {
            order: waiting.keys().copied().collect(),
            waiting,
            ..PendingPredictions::default()
        }
    }

    pub(in crate::learn) fn save(&self, tensors: &mut Tensors) {
        let (mut columns, mut values, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (id, reward, label) in &self.0 {
            for (kind, one) in [(REWARD, reward), (LABEL, label)] {
                let halves = [(id.0 >> 64) as u64, id.0 as u64];
                let row = one.map(|one| [halves[0], halves[1], kind, one.number.get()]);
                columns.extend(row.into_iter().flatten());
                values.extend(one.map(|one| one.value));
                weights.extend(one.map(|one| one.weight));
            }
        }
        tensors.put_u64("held", &[values.len(), 4], columns);
        tensors.put_f64("held.values", &[values.len()], values);
        put_weights("held.weights", weights, tensors);
    }

    /// The saved examples; none where nothing was saved.
    pub(in crate::learn) fn take(tensors: &mut Tensors) -> Result<Option<HeldExamples>, Error> {
        if !tensors.0.contains_key("held") {
            return Ok(None);
        }
        let columns = tensors.take_u64("held", &[None, Some(4)])?;
        let values = tensors.take_f64("held.values", &[Some(columns.len() / 4)])?;
        let weights = take_weights("held.weights", values.len(), tensors)?;
        let mut all: Vec<HeldPair> = Vec::new();
        for ((row, value), weight) in columns.chunks_exact(4).zip(values).zip(weights) {
            let id = PredictionId(id(row));
            if all.last().is_none_or(|(last, _, _)| *last != id) {
                all.push((id, None, None));
            }
            let (_, reward, label) = all.last_mut().expect("there is one");
            let number = NonZeroU64::new(row[3]);
            let held = number.map(|number| LearnedExample {
                value,
                number,
                weight,
            });
            match row[2] {
                REWARD => *reward = held,
                LABEL => *label = held,
                kind => return Err(Error::value("held", format!("kind {kind}"))),
            }
        }
        Ok(Some(HeldExamples(all)))
    }

    /// The held examples of the saved world of a version. Under the first revision all that was earned by
    /// then is taken for learned, as one of `n_examples`.
    pub(crate) fn load(
        tensors: &mut Tensors,
        revision: u32,
        n_examples: u64,
    ) -> Result<HeldExamples, Error> {
        let all = take_waiting(tensors)?.into_iter();
        let held = |(id, waiting): (u128, PendingPrediction)| {
            let credited = waiting.credited.filter(|_| revision < 2);
            let credited = credited.map(|value| LearnedExample::new(value, n_examples, 1.0));
            let reward = waiting.held_reward.or(credited);
            (PredictionId(id), reward, waiting.held_label)
        };
        let some = |(_, reward, label): &(_, Option<LearnedExample>, Option<LearnedExample>)| {
            reward.is_some() || label.is_some()
        };
        Ok(HeldExamples(all.map(held).filter(some).collect()))
    }
}

/// Saves F32 weights `[n]`; nothing where each is 1.
fn put_weights(name: &str, weights: Vec<f32>, tensors: &mut Tensors) {
    if weights.iter().any(|weight| *weight != 1.0) {
        tensors.put_f32(name, &[weights.len()], weights);
    }
}

/// The weights that [`put_weights`] saved.
fn take_weights(name: &str, n: usize, tensors: &mut Tensors) -> Result<Vec<f32>, Error> {
    if !tensors.0.contains_key(name) {
        return Ok(vec![1.0; n]);
    }
    let weights = tensors.take_f32(name, &[Some(n)])?;
    match weights.iter().find(|weight| !is_weight(**weight)) {
        Some(weight) => Err(Error::value(name, format!("a weight of {weight}"))),
        None => Ok(weights),
    }
}

fn id(halves: &[u64]) -> u128 {
    u128::from(halves[0]) << 64 | u128::from(halves[1])
}

fn flags(waiting: &PendingPrediction) -> u64 {
    let flags = [
        waiting.has_truth,
        waiting.closed,
        waiting.credited.is_some(),
        waiting.is_relabelled,
        waiting.is_judged_by_label,
        waiting.is_throttled,
    ];
    let flags = flags.iter().rev();
    flags.fold(0, |bits, flag| bits << 1 | u64::from(*flag))
}

/// The waiting predictions, in the order in which they came.
fn take_waiting(tensors: &mut Tensors) -> Result<Vec<(u128, PendingPrediction)>, Error> {
    let columns = tensors.take_u64("waiting", &[None, Some(7)])?;
    let credited = tensors.take_f64("waiting.earned", &[Some(columns.len() / 7)])?;
    let rows = columns.chunks_exact(7).zip(credited);
    let mut all: Vec<(u128, PendingPrediction)> = rows
        .map(|(row, credited)| {
            let flag = |place: u32| row[5] >> place & 1 == 1;
            let waiting = PendingPrediction {
                position: row[2],
                row: row[3] as u32,
                deadline: Time(row[4] as i64),
                has_truth: flag(0),
                closed: flag(1),
                credited: flag(2).then_some(credited),
                signals: row[6],
                label: None,
                is_relabelled: flag(3),
                is_judged_by_label: flag(4),
                is_throttled: flag(5),
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
        let weights = take_weights("waiting.held.weights", values.len(), tensors)?;
        for ((row, value), weight) in held.chunks_exact(3).zip(values).zip(weights) {
            let (_, one) = all.get_mut(row[0] as usize).ok_or_else(|| wrong(row[0]))?;
            let number = NonZeroU64::new(row[2]);
            let held = number.map(|number| LearnedExample {
                value,
                number,
                weight,
            });
            match row[1] {
                REWARD => one.held_reward = held,
                LABEL => one.held_label = held,
                kind => return Err(Error::value("waiting.held", format!("kind {kind}"))),
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Batch, Outputs, Prediction};

    /// Four that wait, of which two are held.
    fn joins() -> PendingPredictions {
        let ids = [4, 1 << 70, 7, 9].map(PredictionId);
        let prediction = Prediction {
            ids: ids.to_vec(),
            batch: Batch::default(),
            outputs: Outputs::Values(vec![0.0; 4]),
            labels: Default::default(),
            version: 1,
            position: 2,
        };
        let mut joins = PendingPredictions::default();
        joins.wait(&prediction, 3, Time(50));
        joins.update(ids[1], |one| {
            one.held_reward = Some(LearnedExample::new(0.5, 9, 1.0));
        });
        joins.update(ids[2], |one| {
            one.held_reward = Some(LearnedExample::new(-1.5, 4, 2.5));
            one.held_label = Some(LearnedExample::new(2.0, 5, 1.0));
            one.credited = Some(17.0);
        });
        joins
    }

    fn hash(joins: &PendingPredictions) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        HeldExamples::hash(joins, &mut hash);
        hash.finalize()
    }

    #[test]
    fn what_is_held_is_saved_by_itself() {
        let joins = joins();
        let held = HeldExamples::of(&joins);
        assert_eq!(
            (held.0.len(), HeldExamples::n_bytes_of(&joins)),
            (2, 3 * 40)
        );
        let mut tensors = Tensors::default();
        held.save(&mut tensors);
        let n_bytes: usize = tensors.0.values().map(|one| one.data.n_bytes()).sum();
        assert_eq!(n_bytes, 3 * (40 + 4), "one has a weight of its own");
        assert_eq!(HeldExamples::take(&mut tensors), Ok(Some(held)));
        assert_eq!(
            HeldExamples::take(&mut tensors),
            Ok(None),
            "of an older program"
        );
    }

    #[test]
    fn what_is_held_can_be_all_that_is_kept_of_what_waits() {
        let joins = joins();
        let held = HeldExamples::of(&joins);
        let alone = held.alone(&joins);
        assert_eq!((alone.len(), alone.oldest_position()), (2, Some(3)));
        let earned = alone.waiting.values().any(|one| one.credited.is_some());
        assert!(!earned, "what it earned may be what is to be erased");
        let mut tensors = Tensors::default();
        alone.save(&mut tensors);
        assert_eq!(HeldExamples::load(&mut tensors, 2, 9), Ok(held));
        assert_eq!(hash(&alone), hash(&joins));
    }

    #[test]
    fn the_hash_is_of_what_is_held_alone() {
        let mut joins = joins();
        let before = hash(&joins);
        joins.update(PredictionId(4), |one| one.credited = Some(3.0));
        assert_eq!(hash(&joins), before);
        joins.update(PredictionId(4), |one| {
            one.held_label = Some(LearnedExample::new(3.0, 2, 1.0));
        });
        assert_ne!(hash(&joins), before);
    }
}
