//! Long-term memory: a reservoir of examples, balanced over strata.
//!
//! Chrysakis and Moens 2020 (algorithm 1): while there is room everything is kept; then a new
//! stratum takes a place from the largest one, and within a full stratum Vitter's reservoir
//! (1985) decides. A stratum is a class, or an action with its reward: less than its running
//! mean, or more. Values have one. Departure: a stratum counts as full only while it is the
//! largest; the paper marks it for ever.

use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::stored_example::{ExampleBounds, StoredExample, load_examples, save_examples};
use crate::model::Target;
use crate::model::weights::{Error, Tensors};

/// Rewards over which an action's running mean is an average; older ones fade.
const HORIZON: f64 = 1000.0;

/// Remembered examples, at most so many.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reservoir {
    capacity: usize,
    examples: Vec<Arc<StoredExample>>,
    /// The strata: the slots of each, and the number of its examples that have come.
    strata: Vec<Stratum>,
    /// The number of rewards of each action, until they fade, and their running mean.
    earned: Vec<[f64; 2]>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Stratum {
    slots: Vec<u32>,
    n_seen: u64,
}

impl Reservoir {
    pub(super) fn new(capacity: usize) -> Reservoir {
        Reservoir {
            capacity,
            examples: Vec::new(),
            strata: Vec::new(),
            earned: Vec::new(),
        }
    }

    /// The examples that are remembered.
    pub(super) fn examples(&self) -> &[Arc<StoredExample>] {
        &self.examples
    }

    pub(super) fn examples_mut(&mut self) -> impl Iterator<Item = &mut Arc<StoredExample>> {
        self.examples.iter_mut()
    }

    /// The share of a stratum's examples that is still held, 0 to 1.
    pub(super) fn share_of(&self, stratum: usize) -> f32 {
        let stratum = self.strata.get(stratum);
        stratum.map_or(0.0, |stratum| {
            stratum.slots.len() as f32 / stratum.n_seen.max(1) as f32
        })
    }

    /// Offers an example, which is kept or not.
    pub(super) fn offer(&mut self, stored: &Arc<StoredExample>, rng: &mut ChaCha8Rng) {
        let stratum = self.stratum(stored.target);
        if self.strata.len() <= stratum {
            self.strata.resize_with(stratum + 1, Stratum::default);
        }
        self.strata[stratum].n_seen = self.strata[stratum].n_seen.saturating_add(1);
        if self.examples.len() < self.capacity {
            self.strata[stratum].slots.push(self.examples.len() as u32);
            self.examples.push(stored.clone());
            return;
        }
        let largest = self.largest();
        let held = self.strata[stratum].slots.len();
        if held < self.strata[largest].slots.len() {
            let place = rng.random_range(0..self.strata[largest].slots.len());
            let slot = self.strata[largest].slots.swap_remove(place);
            self.strata[stratum].slots.push(slot);
            self.examples[slot as usize] = stored.clone();
            return;
        }
        let place = rng.random_range(0..self.strata[stratum].n_seen);
        if let Some(slot) = self.strata[stratum].slots.get(place as usize) {
            self.examples[*slot as usize] = stored.clone();
        }
    }

    /// Puts the target of one example right where it is held; it moves to the stratum that it is of.
    pub(super) fn amend(
        &mut self,
        example: u64,
        target: Target,
        put_right: impl Fn(&mut Arc<StoredExample>),
    ) {
        let Some(slot) = self
            .examples
            .iter()
            .position(|one| one.example == Some(example))
        else {
            return;
        };
        let before = self.examples[slot].target;
        put_right(&mut self.examples[slot]);
        if let Target::Reward { action, reward } = target
            && let Target::Reward { reward: before, .. } = before
            && let Some([count, mean]) = self.earned.get_mut(action as usize)
            && *count > 0.0
        {
            let [reward, before] = [reward, before].map(|one| one.clamp(-1e100, 1e100));
            *mean += (reward - before) / *count;
        }
        let stratum = self.stratum_of(target);
        if self.strata.len() <= stratum {
            self.strata.resize_with(stratum + 1, Stratum::default);
        }
        let holds = |one: &Stratum| one.slots.iter().position(|held| *held as usize == slot);
        let held = self.strata.iter().map(holds).enumerate();
        let held = held.filter_map(|(stratum, place)| Some((stratum, place?)));
        for (owner, place) in held.collect::<Vec<_>>() {
            if owner != stratum {
                self.strata[owner].slots.swap_remove(place);
                self.strata[owner].n_seen -= 1;
                self.strata[stratum].slots.push(slot as u32);
                self.strata[stratum].n_seen += 1;
            }
        }
    }

