//! A forest of small trees that grow online, as it answers.
//!
//! A node asks whether a dense input is at most a value, or whether a hashed feature is there; a leaf
//! answers by the counts of the classes in it. Linear members and neighbours miss rules that hold only
//! where two inputs meet (an amount that is high for one shop and not for another); trees find it.
//!
//! Invariant: a walk from the root ends, since children stand behind their parent.

use std::sync::Arc;

use crate::model::encoders::features::Encoded;
use crate::model::weights::{Error, Tensors};

/// Added to the share of wrong answers that a tree's weight is divided by.
const ERROR_MIN: f32 = 0.02;
/// The share of wrong answers of a tree that gave none.
const ERROR_FIRST: f32 = 0.5;

/// The trees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forest {
    pub(crate) trees: Vec<Arc<Tree>>,
    n_outputs: usize,
}

/// A tree; node 0 is its root.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    /// The split of each node; none of a leaf.
    pub splits: Vec<Option<Split>>,
    /// The counts of each class in each node while it was a leaf, and the counts that its parent had for it;
    /// `[nodes, n_outputs]`.
    pub counts: Vec<f32>,
    /// The fading share of wrong answers.
    pub error: f32,
    /// Answers that it is of.
    pub n_judged: u32,
}

/// A node with children.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Split {
    pub test: Test,
    /// The node of the rows of which the test holds; that of the others is the next.
    pub child: u32,
}

/// A question that a row answers with yes or no.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Test {
    /// Whether a dense input is at most this.
    AtMost { input: u32, value: f32 },
    /// Whether a hashed feature is there.
    Has { bucket: u32 },
}

impl Test {
    /// The answer of a row.
    pub(crate) fn holds(self, row: &Encoded) -> bool {
        match self {
            Test::AtMost { input, value } => row.dense[input as usize] <= value,
            Test::Has { bucket } => {
                let found = row.sparse.binary_search_by_key(&bucket, |one| one.0);
                found.is_ok()
            }
        }
    }
}

impl Tree {
    /// One empty leaf.
    pub(crate) fn new(n_outputs: usize) -> Tree {
        Tree {
            splits: vec![None],
            counts: vec![0.0; n_outputs],
            error: ERROR_FIRST,
            n_judged: 0,
        }
    }

    /// The leaf of a row.
    pub(crate) fn leaf(&self, row: &Encoded) -> usize {
        let mut node = 0;
        while let Some(split) = &self.splits[node] {
            node = split.child as usize + usize::from(!split.test.holds(row));
        }
        node
    }

    /// The weight of its answer.
    fn weight(&self) -> f32 {
        let odds = (1.0 - self.error) / (self.error + ERROR_MIN);
        odds * odds
    }

    /// U8 `kinds` (0 a leaf, 1 a value, 2 a hashed feature), U32 `places` and F32 `values` `[nodes]`, U32
    /// `children` `[nodes]`, F32 `counts` `[nodes, n_outputs]`, F32 `error` and U32 `judged` `[1]`.
    pub(crate) fn save(&self) -> Tensors {
        let n = self.splits.len();
        let mut tensors = Tensors::default();
        let tests: Vec<_> = self
            .splits
            .iter()
            .map(|one| one.map(|one| one.test))
            .collect();
        save_tests(&tests, &mut tensors);
        let children = self.splits.iter().map(|one| one.map_or(0, |one| one.child));
        tensors.put_u32("children", &[n], children.collect());
        let n_outputs = self.counts.len() / n;
        tensors.put_f32("counts", &[n, n_outputs], self.counts.clone());
        tensors.put_f32("error", &[1], vec![self.error]);
        tensors.put_u32("judged", &[1], vec![self.n_judged]);
        tensors
    }

    /// Reads the state that [`Tree::save`] wrote, of at most so many nodes.
    pub(crate) fn load(
        (n_outputs, n_dense, nodes_max): (usize, usize, usize),
        tensors: &mut Tensors,
    ) -> Result<Tree, Error> {
        let tests = load_tests(n_dense, tensors)?;
        let n = tests.len();
        let children = tensors.take_u32("children", &[Some(n)])?;
        let splits = tests.into_iter().zip(children);
        let splits: Vec<_> = splits
            .map(|(test, child)| test.map(|test| Split { test, child }))
            .collect();
        let stand_behind = splits.iter().enumerate().all(|(place, split)| {
            let child = split.map(|split| split.child as usize);
            child.is_none_or(|child| child > place && child + 1 < n)
        });
        if n == 0 || n > nodes_max || !stand_behind {
            return Err(Error::value("children", format!("{n} nodes, no tree")));
        }
        let counts = tensors.take_f32("counts", &[Some(n), Some(n_outputs)])?;
        let error = tensors.take_f32("error", &[Some(1)])?[0];
        if !(0.0..=1.0).contains(&error) || !counts.iter().all(|one| (0.0..1e15).contains(one)) {
            return Err(Error::value(
                "counts",
                format!("an error of {error}, or a count"),
            ));
        }
        Ok(Tree {
            splits,
            counts,
            error,
            n_judged: tensors.take_u32("judged", &[Some(1)])?[0],
        })
    }
}

/// U8 `kinds`, U32 `places` and F32 `values`, `[tests]`.
pub(crate) fn save_tests(tests: &[Option<Test>], tensors: &mut Tensors) {
    let part = |test: &Option<Test>| match *test {
        None => (0, 0, 0.0),
        Some(Test::AtMost { input, value }) => (1, input, value),
        Some(Test::Has { bucket }) => (2, bucket, 0.0),
    };
    let parts: Vec<(u8, u32, f32)> = tests.iter().map(part).collect();
    let n = tests.len();
    tensors.put_u8("kinds", &[n], parts.iter().map(|part| part.0).collect());
    tensors.put_u32("places", &[n], parts.iter().map(|part| part.1).collect());
    tensors.put_f32("values", &[n], parts.iter().map(|part| part.2).collect());
}

