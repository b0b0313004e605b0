//! Long-term memory: a class-balanced reservoir of examples.
//!
//! Chrysakis and Moens 2020 (algorithm 1): while there is room everything is kept; then a new
//! class takes a place from the largest one, and within a full class Vitter's reservoir (1985)
//! decides. Departure: a class counts as full only while it is the largest; the paper marks it
//! for ever.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::gradient::Lesson;
use crate::model::weights::{Error, Tensors};
use crate::model::{Encoded, Target};

/// Remembered lessons, at most so many.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    capacity: usize,
    lessons: Vec<Lesson>,
    /// For each stratum: the slots that it holds, and how many lessons of it have come.
    strata: Vec<Stratum>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Stratum {
    slots: Vec<u32>,
    n_seen: u64,
}

impl Memory {
    pub fn new(capacity: usize) -> Memory {
        Memory {
            capacity,
            lessons: Vec::new(),
            strata: Vec::new(),
        }
    }

    /// How many lessons are remembered.
    pub fn len(&self) -> usize {
        self.lessons.len()
    }

    /// Draws `n_lessons` with replacement.
    pub fn draw(&self, n_lessons: usize, rng: &mut ChaCha8Rng) -> Vec<&Lesson> {
        if self.lessons.is_empty() {
            return Vec::new();
        }
        let draw = |_| &self.lessons[rng.random_range(0..self.lessons.len())];
        (0..n_lessons).map(draw).collect()
    }

    /// Offers a lesson, which is kept or not.
    pub fn offer(&mut self, lesson: Lesson, rng: &mut ChaCha8Rng) {
        let stratum = lesson.target.stratum() as usize;
        if self.strata.len() <= stratum {
            self.strata.resize_with(stratum + 1, Stratum::default);
        }
        self.strata[stratum].n_seen = self.strata[stratum].n_seen.saturating_add(1);
        if self.lessons.len() < self.capacity {
            self.strata[stratum].slots.push(self.lessons.len() as u32);
            self.lessons.push(lesson);
            return;
        }
        let largest = self.largest();
        let held = self.strata[stratum].slots.len();
        if held < self.strata[largest].slots.len() {
            let place = rng.random_range(0..self.strata[largest].slots.len());
            let slot = self.strata[largest].slots.swap_remove(place);
            self.strata[stratum].slots.push(slot);
            self.lessons[slot as usize] = lesson;
            return;
        }
        let place = rng.random_range(0..self.strata[stratum].n_seen);
        if let Some(slot) = self.strata[stratum].slots.get(place as usize) {
            self.lessons[*slot as usize] = lesson;
        }
    }

    /// The stratum with most slots, the first of equals.
    fn largest(&self) -> usize {
        let sizes = self.strata.iter().map(|stratum| stratum.slots.len());
        let larger = |best: (usize, usize), next: (usize, usize)| match next.1 > best.1 {
            true => next,
            false => best,
        };
        sizes.enumerate().fold((0, 0), larger).0
    }

    pub fn save(&self) -> Tensors {
        let mut tensors = save_lessons(&self.lessons);
        let (mut owners, mut places) = (vec![0; self.len()], vec![0; self.len()]);
        for (stratum, held) in self.strata.iter().enumerate() {
            for (place, slot) in held.slots.iter().enumerate() {
                owners[*slot as usize] = stratum as u32;
                places[*slot as usize] = place as u32;
            }
        }
        tensors.put_u32("owners", &[self.len()], owners);
        tensors.put_u32("places", &[self.len()], places);
        let seen: Vec<u64> = self.strata.iter().map(|stratum| stratum.n_seen).collect();
        tensors.put_u64("seen", &[seen.len()], seen);
        tensors
    }

