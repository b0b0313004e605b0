//! Examples that are stored, and their form as tensors.
//!
//! Invariant: a loaded example has the form of its model: one that cannot be is refused.

use crate::event::WEIGHTS;
use crate::model::weights::{Error, Tensors};
use crate::model::{Encoded, InputKind, RawRow, Spec, StoredRow, Target};

/// An example as a network learns it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredExample {
    /// The row.
    pub row: StoredRow,
    /// The target.
    pub target: Target,
    /// The number of its example; none under the first revision.
    pub example: Option<u64>,
    /// The weight beside an example of weight 1.
    pub weight: f32,
    /// Whether it is an anchor of the retention set, which waits for its update here and is not
    /// remembered.
    pub is_anchor: bool,
    /// The outputs of the network when it was remembered; empty where no strategy needs them.
    pub outputs: Vec<f32>,
}

/// Examples as tensors: rows of features, targets, and the outputs they had.
pub(crate) fn save_examples<'a>(all: impl Iterator<Item = &'a StoredExample> + Clone) -> Tensors {
    let mut tensors = Tensors::default();
    // Room at once: a memory of images is tens of megabytes.
    let mut rows = DenseRows::with_room_for(all.clone());
    let (mut ends, mut buckets, mut values) = (vec![], vec![], vec![]);
    let (mut kinds, mut indexes, mut numbers, mut outputs) = (vec![], vec![], vec![], vec![]);
    let mut corrected = Vec::new();
    let mut examples = Vec::new();
    let mut anchors = Vec::new();
    let mut weights = Vec::new();
    for stored in all {
        examples.push(stored.example.unwrap_or(0));
        anchors.push(u8::from(stored.is_anchor));
        weights.push(stored.weight);
        rows.push(&stored.row);
        buckets.extend(stored.row.sparse().iter().map(|(bucket, _)| *bucket));
        values.extend(stored.row.sparse().iter().map(|(_, value)| *value));
        ends.push(buckets.len() as u64);
        let (kind, index, number) = match stored.target {
            Target::Class(class) => (0, class, 0.0),
            Target::Value(value) => (1, 0, value),
            Target::Reward { action, reward } => (2, action, reward),
            Target::BestAction(action) => (3, action, 0.0),
            Target::Correction { action, by, reward } => {
                corrected.push(reward);
                (4, action, by)
            }
        };
        kinds.push(kind);
        indexes.push(index);
        numbers.push(number);
        outputs.extend_from_slice(&stored.outputs);
    }
    let n = kinds.len();
    let width = |total: usize| total.checked_div(n).unwrap_or(0);
    rows.save(&mut tensors);
    tensors.put_u64("sparse.ends", &[n], ends);
    tensors.put_u32("sparse.buckets", &[buckets.len()], buckets);
    tensors.put_f32("sparse.values", &[values.len()], values);
    tensors.put_u8("target.kinds", &[n], kinds);
    tensors.put_u32("target.indexes", &[n], indexes);
    tensors.put_f64("target.numbers", &[n], numbers);
    tensors.put_f32("outputs", &[n, width(outputs.len())], outputs);
    if !corrected.is_empty() {
        tensors.put_f64("target.corrected", &[corrected.len()], corrected);
    }
    save_numbers(examples, &mut tensors);
    if anchors.contains(&1) {
        tensors.put_u8("anchors", &[n], anchors);
    }
    if weights.iter().any(|weight| *weight != 1.0) {
        tensors.put_f32("example.weights", &[n], weights);
    }
    tensors
}

/// True of the weight that an example can have.
pub(crate) fn is_weight(weight: f32) -> bool {
    // Rounding to 32 bits may leave a little less than the least.
    weight >= *WEIGHTS.start() as f32 && weight <= *WEIGHTS.end() as f32
}