/// Reads the state that [`save_tests`] wrote of rows with so many dense inputs.
pub(crate) fn load_tests(
    n_dense: usize,
    tensors: &mut Tensors,
) -> Result<Vec<Option<Test>>, Error> {
    let kinds = tensors.take_u8("kinds", &[None])?;
    let n = kinds.len();
    let places = tensors.take_u32("places", &[Some(n)])?;
    let values = tensors.take_f32("values", &[Some(n)])?;
    let parts = kinds.into_iter().zip(places).zip(values);
    let test = |((kind, place), value): ((u8, u32), f32)| match kind {
        0 => Ok(None),
        1 if (place as usize) < n_dense && value.is_finite() => Ok(Some(Test::AtMost {
            input: place,
            value,
        })),
        2 => Ok(Some(Test::Has { bucket: place })),
        _ => Err(Error::value(
            "kinds",
            format!("{kind} at input {place}, value {value}"),
        )),
    };
    parts.map(test).collect()
}

impl Forest {
    /// Trees that know nothing.
    pub(crate) fn new(n_trees: usize, n_outputs: usize) -> Forest {
        Forest {
            trees: (0..n_trees)
                .map(|_| Arc::new(Tree::new(n_outputs)))
                .collect(),
            n_outputs,
        }
    }

    /// The number of classes.
    pub(crate) fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// The trees, by their places.
    pub(crate) fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (place, tree) in self.trees.iter().enumerate() {
            tensors.nest(&place.to_string(), tree.save());
        }
        tensors
    }

    /// The probability of each class: the mean of the trees', weighed by the odds that they are right,
    /// squared.
    pub(crate) fn outputs(&self, row: &Encoded) -> Vec<f32> {
        let n = self.n_outputs;
        let even = 1.0 / n as f32;
        let mut mixed = vec![0.0; n];
        let mut all = 0.0;
        for tree in &self.trees {
            let counts = &tree.counts[tree.leaf(row) * n..][..n];
            let weight = tree.weight();
            let part = weight / (counts.iter().sum::<f32>() + 1.0);
            all += weight;
            for (mixed, count) in mixed.iter_mut().zip(counts) {
                *mixed += part * (count + even);
            }
        }
        mixed.iter_mut().for_each(|p| *p /= all);
        mixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let split = |test, child| Some(Split { test, child });
        Tree {
            splits: vec![
                split(Test::Has { bucket: 7 }, 1),
                split(
                    Test::AtMost {
                        input: 0,
                        value: 0.5,
                    },
                    3,
                ),
                None,
                None,
                None,
            ],
            counts: vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 9.0, 0.0, 0.0, 3.0],
            error: 0.1,
            n_judged: 14,
        }
    }

    fn row(x: f32, buckets: &[u32]) -> Encoded {
        Encoded {
            dense: vec![x],
            sparse: buckets.iter().map(|bucket| (*bucket, 1.0)).collect(),
            past: None,
        }
    }

    #[test]
    fn a_row_comes_to_the_leaf_that_its_answers_lead_to() {
        let mut forest = Forest::new(1, 2);
        assert_eq!(forest.outputs(&row(0.0, &[])), [0.5, 0.5]);
        forest.trees = vec![Arc::new(tree())];
        let check = |row: Encoded, expected: f32| {
            let p = forest.outputs(&row);
            assert!(
                (p[0] - expected).abs() < 1e-6 && (p[0] + p[1] - 1.0).abs() < 1e-6,
                "{p:?}"
            );
        };
        check(row(0.0, &[3, 7]), 0.95);
        check(row(1.0, &[7]), 0.125);
        check(row(0.0, &[3]), 0.5);
    }

    #[test]
    fn a_tree_that_answers_wrongly_counts_less() {
        let poor = Tree {
            error: 0.5,
            counts: vec![0.0, 9.0],
            ..Tree::new(2)
        };
        let mut forest = Forest::new(2, 2);
        forest.trees = vec![Arc::new(tree()), Arc::new(poor)];
        assert!(forest.outputs(&row(0.0, &[7]))[0] > 0.8);
    }

    #[test]
    fn p9_a_forged_tree_is_refused() {
        let shape = (2, 1, 9);
        assert_eq!(Tree::load(shape, &mut tree().save()), Ok(tree()));
        let check = |name: &str, change: fn(&mut Tensors)| {
            let mut saved = tree().save();
            change(&mut saved);
            let error = Tree::load(shape, &mut saved).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        };
        check("children", |t| {
            t.put_u32("children", &[5], vec![1, 1, 0, 0, 0]);
        });
        check("children", |t| {
            t.put_u32("children", &[5], vec![1, 4, 0, 0, 0]);
        });
        check("kinds", |t| t.put_u32("places", &[5], vec![7, 1, 0, 0, 0]));
        check("kinds", |t| t.put_u8("kinds", &[5], vec![2, 3, 0, 0, 0]));
        check("counts", |t| {
            t.put_f32("counts", &[5, 2], vec![f32::NAN; 10]);
        });
        check("counts", |t| t.put_f32("error", &[1], vec![2.0]));
        assert!(Tree::load((2, 1, 3), &mut tree().save()).is_err());
    }
}