    pub fn load(capacity: usize, form: Form, tensors: &mut Tensors) -> Result<Memory, Error> {
        let lessons = load_lessons(form, tensors)?;
        if lessons.len() > capacity {
            let what = format!("{} lessons in {capacity} slots", lessons.len());
            return Err(wrong("dense", what));
        }
        let n = Some(lessons.len());
        let owners = tensors.take_u32("owners", &[n])?;
        let places = tensors.take_u32("places", &[n])?;
        let seen = tensors.take_u64("seen", &[None])?;
        let mut strata: Vec<Stratum> = seen
            .into_iter()
            .map(|n_seen| Stratum {
                slots: Vec::new(),
                n_seen,
            })
            .collect();
        let mut slots: Vec<usize> = (0..lessons.len()).collect();
        slots.sort_by_key(|slot| (owners[*slot], places[*slot]));
        for slot in slots {
            let stratum = strata.get_mut(owners[slot] as usize);
            let missing = || wrong("owners", format!("stratum {} is not there", owners[slot]));
            let stratum = stratum.ok_or_else(missing)?;
            stratum.slots.push(slot as u32);
        }
        Ok(Memory {
            capacity,
            lessons,
            strata,
        })
    }
}

/// Lessons as tensors: rows of features, targets, and the outputs they had.
pub fn save_lessons(lessons: &[Lesson]) -> Tensors {
    let mut tensors = Tensors::default();
    let n = lessons.len();
    let (mut dense, mut ends, mut buckets, mut values) = (vec![], vec![], vec![], vec![]);
    let (mut kinds, mut indexes, mut numbers, mut outputs) = (vec![], vec![], vec![], vec![]);
    for lesson in lessons {
        dense.extend_from_slice(&lesson.row.dense);
        buckets.extend(lesson.row.sparse.iter().map(|(bucket, _)| *bucket));
        values.extend(lesson.row.sparse.iter().map(|(_, value)| *value));
        ends.push(buckets.len() as u64);
        let (kind, index, number) = match lesson.target {
            Target::Class(class) => (0, class, 0.0),
            Target::Value(value) => (1, 0, value),
            Target::Reward { action, reward } => (2, action, reward),
            Target::BestAction(action) => (3, action, 0.0),
            Target::Correction { action, by } => (4, action, by),
        };
        kinds.push(kind);
        indexes.push(index);
        numbers.push(number);
        outputs.extend_from_slice(&lesson.outputs);
    }
    let width = |total: usize| total.checked_div(n).unwrap_or(0);
    tensors.put_f32("dense", &[n, width(dense.len())], dense);
    tensors.put_u64("sparse.ends", &[n], ends);
    tensors.put_u32("sparse.buckets", &[buckets.len()], buckets);
    tensors.put_f32("sparse.values", &[values.len()], values);
    tensors.put_u8("target.kinds", &[n], kinds);
    tensors.put_u32("target.indexes", &[n], indexes);
    tensors.put_f64("target.numbers", &[n], numbers);
    tensors.put_f32("outputs", &[n, width(outputs.len())], outputs);
    tensors
}

/// What a lesson of a model can hold.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub n_dense: usize,
    pub n_buckets: usize,
    pub n_outputs: usize,
}

impl Form {
    fn check(self, lesson: &Lesson) -> Result<(), Error> {
        let Form {
            n_dense,
            n_buckets,
            n_outputs,
        } = self;
        let row = &lesson.row;
        if row.dense.len() != n_dense {
            let what = format!("{} features, expected {n_dense}", row.dense.len());
            return Err(wrong("dense", what));
        }
        if let Some((bucket, _)) = row.sparse.iter().find(|one| one.0 as usize >= n_buckets) {
            return Err(wrong("sparse.buckets", format!("{bucket} of {n_buckets}")));
        }
        let stratum = lesson.target.stratum() as usize;
        if stratum >= n_outputs {
            return Err(wrong("target.indexes", format!("{stratum} of {n_outputs}")));
        }
        let n_then = lesson.outputs.len();
        if n_then != 0 && n_then != n_outputs {
            let what = format!("{n_then} outputs, expected {n_outputs}");
            return Err(wrong("outputs", what));
        }
        Ok(())
    }
}

fn wrong(name: &str, what: String) -> Error {
    Error::Value {
        name: name.to_owned(),
        what,
    }
}