fn load_weights(n: usize, tensors: &mut Tensors) -> Result<Vec<f32>, Error> {
    if !tensors.0.contains_key("example.weights") {
        return Ok(vec![1.0; n]);
    }
    let weights = tensors.take_f32("example.weights", &[Some(n)])?;
    match weights.iter().find(|weight| !is_weight(**weight)) {
        Some(weight) => Err(Error::value(
            "example.weights",
            format!("a weight of {weight}"),
        )),
        None => Ok(weights),
    }
}

/// The dense inputs of stored rows, in two tables: of those that are stored as they were encoded, and
/// of raw ones.
#[derive(Default)]
struct DenseRows {
    /// The kinds of the rows: 1 for a raw one.
    raw: Vec<u8>,
    dense: Vec<f32>,
    numbers: Vec<f64>,
    vectors: Vec<f32>,
}

impl DenseRows {
    fn with_room_for<'a>(all: impl Iterator<Item = &'a StoredExample>) -> DenseRows {
        let [mut n_dense, mut n_numbers, mut n_vectors] = [0; 3];
        for stored in all {
            match &stored.row {
                StoredRow::Encoded(row) => n_dense += row.dense.len(),
                StoredRow::Raw(row) => {
                    n_numbers += row.numbers.len();
                    n_vectors += row.vectors.len();
                }
            }
        }
        DenseRows {
            raw: Vec::new(),
            dense: Vec::with_capacity(n_dense),
            numbers: Vec::with_capacity(n_numbers),
            vectors: Vec::with_capacity(n_vectors),
        }
    }

    fn push(&mut self, row: &StoredRow) {
        match row {
            StoredRow::Encoded(row) => {
                self.raw.push(0);
                self.dense.extend_from_slice(&row.dense);
            }
            StoredRow::Raw(row) => {
                self.raw.push(1);
                self.numbers.extend_from_slice(&row.numbers);
                self.vectors.extend_from_slice(&row.vectors);
            }
        }
    }

    /// F32 `dense` `[encoded, inputs]`; where rows are raw also U8 `raw` `[rows]`, F64 `numbers`
    /// `[raw, numbers]`, 0 for a gap, U8 `gaps` of the same shape where there is one, and F32 `vectors`
    /// `[raw, components]`.
    fn save(self, tensors: &mut Tensors) {
        let n_raw = self.raw.iter().filter(|flag| **flag == 1).count();
        let n_encoded = self.raw.len() - n_raw;
        let width = |total: usize, n: usize| [n, total.checked_div(n).unwrap_or(0)];
        tensors.put_f32("dense", &width(self.dense.len(), n_encoded), self.dense);
        if n_raw > 0 {
            tensors.put_u8("raw", &[self.raw.len()], self.raw);
            let shape = width(self.numbers.len(), n_raw);
            let gaps = self.numbers.iter().map(|value| u8::from(value.is_nan()));
            let gaps: Vec<u8> = gaps.collect();
            if gaps.contains(&1) {
                tensors.put_u8("gaps", &shape, gaps);
            }
            let known = |value: f64| if value.is_nan() { 0.0 } else { value };
            let numbers = self.numbers.into_iter().map(known);
            tensors.put_f64("numbers", &shape, numbers.collect());
            tensors.put_f32("vectors", &width(self.vectors.len(), n_raw), self.vectors);
        }
    }

    fn load(n_rows: usize, tensors: &mut Tensors) -> Result<DenseRows, Error> {
        let raw = if tensors.0.contains_key("raw") {
            tensors.take_u8("raw", &[Some(n_rows)])?
        } else {
            vec![0; n_rows]
        };
        let n_raw = raw.iter().filter(|flag| **flag == 1).count();
        let dense = tensors.take_f32("dense", &[Some(n_rows - n_raw), None])?;
        let (mut numbers, mut vectors) = (Vec::new(), Vec::new());
        if n_raw > 0 {
            numbers = tensors.take_f64("numbers", &[Some(n_raw), None])?;
            vectors = tensors.take_f32("vectors", &[Some(n_raw), None])?;
        }
        if !numbers.iter().all(|value| value.is_finite()) {
            return Err(Error::value("numbers", "a value is not finite"));
        }
        if tensors.0.contains_key("gaps") {
            let width = numbers.len().checked_div(n_raw).unwrap_or(0);
            let gaps = tensors.take_u8("gaps", &[Some(n_raw), Some(width)])?;
            let gaps = numbers.iter_mut().zip(gaps).filter(|(_, gap)| *gap == 1);
            gaps.for_each(|(value, _)| *value = f64::NAN);
        }
        if !vectors.iter().all(|value| value.is_finite()) {
            return Err(Error::value("vectors", "a value is not finite"));
        }
        Ok(DenseRows {
            raw,
            dense,
            numbers,
            vectors,
        })
    }

    /// The rows in their order, without hashed features.
    fn into_rows(self) -> Vec<StoredRow> {
        let n_raw = self.raw.iter().filter(|flag| **flag == 1).count();
        let n_encoded = self.raw.len() - n_raw;
        fn next<T: Copy>(all: &[T], n: usize, place: usize) -> Vec<T> {
            let width = all.len().checked_div(n).unwrap_or(0);
            all[place * width..(place + 1) * width].to_vec()
        }
        let (mut at_raw, mut at_encoded) = (0, 0);
        let mut rows = Vec::with_capacity(self.raw.len());
        for flag in &self.raw {
            rows.push(if *flag == 1 {
                at_raw += 1;
                StoredRow::Raw(RawRow {
                    numbers: next(&self.numbers, n_raw, at_raw - 1),
                    vectors: next(&self.vectors, n_raw, at_raw - 1),
                    sparse: Vec::new(),
                })
            } else {
                at_encoded += 1;
                StoredRow::Encoded(Encoded {
                    past: None,
                    dense: next(&self.dense, n_encoded, at_encoded - 1),
                    sparse: Vec::new(),
                })
            });
        }
        rows
    }
}

