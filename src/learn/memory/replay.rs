//! Examples that are remembered to be learned again: the recent in order, and a reservoir of all.
//!
//! Invariant: bounded. The two share the examples that are in both, and are sampled together; how
//! much of a sample is recent moves with the evidence ([`Balance`]).

use std::collections::VecDeque;
use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::balance::Balance;
use super::reservoir::Reservoir;
use super::stored_example::{ExampleBounds, StoredExample, load_examples, save_examples};
use crate::model::weights::{Error, Tensors};
use crate::model::{Encoded, Rescale, Scales, Target};

/// Remembered examples.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Memory {
    short_term_max: usize,
    short_term: VecDeque<Arc<StoredExample>>,
    long_term: Reservoir,
    balance: Balance,
}

/// The largest number of examples of each part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryBounds {
    pub short_term: usize,
    pub long_term: usize,
}

/// An example to be learned again.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub stored: Arc<StoredExample>,
    /// True if it comes from the reservoir of all.
    pub is_long_term: bool,
}

impl Memory {
    pub(crate) fn new(bounds: MemoryBounds) -> Memory {
        Memory {
            short_term_max: bounds.short_term,
            short_term: VecDeque::new(),
            long_term: Reservoir::new(bounds.long_term),
            balance: Balance::new(),
        }
    }

    /// The number of examples that are remembered; those in both parts count twice.
    pub(crate) fn len(&self) -> usize {
        self.short_term.len() + self.long_term.examples().len()
    }

    /// The share of a class's examples that is in the reservoir, 0 to 1.
    pub(crate) fn share_of(&self, class: usize) -> f32 {
        self.long_term.share_of(class)
    }

    /// Draws `n_examples` with replacement into `drawn`.
    pub(crate) fn draw(&self, n_examples: usize, rng: &mut ChaCha8Rng, drawn: &mut Vec<Drawn>) {
        drawn.clear();
        let long_term = self.long_term.examples();
        if long_term.is_empty() {
            return;
        }
        for _ in 0..n_examples {
            let is_recent =
                !self.short_term.is_empty() && rng.random::<f64>() < self.balance.share();
            let stored = if is_recent {
                &self.short_term[rng.random_range(0..self.short_term.len())]
            } else {
                &long_term[rng.random_range(0..long_term.len())]
            };
            drawn.push(Drawn {
                stored: stored.clone(),
                is_long_term: !is_recent,
            });
        }
    }

    /// Takes an example in: always among the recent, and perhaps for long.
    pub(crate) fn offer(&mut self, stored: &Arc<StoredExample>, rng: &mut ChaCha8Rng) {
        self.long_term.offer(stored, rng);
        if self.short_term_max > 0 {
            if self.short_term.len() == self.short_term_max {
                self.short_term.pop_front();
            }
            self.short_term.push_back(stored.clone());
        }
    }

    /// Puts the reward of an example right where it is remembered: learned again with its first reward,
    /// it would undo the effect of the correction.
    pub(crate) fn correct(&mut self, row: &Encoded, correction: Target, scales: &Scales) {
        let Target::Correction { action, reward, .. } = correction else {
            return;
        };
        let short_term = self.short_term.iter_mut();
        for stored in short_term.chain(self.long_term.examples_mut()) {
            let is_again = || row.is_again(stored.row.encoded(scales).distance(row));
            if correction.corrects(stored.target) && is_again() {
                Arc::make_mut(stored).target = Target::Reward { action, reward };
            }
        }
    }

    /// Puts the target of one example right where it is remembered, and the network's output for it
    /// by `outputs`.
    pub(crate) fn amend(&mut self, example: u64, target: Target, outputs: impl Fn(&mut [f32])) {
        let put_right = |stored: &mut Arc<StoredExample>| {
            let stored = Arc::make_mut(stored);
            stored.target = target;
            outputs(&mut stored.outputs);
        };
        let short_term = self.short_term.iter_mut();
        short_term
            .filter(|stored| stored.example == Some(example))
            .for_each(put_right);
        self.long_term.amend(example, target, put_right);
    }

    /// Expresses the outputs that examples had in another scale of the target.
    pub(crate) fn rescale(&mut self, change: Rescale) {
        let short_term = self.short_term.iter_mut();
        for stored in short_term.chain(self.long_term.examples_mut()) {
            if !stored.outputs.is_empty() {
                let outputs = &mut Arc::make_mut(stored).outputs;
                outputs.iter_mut().for_each(|z| *z = change.apply(*z));
            }
        }
    }