/// Reads back what [`save_lessons`] wrote.
pub fn load_lessons(form: Form, tensors: &mut Tensors) -> Result<Vec<Lesson>, Error> {
    let kinds = tensors.take_u8("target.kinds", &[None])?;
    let n = Some(kinds.len());
    let dense = tensors.take_f32("dense", &[n, None])?;
    let ends = tensors.take_u64("sparse.ends", &[n])?;
    let buckets = tensors.take_u32("sparse.buckets", &[None])?;
    let values = tensors.take_f32("sparse.values", &[Some(buckets.len())])?;
    let indexes = tensors.take_u32("target.indexes", &[n])?;
    let numbers = tensors.take_f64("target.numbers", &[n])?;
    let outputs = tensors.take_f32("outputs", &[n, None])?;
    let part = |all: &[f32], at: usize| {
        let width = all.len() / kinds.len();
        all[at * width..(at + 1) * width].to_vec()
    };
    let mut lessons = Vec::with_capacity(kinds.len());
    let mut start = 0;
    for at in 0..kinds.len() {
        let end = ends[at] as usize;
        if end < start || end > buckets.len() {
            let what = format!("{end} after {start}, of {}", buckets.len());
            return Err(wrong("sparse.ends", what));
        }
        let pairs = buckets[start..end].iter().zip(&values[start..end]);
        let sparse = pairs.map(|(bucket, value)| (*bucket, *value)).collect();
        start = end;
        let lesson = Lesson {
            row: Encoded {
                dense: part(&dense, at),
                sparse,
            },
            target: match kinds[at] {
                0 => Target::Class(indexes[at]),
                1 => Target::Value(numbers[at]),
                2 => Target::Reward {
                    action: indexes[at],
                    reward: numbers[at],
                },
                3 => Target::BestAction(indexes[at]),
                4 => Target::Correction {
                    action: indexes[at],
                    by: numbers[at],
                },
                kind => return Err(wrong("target.kinds", format!("kind {kind}"))),
            },
            outputs: part(&outputs, at),
        };
        form.check(&lesson)?;
        lessons.push(lesson);
    }
    Ok(lessons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn lesson(class: u32, value: f32) -> Lesson {
        Lesson {
            row: Encoded {
                dense: vec![value],
                sparse: vec![(class, value)],
            },
            target: Target::Class(class),
            outputs: vec![value, -value, 0.0],
        }
    }

    const FORM: Form = Form {
        n_dense: 1,
        n_buckets: 16,
        n_outputs: 3,
    };

    fn filled(classes: impl Iterator<Item = u32>) -> Memory {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut memory = Memory::new(20);
        for (index, class) in classes.enumerate() {
            memory.offer(lesson(class, index as f32), &mut rng);
        }
        memory
    }

    #[test]
    fn a_rare_class_keeps_its_places() {
        let memory = filled((0..2000).map(|i| u32::from(i % 100 == 0)));
        assert_eq!(memory.len(), 20);
        let rare = memory.strata[1].slots.len();
        assert!((8..=10).contains(&rare), "{rare} of 20");
    }

    #[test]
    fn one_class_is_sampled_evenly_over_time() {
        let memory = filled((0..2000).map(|_| 0));
        let mean: f32 = memory.lessons.iter().map(|l| l.row.dense[0]).sum::<f32>() / 20.0;
        assert!((600.0..1400.0).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let memory = filled((0..500).map(|i| i % 3));
        assert_eq!(Memory::load(20, FORM, &mut memory.save()), Ok(memory));
        let empty = Memory::new(20);
        assert_eq!(Memory::load(20, FORM, &mut empty.save()), Ok(empty));
    }

    #[test]
    fn p9_lessons_that_cannot_be_are_refused() {
        let check = |form: Form, class: u32, name: &str| {
            let mut saved = filled((0..30).map(|_| class)).save();
            let error = Memory::load(20, form, &mut saved).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        };
        let n_dense = Form { n_dense: 2, ..FORM };
        check(n_dense, 0, "tensor \"dense\"");
        check(FORM, 16, "sparse.buckets");
        check(FORM, 3, "target.indexes");
        let n_outputs = Form {
            n_outputs: 9,
            ..FORM
        };
        check(n_outputs, 0, "tensor \"outputs\"");
    }
}