    /// The stratum of an example; a reward moves its action's running mean.
    fn stratum(&mut self, target: Target) -> usize {
        let Target::Reward { action, reward } = target else {
            return self.stratum_of(target);
        };
        let stratum = self.stratum_of(target);
        let action = action as usize;
        if self.earned.len() <= action {
            self.earned.resize(action + 1, [0.0; 2]);
        }
        let [count, mean] = &mut self.earned[action];
        *count = (*count + 1.0).min(HORIZON);
        *mean += (reward.clamp(-1e100, 1e100) - *mean) / *count;
        stratum
    }

    /// The stratum of a target as the means stand.
    fn stratum_of(&self, target: Target) -> usize {
        match target {
            Target::Reward { action, reward } => {
                let earned = self.earned.get(action as usize);
                let more = earned.is_some_and(|[count, mean]| *count > 0.0 && reward > *mean);
                2 * action as usize + usize::from(more)
            }
            Target::BestAction(action) => 2 * action as usize + 1,
            Target::Class(_) | Target::Value(_) | Target::Correction { .. } => {
                target.stratum() as usize
            }
        }
    }

    /// The stratum with most slots, the first of equals.
    fn largest(&self) -> usize {
        let sizes = self.strata.iter().map(|stratum| stratum.slots.len());
        let larger =
            |best: (usize, usize), next: (usize, usize)| if next.1 > best.1 { next } else { best };
        sizes.enumerate().fold((0, 0), larger).0
    }

    pub(super) fn save(&self) -> Tensors {
        let n = self.examples.len();
        let mut tensors = save_examples(self.examples.iter().map(Arc::as_ref));
        let (mut owners, mut places) = (vec![0; n], vec![0; n]);
        for (stratum, held) in self.strata.iter().enumerate() {
            for (place, slot) in held.slots.iter().enumerate() {
                owners[*slot as usize] = stratum as u32;
                places[*slot as usize] = place as u32;
            }
        }
        tensors.put_u32("owners", &[n], owners);
        tensors.put_u32("places", &[n], places);
        let seen: Vec<u64> = self.strata.iter().map(|stratum| stratum.n_seen).collect();
        tensors.put_u64("seen", &[seen.len()], seen);
        let earned: Vec<f64> = self.earned.iter().flatten().copied().collect();
        tensors.put_f64("earned", &[self.earned.len(), 2], earned);
        tensors
    }