    /// Takes the mean loss of new examples before they were learned, and of long-remembered ones
    /// where there were any.
    pub(crate) fn weigh(&mut self, new: f64, remembered: Option<f64>) {
        self.balance.observe_new(new);
        if let Some(remembered) = remembered {
            self.balance.observe_remembered(remembered);
        }
    }

    pub(crate) fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let recent = self.short_term.iter().map(Arc::as_ref);
        tensors.nest("short_term", save_examples(recent));
        tensors.nest("long_term", self.long_term.save());
        tensors.nest("balance", self.balance.save());
        tensors
    }

    /// Reads the state that [`Memory::save`] wrote.
    pub(crate) fn load(
        bounds: MemoryBounds,
        form: ExampleBounds,
        tensors: &mut Tensors,
    ) -> Result<Memory, Error> {
        let recent = load_examples(form, &mut tensors.unnest("short_term"))?;
        if recent.len() > bounds.short_term {
            let what = format!("{} recent examples in {}", recent.len(), bounds.short_term);
            return Err(Error::value("short_term", what));
        }
        let long_term = &mut tensors.unnest("long_term");
        Ok(Memory {
            short_term_max: bounds.short_term,
            short_term: recent.into_iter().map(Arc::new).collect(),
            long_term: Reservoir::load(bounds.long_term, form, long_term)?,
            balance: Balance::load(&mut tensors.unnest("balance"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RawRow, StoredRow};
    use rand::SeedableRng;

    const ROOM: MemoryBounds = MemoryBounds {
        short_term: 5,
        long_term: 20,
    };

    fn filled(n_examples: u32) -> Memory {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut memory = Memory::new(ROOM);
        for index in 0..n_examples {
            let stored = StoredExample {
                row: StoredRow::Raw(RawRow {
                    vectors: vec![index as f32],
                    ..RawRow::default()
                }),
                target: Target::Class(index % 2),
                example: Some(u64::from(index) + 1),
                weight: 1.0,
                is_anchor: false,
                outputs: vec![],
            };
            memory.offer(&Arc::new(stored), &mut rng);
        }
        memory
    }

    fn n_recent(memory: &Memory) -> usize {
        let mut drawn = Vec::new();
        memory.draw(1000, &mut ChaCha8Rng::seed_from_u64(2), &mut drawn);
        assert_eq!(drawn.len(), 1000);
        let recent = drawn.iter().filter(|drawn| !drawn.is_long_term);
        for drawn in recent.clone() {
            let StoredRow::Raw(row) = &drawn.stored.row else {
                panic!("it is raw")
            };
            assert!(row.vectors[0] >= 995.0);
        }
        recent.count()
    }

    #[test]
    fn both_parts_are_sampled_by_their_share() {
        let mut memory = filled(1000);
        assert_eq!(memory.len(), 25);
        assert!((70..130).contains(&n_recent(&memory)));
        memory.balance.alarm();
        assert!((450..550).contains(&n_recent(&memory)));
    }

    #[test]
    fn of_sixty_that_are_alike_a_correction_changes_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut memory = Memory::new(MemoryBounds {
            short_term: 60,
            long_term: 60,
        });
        let reward = |reward: f64| Target::Reward { action: 0, reward };
        for example in 1..=60 {
            let stored = StoredExample {
                row: StoredRow::Raw(RawRow::default()),
                target: reward(0.0),
                example: Some(example),
                weight: 1.0,
                is_anchor: false,
                outputs: vec![],
            };
            memory.offer(&Arc::new(stored), &mut rng);
        }
        memory.amend(17, reward(1.0), |_| {});
        let long_term = memory.long_term.examples();
        for stored in memory.short_term.iter().chain(long_term) {
            let expected = if stored.example == Some(17) { 1.0 } else { 0.0 };
            assert_eq!(stored.target, reward(expected), "{:?}", stored.example);
        }
        assert_eq!((memory.short_term.len(), long_term.len()), (60, 60));
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let form = ExampleBounds {
            n_dense: 1,
            n_buckets: 0,
            n_outputs: 2,
            n_vectors: 1,
            ..ExampleBounds::default()
        };
        for n_examples in [0, 3, 300] {
            let memory = filled(n_examples);
            assert_eq!(Memory::load(ROOM, form, &mut memory.save()), Ok(memory));
        }
        let narrow = MemoryBounds {
            short_term: 4,
            ..ROOM
        };
        assert!(Memory::load(narrow, form, &mut filled(9).save()).is_err());
    }
}
