//! The newest examples as their rows came and as their targets are known by now, to be learned again.
//!
//! Invariant: bounded in number and bytes; their numbers rise by one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::stored_example::is_weight;
use crate::event::{Batch, Column};
use crate::model::weights::{Error, Tensors};
use crate::model::{InputKind, Spec, Target};

/// Examples that are kept at most, and the bytes of their rows.
pub(crate) const EXAMPLES_MAX: usize = 1024;
const BYTES_MAX: usize = 16 << 20;

/// An example to be learned again.
#[derive(Clone, Debug)]
pub(crate) struct KeptExample {
    /// The batch of one row.
    pub row: Batch,
    /// Rewards and best actions.
    pub target: Target,
    /// The weight beside an example of weight 1.
    pub weight: f32,
}

/// Examples by their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeptExamples {
    /// The number of the first one, also where there is none yet.
    first: u64,
    examples: VecDeque<Arc<KeptExample>>,
    n_bytes: usize,
}

impl PartialEq for KeptExample {
    /// Equality by bits: a gap equals a gap.
    fn eq(&self, other: &KeptExample) -> bool {
        let columns = self.row.columns.iter().zip(&other.row.columns);
        let mut alike = columns.map(|pair| match pair {
            (Column::Numbers(one), Column::Numbers(other)) => bits(one).eq(bits(other)),
            (one, other) => one == other,
        });
        self.row.columns.len() == other.row.columns.len()
            && alike.all(|alike| alike)
            && (self.target, self.weight) == (other.target, other.weight)
    }
}

impl KeptExample {
    /// Row `row` of a batch, with nothing of the request that it came with.
    pub(crate) fn new((batch, row): (&Batch, usize), target: Target, weight: f32) -> KeptExample {
        let mut row = batch.row(row);
        for column in &mut row.columns {
            if let Column::Vectors(bytes) | Column::Embedded { vectors: bytes, .. } = column {
                *bytes = Bytes::copy_from_slice(bytes);
            }
        }
        KeptExample {
            row,
            target,
            weight,
        }
    }

    fn n_bytes(&self) -> usize {
        let columns = self.row.columns.iter().map(|column| match column {
            Column::Numbers(values) => 8 * values.len(),
            Column::Strings(texts) => texts.iter().map(String::len).sum(),
            Column::Vectors(bytes) => bytes.len(),
            Column::Embedded { texts, vectors } => {
                texts.iter().map(String::len).sum::<usize>() + vectors.len()
            }
        });
        columns.sum()
    }
}

impl KeptExamples {
    /// No examples yet; the next one has this number.
    pub(crate) fn from_number(first: u64) -> KeptExamples {
        KeptExamples {
            first,
            ..KeptExamples::default()
        }
    }