/// The numbers of the examples as U64 `examples` `[n]`, 0 for none; absent where all are none.
fn save_numbers(examples: Vec<u64>, tensors: &mut Tensors) {
    if examples.iter().any(|number| *number != 0) {
        tensors.put_u64("examples", &[examples.len()], examples);
    }
}

fn load_numbers(n: usize, tensors: &mut Tensors) -> Result<Vec<Option<u64>>, Error> {
    if !tensors.0.contains_key("examples") {
        return Ok(vec![None; n]);
    }
    let numbers = tensors.take_u64("examples", &[Some(n)])?;
    let numbers = numbers.into_iter();
    Ok(numbers
        .map(|number| (number != 0).then_some(number))
        .collect())
}

/// The bounds on an example of a model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExampleBounds {
    pub n_dense: usize,
    pub n_buckets: usize,
    pub n_outputs: usize,
    /// Values of number columns and components of vectors, of a raw row.
    pub n_numbers: usize,
    pub n_vectors: usize,
}

impl ExampleBounds {
    /// The form of the examples of this description.
    pub(crate) fn of(spec: &Spec, n_dense: usize, n_buckets: usize) -> ExampleBounds {
        // A time is a number of days, and a calendar.
        let is_number =
            |kind: &InputKind| matches!(kind, InputKind::Number { .. } | InputKind::Time(_));
        let kinds = || spec.inputs.iter().map(|input| &input.kind);
        let n_dense_of = |kind: &InputKind| match kind {
            InputKind::Number { .. } => 0,
            InputKind::Time(_) => kind.n_dense() - 1,
            kind => kind.n_dense(),
        };
        ExampleBounds {
            n_dense,
            n_buckets,
            n_outputs: spec.task.n_outputs(),
            n_numbers: kinds().filter(|kind| is_number(kind)).count(),
            n_vectors: kinds().map(n_dense_of).sum(),
        }
    }