    /// Reads the state that [`Reservoir::save`] wrote.
    pub(super) fn load(
        capacity: usize,
        form: ExampleBounds,
        tensors: &mut Tensors,
    ) -> Result<Reservoir, Error> {
        let examples = load_examples(form, tensors)?;
        if examples.len() > capacity {
            let what = format!("{} examples in {capacity} slots", examples.len());
            return Err(Error::value("dense", what));
        }
        let n = Some(examples.len());
        let owners = tensors.take_u32("owners", &[n])?;
        let places = tensors.take_u32("places", &[n])?;
        let seen = tensors.take_u64("seen", &[None])?;
        let stratum = |n_seen| Stratum {
            slots: Vec::new(),
            n_seen,
        };
        let mut strata: Vec<Stratum> = seen.into_iter().map(stratum).collect();
        let mut slots: Vec<usize> = (0..examples.len()).collect();
        slots.sort_by_key(|slot| (owners[*slot], places[*slot]));
        for slot in slots {
            let stratum = strata.get_mut(owners[slot] as usize);
            let missing =
                || Error::value("owners", format!("stratum {} is not there", owners[slot]));
            let stratum = stratum.ok_or_else(missing)?;
            stratum.slots.push(slot as u32);
        }
        if strata.iter().any(|s| s.n_seen < s.slots.len() as u64) {
            let what = "a stratum holds more than it has seen".to_owned();
            return Err(Error::value("seen", what));
        }
        let earned = tensors.take_f64("earned", &[None, Some(2)])?;
        let sound = |row: &[f64]| (0.0..=HORIZON).contains(&row[0]) && row[1].is_finite();
        if !earned.chunks_exact(2).all(sound) {
            return Err(Error::value("earned", "a mean that cannot be"));
        }
        let pairs = earned.chunks_exact(2).map(|row| [row[0], row[1]]);
        Ok(Reservoir {
            capacity,
            examples: examples.into_iter().map(Arc::new).collect(),
            strata,
            earned: pairs.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encoded, Scales, StoredRow};
    use rand::SeedableRng;

    fn stored(target: Target, value: f32) -> Arc<StoredExample> {
        Arc::new(StoredExample {
            row: StoredRow::Encoded(Encoded {
                dense: vec![value],
                sparse: vec![(target.stratum(), value)],
                past: None,
            }),
            target,
            example: None,
            weight: 1.0,
            is_anchor: false,
            outputs: vec![value, -value, 0.0],
        })
    }

    const FORM: ExampleBounds = ExampleBounds {
        n_dense: 1,
        n_buckets: 16,
        n_outputs: 3,
        n_numbers: 0,
        n_vectors: 0,
    };

    fn filled(targets: impl Iterator<Item = Target>) -> Reservoir {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut memory = Reservoir::new(20);
        for (index, target) in targets.enumerate() {
            memory.offer(&stored(target, index as f32), &mut rng);
        }
        memory
    }

    #[test]
    fn a_rare_class_keeps_its_places() {
        let memory = filled((0..2000).map(|i| Target::Class(u32::from(i % 100 == 0))));
        assert_eq!(memory.examples.len(), 20);
        let rare = memory.strata[1].slots.len();
        assert!((8..=10).contains(&rare), "{rare} of 20");
    }

    #[test]
    fn a_rare_reward_keeps_its_places() {
        let reward = |i: u32| f64::from(u8::from(i.is_multiple_of(100)));
        let target = |i| Target::Reward {
            action: 1,
            reward: reward(i),
        };
        let memory = filled((1..2000).map(target));
        let good = memory.examples.iter().filter(
            |stored| matches!(stored.target, Target::Reward { reward, .. } if reward == 1.0),
        );
        let n_good = good.count();
        assert!((8..=10).contains(&n_good), "{n_good} of 20");
    }

    #[test]
    fn one_class_is_sampled_evenly_over_time() {
        let memory = filled((0..2000).map(|_| Target::Class(0)));
        let mean: f32 = memory
            .examples
            .iter()
            .map(|l| l.row.encoded(&Scales::default()).dense[0])
            .sum::<f32>()
            / 20.0;
        assert!((600.0..1400.0).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let rewards = |i: u32| Target::Reward {
            action: i % 3,
            reward: f64::from(i % 7),
        };
        let memory = filled((0..500).map(rewards));
        assert_eq!(Reservoir::load(20, FORM, &mut memory.save()), Ok(memory));
        let empty = Reservoir::new(20);
        assert_eq!(Reservoir::load(20, FORM, &mut empty.save()), Ok(empty));
    }

    #[test]
    fn p9_examples_that_cannot_be_are_refused() {
        let check = |form: ExampleBounds, class: u32, name: &str| {
            let mut saved = filled((0..30).map(|_| Target::Class(class))).save();
            let error = Reservoir::load(20, form, &mut saved).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        };
        let n_dense = ExampleBounds { n_dense: 2, ..FORM };
        check(n_dense, 0, "tensor \"dense\"");
        check(FORM, 16, "sparse.buckets");
        check(FORM, 3, "target.indexes");
        let n_outputs = ExampleBounds {
            n_outputs: 9,
            ..FORM
        };
        check(n_outputs, 0, "tensor \"outputs\"");
    }
}