    /// The number of the first one.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn len(&self) -> usize {
        self.examples.len()
    }

    /// True if they take so many times the room that they may.
    pub(crate) fn fill(&self, times: usize) -> bool {
        self.examples.len() >= times * EXAMPLES_MAX || self.n_bytes >= times * BYTES_MAX
    }

    pub(crate) fn push(&mut self, example: KeptExample) {
        self.n_bytes += example.n_bytes();
        self.examples.push_back(Arc::new(example));
    }

    /// The example with this number.
    pub(crate) fn get(&self, number: u64) -> Option<&Arc<KeptExample>> {
        let place = number.checked_sub(self.first)?;
        self.examples.get(usize::try_from(place).ok()?)
    }

    /// The target of one example is this; false where it is not kept.
    pub(crate) fn amend(&mut self, number: u64, target: Target) -> bool {
        let place = number.checked_sub(self.first);
        let example = place.and_then(|place| self.examples.get_mut(place as usize));
        let Some(example) = example else {
            return false;
        };
        Arc::make_mut(example).target = target;
        true
    }

    /// Forgets the examples before this number.
    pub(crate) fn forget_before(&mut self, number: u64) {
        while self.first < number
            && let Some(example) = self.examples.pop_front()
        {
            self.n_bytes -= example.n_bytes();
            self.first += 1;
        }
    }

    /// U64 `first` `[1]`, U8 `best` and U32 `actions`, F64 `rewards` and F32 `weights` `[n]`, and the
    /// columns of the rows by their places.
    pub(crate) fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let n = self.examples.len();
        let (mut best, mut actions, mut rewards) = (vec![], vec![], vec![]);
        for example in &self.examples {
            let (is_best, action, reward) = match example.target {
                Target::BestAction(action) => (1, action, 0.0),
                Target::Reward { action, reward } | Target::Correction { action, reward, .. } => {
                    (0, action, reward)
                }
                Target::Class(class) => (0, class, 0.0),
                Target::Value(value) => (0, 0, value),
            };
            best.push(is_best);
            actions.push(action);
            rewards.push(reward);
        }
        tensors.put_u64("first", &[1], vec![self.first]);
        tensors.put_u8("best", &[n], best);
        tensors.put_u32("actions", &[n], actions);
        tensors.put_f64("rewards", &[n], rewards);
        let weights = self.examples.iter().map(|one| one.weight);
        tensors.put_f32("weights", &[n], weights.collect());
        let n_columns = self.examples.front().map_or(0, |one| one.row.columns.len());
        for place in 0..n_columns {
            let column = self.examples.iter().map(|one| &one.row.columns[place]);
            save_column(place, column, &mut tensors);
        }
        tensors
    }

    /// The examples that [`KeptExamples::save`] wrote.
    pub(crate) fn load(spec: &Spec, tensors: &mut Tensors) -> Result<KeptExamples, Error> {
        let best = tensors.take_u8("best", &[None])?;
        let n = best.len();
        let actions = tensors.take_u32("actions", &[Some(n)])?;
        let rewards = tensors.take_f64("rewards", &[Some(n)])?;
        let weights = tensors.take_f32("weights", &[Some(n)])?;
        let sound = actions
            .iter()
            .all(|one| (*one as usize) < spec.task.n_outputs())
            && rewards.iter().all(|reward| reward.is_finite())
            && weights.iter().all(|weight| is_weight(*weight));
        if !sound {
            return Err(Error::value("rewards", "examples that nobody learned"));
        }
        let mut loaded = KeptExamples::from_number(tensors.take_u64("first", &[Some(1)])?[0]);
        if n == 0 {
            return Ok(loaded);
        }
        let kinds = spec.inputs.iter().map(|input| &input.kind).enumerate();
        let columns = kinds.map(|(place, kind)| load_column(place, kind, n, tensors));
        let rows = Batch {
            n_rows: n,
            columns: columns.collect::<Result<_, Error>>()?,
        };
        for (row, is_best) in best.into_iter().enumerate() {
            let (action, reward) = (actions[row], rewards[row]);
            let target = match is_best {
                1 => Target::BestAction(action),
                _ => Target::Reward { action, reward },
            };
            loaded.push(KeptExample::new((&rows, row), target, weights[row]));
        }
        Ok(loaded)
    }
}

fn bits(values: &[f64]) -> impl Iterator<Item = u64> + '_ {
    values.iter().map(|value| value.to_bits())
}

/// U64 `<place>.numbers`, the bits of numbers; U8 `<place>.texts` and U32 `<place>.lengths`; and U8
/// `<place>.vectors`, of the column of single rows.
fn save_column<'a>(
    place: usize,
    rows: impl Iterator<Item = &'a Column> + Clone,
    tensors: &mut Tensors,
) {
    let (mut numbers, mut texts, mut lengths, mut vectors) = (vec![], vec![], vec![], vec![]);
    for column in rows {
        match column {
            Column::Numbers(values) => numbers.extend(bits(values)),
            Column::Strings(strings) => push_texts(strings, &mut texts, &mut lengths),
            Column::Vectors(bytes) => vectors.extend_from_slice(bytes),
            Column::Embedded {
                texts: strings,
                vectors: bytes,
            } => {
                push_texts(strings, &mut texts, &mut lengths);
                vectors.extend_from_slice(bytes);
            }
        }
    }
    if !numbers.is_empty() {
        tensors.put_u64(format!("{place}.numbers"), &[numbers.len()], numbers);
    }
    if !lengths.is_empty() {
        tensors.put_u8(format!("{place}.texts"), &[texts.len()], texts);
        tensors.put_u32(format!("{place}.lengths"), &[lengths.len()], lengths);
    }
    if !vectors.is_empty() {
        tensors.put_u8(format!("{place}.vectors"), &[vectors.len()], vectors);
    }
}

fn push_texts(strings: &[String], texts: &mut Vec<u8>, lengths: &mut Vec<u32>) {
    for text in strings {
        texts.extend_from_slice(text.as_bytes());
        lengths.push(text.len() as u32);
    }
}