    fn check(self, stored: &StoredExample) -> Result<(), Error> {
        let ExampleBounds {
            n_dense,
            n_buckets,
            n_outputs,
            n_numbers,
            n_vectors,
        } = self;
        let lengths = match &stored.row {
            StoredRow::Encoded(row) => vec![("dense", row.dense.len(), n_dense)],
            StoredRow::Raw(row) => vec![
                ("numbers", row.numbers.len(), n_numbers),
                ("vectors", row.vectors.len(), n_vectors),
            ],
        };
        if let Some((name, got, expected)) = lengths.into_iter().find(|one| one.1 != one.2) {
            let what = format!("{got} features, expected {expected}");
            return Err(Error::value(name, what));
        }
        let sparse = stored.row.sparse();
        if let Some((bucket, _)) = sparse.iter().find(|one| one.0 as usize >= n_buckets) {
            return Err(Error::value(
                "sparse.buckets",
                format!("{bucket} of {n_buckets}"),
            ));
        }
        let stratum = stored.target.stratum() as usize;
        if stratum >= n_outputs {
            return Err(Error::value(
                "target.indexes",
                format!("{stratum} of {n_outputs}"),
            ));
        }
        let n_then = stored.outputs.len();
        if n_then != 0 && n_then != n_outputs {
            let what = format!("{n_then} outputs, expected {n_outputs}");
            return Err(Error::value("outputs", what));
        }
        Ok(())
    }
}

fn load_targets(kinds: &[u8], tensors: &mut Tensors) -> Result<Vec<Target>, Error> {
    let indexes = tensors.take_u32("target.indexes", &[Some(kinds.len())])?;
    let numbers = tensors.take_f64("target.numbers", &[Some(kinds.len())])?;
    let n_corrected = kinds.iter().filter(|kind| **kind == 4).count();
    // An older program did not keep the size of a correction; its gradient does without.
    let corrected = if tensors.0.contains_key("target.corrected") {
        tensors.take_f64("target.corrected", &[Some(n_corrected)])?
    } else {
        vec![0.0; n_corrected]
    };
    let mut corrected = corrected.into_iter();
    let mut targets = Vec::with_capacity(kinds.len());
    for ((kind, index), number) in kinds.iter().zip(indexes).zip(numbers) {
        targets.push(match kind {
            0 => Target::Class(index),
            1 => Target::Value(number),
            2 => Target::Reward {
                action: index,
                reward: number,
            },
            3 => Target::BestAction(index),
            4 => Target::Correction {
                action: index,
                by: number,
                reward: corrected.next().expect("there is one for each"),
            },
            kind => return Err(Error::value("target.kinds", format!("kind {kind}"))),
        });
    }
    Ok(targets)
}

