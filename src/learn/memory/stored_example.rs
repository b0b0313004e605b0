//! Examples that are stored, and their form as tensors.
//!
//! Invariant: a loaded example has the form of its model: one that cannot be is refused.

use crate::model::weights::{Error, Tensors};
use crate::model::{Encoded, Target};

/// An example as a network learns it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredExample {
    /// As it was encoded when it came.
    pub row: Encoded,
    /// The target.
    pub target: Target,
    /// The number of its example; none under the first revision.
    pub example: Option<u64>,
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
    let n_dense = all.clone().map(|stored| stored.row.dense.len()).sum();
    let mut dense = Vec::with_capacity(n_dense);
    let (mut ends, mut buckets, mut values) = (vec![], vec![], vec![]);
    let (mut kinds, mut indexes, mut numbers, mut outputs) = (vec![], vec![], vec![], vec![]);
    let mut corrected = Vec::new();
    let mut examples = Vec::new();
    let mut anchors = Vec::new();
    for stored in all {
        examples.push(stored.example.unwrap_or(0));
        anchors.push(u8::from(stored.is_anchor));
        dense.extend_from_slice(&stored.row.dense);
        buckets.extend(stored.row.sparse.iter().map(|(bucket, _)| *bucket));
        values.extend(stored.row.sparse.iter().map(|(_, value)| *value));
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
    tensors.put_f32("dense", &[n, width(dense.len())], dense);
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
    tensors
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub n_dense: usize,
    pub n_buckets: usize,
    pub n_outputs: usize,
}

impl Form {
    fn check(self, stored: &StoredExample) -> Result<(), Error> {
        let Form {
            n_dense,
            n_buckets,
            n_outputs,
        } = self;
        let row = &stored.row;
        if row.dense.len() != n_dense {
            let what = format!("{} features, expected {n_dense}", row.dense.len());
            return Err(Error::value("dense", what));
        }
        if let Some((bucket, _)) = row.sparse.iter().find(|one| one.0 as usize >= n_buckets) {
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
    // An older program did not keep what a correction comes to; its gradient does without.
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

/// Reads back what [`save_examples`] wrote.
pub(crate) fn load_examples(
    form: Form,
    tensors: &mut Tensors,
) -> Result<Vec<StoredExample>, Error> {
    let kinds = tensors.take_u8("target.kinds", &[None])?;
    let n = Some(kinds.len());
    let dense = tensors.take_f32("dense", &[n, None])?;
    let ends = tensors.take_u64("sparse.ends", &[n])?;
    let buckets = tensors.take_u32("sparse.buckets", &[None])?;
    let values = tensors.take_f32("sparse.values", &[Some(buckets.len())])?;
    let targets = load_targets(&kinds, tensors)?;
    let outputs = tensors.take_f32("outputs", &[n, None])?;
    let examples = load_numbers(kinds.len(), tensors)?;
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
    for at in 0..kinds.len() {
        let end = ends[at] as usize;
        if end < start || end > buckets.len() {
            let what = format!("{end} after {start}, of {}", buckets.len());
            return Err(Error::value("sparse.ends", what));
        }
        let pairs = buckets[start..end].iter().zip(&values[start..end]);
        let sparse = pairs.map(|(bucket, value)| (*bucket, *value)).collect();
        start = end;
        let stored = StoredExample {
            row: Encoded {
                dense: part(&dense, at),
                sparse,
            },
            target: targets[at],
            example: examples[at],
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
            row: Encoded {
                dense: vec![1.0],
                sparse: Vec::new(),
            },
            target: Target::Correction {
                action: 1,
                by: -0.5,
                reward,
            },
            example: None,
            is_anchor: false,
            outputs: Vec::new(),
        };
        let form = Form {
            n_dense: 1,
            n_buckets: 0,
            n_outputs: 2,
        };
        let load = |mut tensors| load_examples(form, &mut tensors).expect("it was saved");
        let mut saved = save_examples([stored(2.0)].iter());
        assert_eq!(load(saved.clone()), [stored(2.0)]);
        saved.0.remove("target.corrected");
        assert_eq!(load(saved), [stored(0.0)]);
    }
}