fn load_column(
    place: usize,
    kind: &InputKind,
    n: usize,
    tensors: &mut Tensors,
) -> Result<Column, Error> {
    Ok(match kind {
        InputKind::Number { .. } => {
            let name = format!("{place}.numbers");
            let values = tensors.take_u64(&name, &[Some(n)])?;
            let values: Vec<f64> = values.into_iter().map(f64::from_bits).collect();
            if values.iter().any(|value| value.is_infinite()) {
                return Err(Error::value(&name, "a value is not finite"));
            }
            Column::Numbers(values)
        }
        InputKind::Time(_) | InputKind::Category | InputKind::Text => {
            Column::Strings(load_texts(place, n, tensors)?)
        }
        InputKind::Embedded { length, .. } => Column::Embedded {
            texts: load_texts(place, n, tensors)?,
            vectors: load_vectors(place, n * length, tensors)?,
        },
        InputKind::Vector { length, .. } | InputKind::EmbeddedVector { length, .. } => {
            Column::Vectors(load_vectors(place, n * length, tensors)?)
        }
    })
}

fn load_vectors(place: usize, n_floats: usize, tensors: &mut Tensors) -> Result<Bytes, Error> {
    let name = format!("{place}.vectors");
    let bytes = tensors.take_u8(&name, &[Some(n_floats * size_of::<f32>())])?;
    let mut floats = bytes.chunks_exact(size_of::<f32>()).map(|bytes| {
        let bytes = bytes.try_into().expect("four bytes");
        f32::from_le_bytes(bytes)
    });
    if !floats.all(f32::is_finite) {
        return Err(Error::value(&name, "a value is not finite"));
    }
    Ok(Bytes::from(bytes))
}

fn load_texts(place: usize, n: usize, tensors: &mut Tensors) -> Result<Vec<String>, Error> {
    let name = format!("{place}.texts");
    let bytes = tensors.take_u8(&name, &[None])?;
    let lengths = tensors.take_u32(&format!("{place}.lengths"), &[Some(n)])?;
    let wrong = |what: &str| Error::value(&name, what);
    let mut rest = bytes.as_slice();
    let mut texts = Vec::with_capacity(n);
    for length in lengths {
        let split = rest.split_at_checked(length as usize);
        let (text, after) = split.ok_or_else(|| wrong("shorter than its lengths"))?;
        let text = str::from_utf8(text).map_err(|error| wrong(&error.to_string()))?;
        texts.push(text.to_owned());
        rest = after;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: &str = "task = 'bandit'\nactions = ['a', 'b']\n\
        [[input]]\nname = 'x'\nkind = 'number'\nmissing = 'mean'\n\
        [[input]]\nname = 't'\nkind = 'text'\n\
        [[input]]\nname = 'v'\nkind = 'vector'\nlength = 2\n";

    fn kept(n: u64) -> KeptExamples {
        let mut all = KeptExamples::from_number(7);
        for index in 0..n {
            let vectors: Vec<u8> = [0.5f32, index as f32].map(f32::to_le_bytes).concat();
            let columns = vec![
                Column::Numbers(vec![f64::NAN, index as f64]),
                Column::Strings(vec!["none".to_owned(), "é".repeat(index as usize % 3)]),
                Column::Vectors([vectors.clone(), vectors].concat().into()),
            ];
            let batch = Batch { n_rows: 2, columns };
            let target = match index % 3 {
                0 => Target::BestAction(1),
                _ => Target::Reward {
                    action: 1,
                    reward: index as f64,
                },
            };
            let row = (index % 2) as usize;
            all.push(KeptExample::new((&batch, row), target, 1.0));
        }
        all
    }

    #[test]
    fn examples_are_found_by_number_amended_and_forgotten() {
        let mut all = kept(5);
        let after = Target::BestAction(0);
        assert!(all.amend(8, after) && !all.amend(6, after) && !all.amend(12, after));
        all.forget_before(8);
        assert_eq!((all.first(), all.len()), (8, 4));
        assert_eq!(all.get(8).map(|one| one.target), Some(after));
        assert_eq!(all.get(7), None);
        all.forget_before(90);
        assert_eq!((all.first(), all.len(), all.n_bytes), (12, 0, 0));
    }

    #[test]
    fn examples_are_saved_and_loaded_and_what_cannot_be_is_refused() {
        let spec = Spec::parse(INPUTS).unwrap();
        for n in [0, 1, 6] {
            let all = kept(n);
            assert_eq!(KeptExamples::load(&spec, &mut all.save()), Ok(all));
        }
        let check = |damage: fn(&mut Tensors)| {
            let mut saved = kept(6).save();
            damage(&mut saved);
            assert!(KeptExamples::load(&spec, &mut saved).is_err());
        };
        check(|saved| saved.put_u32("actions", &[6], vec![2; 6]));
        check(|saved| saved.put_u64("0.numbers", &[6], vec![f64::INFINITY.to_bits(); 6]));
        check(|saved| saved.put_u32("1.lengths", &[6], vec![9; 6]));
        check(|saved| saved.put_u8("2.vectors", &[48], vec![255; 48]));
    }
}