/// Reads the state that [`save_examples`] wrote.
pub(crate) fn load_examples(
    form: ExampleBounds,
    tensors: &mut Tensors,
) -> Result<Vec<StoredExample>, Error> {
    let kinds = tensors.take_u8("target.kinds", &[None])?;
    let n = Some(kinds.len());
    let rows = DenseRows::load(kinds.len(), tensors)?;
    let ends = tensors.take_u64("sparse.ends", &[n])?;
    let buckets = tensors.take_u32("sparse.buckets", &[None])?;
    let values = tensors.take_f32("sparse.values", &[Some(buckets.len())])?;
    let targets = load_targets(&kinds, tensors)?;
    let outputs = tensors.take_f32("outputs", &[n, None])?;
    let examples = load_numbers(kinds.len(), tensors)?;
    let weights = load_weights(kinds.len(), tensors)?;
    let anchors = if tensors.0.contains_key("anchors") {
        tensors.take_u8("anchors", &[n])?
    } else {
        vec![0; kinds.len()]
    };
    let part = |all: &[f32], at: usize| {
        let width = all.len() / kinds.len();
        all[at * width..(at + 1) * width].to_vec()
    };
    let mut all = Vec::with_capacity(kinds.len());
    let mut start = 0;
    for (at, mut row) in rows.into_rows().into_iter().enumerate() {
        let end = ends[at] as usize;
        if end < start || end > buckets.len() {
            let what = format!("{end} after {start}, of {}", buckets.len());
            return Err(Error::value("sparse.ends", what));
        }
        let pairs = buckets[start..end].iter().zip(&values[start..end]);
        *row.sparse_mut() = pairs.map(|(bucket, value)| (*bucket, *value)).collect();
        start = end;
        let stored = StoredExample {
            row,
            target: targets[at],
            example: examples[at],
            weight: weights[at],
            is_anchor: anchors[at] == 1,
            outputs: part(&outputs, at),
        };
        form.check(&stored)?;
        all.push(stored);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_that_an_older_program_kept_is_loaded() {
        let stored = |reward| StoredExample {
            row: StoredRow::Encoded(Encoded {
                dense: vec![1.0],
                sparse: Vec::new(),
                past: None,
            }),
            target: Target::Correction {
                action: 1,
                by: -0.5,
                reward,
            },
            example: None,
            weight: 1.0,
            is_anchor: false,
            outputs: Vec::new(),
        };
        let form = ExampleBounds {
            n_dense: 1,
            n_buckets: 0,
            n_outputs: 2,
            ..ExampleBounds::default()
        };
        let load = |mut tensors| load_examples(form, &mut tensors).expect("it was saved");
        let mut saved = save_examples([stored(2.0)].iter());
        assert_eq!(load(saved.clone()), [stored(2.0)]);
        saved.0.remove("target.corrected");
        assert_eq!(load(saved), [stored(0.0)]);
    }

    #[test]
    fn raw_rows_stand_beside_encoded_ones_and_are_checked() {
        let stored = |row: StoredRow| StoredExample {
            row,
            target: Target::Class(0),
            example: None,
            weight: 1.0,
            is_anchor: false,
            outputs: Vec::new(),
        };
        let encoded = |x| Encoded {
            past: None,
            dense: vec![x, 0.0],
            sparse: vec![(1, 1.0)],
        };
        let raw = |x| RawRow {
            numbers: vec![x, f64::NAN],
            vectors: vec![x as f32; 3],
            sparse: vec![(0, 2.0)],
        };
        let all = [
            stored(encoded(1.0).into()),
            stored(raw(1e9).into()),
            stored(encoded(2.0).into()),
            stored(raw(-3.0).into()),
        ];
        let form = ExampleBounds {
            n_dense: 2,
            n_buckets: 2,
            n_outputs: 1,
            n_numbers: 2,
            n_vectors: 3,
        };
        let saved = save_examples(all.iter());
        assert_eq!(load_examples(form, &mut saved.clone()), Ok(all.to_vec()));
        let refused = |form: ExampleBounds, change: fn(&mut Tensors), name: &str| {
            let mut saved = saved.clone();
            change(&mut saved);
            let error = load_examples(form, &mut saved).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        };
        let same = |_: &mut Tensors| {};
        refused(
            ExampleBounds {
                n_numbers: 3,
                ..form
            },
            same,
            "numbers",
        );
        refused(
            ExampleBounds {
                n_vectors: 2,
                ..form
            },
            same,
            "vectors",
        );
        let infinite = |all: &mut Tensors| all.put_f64("numbers", &[2, 2], vec![f64::INFINITY; 4]);
        refused(form, infinite, "numbers");
        refused(form, |all| all.put_u8("gaps", &[1], vec![1]), "gaps");
        let no_number = |all: &mut Tensors| all.put_f32("vectors", &[2, 3], vec![f32::NAN; 6]);
        refused(form, no_number, "vectors");
        refused(form, |all| all.put_u8("raw", &[4], vec![1; 4]), "dense");
    }
}
