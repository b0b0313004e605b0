//! Rows in the form in which they are searched.
//!
//! Invariant: dense values stand feature by feature, so that the distances of all rows grow
//! together; hashed ones stand bucket by bucket, so that a row meets only those it shares.

use pulp::Arch;

use crate::model::encoders::features::Encoded;
use crate::model::loss::Target;

/// A remembered row, without its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Remembered {
    /// Its target.
    pub target: Target,
    /// The number of its example; none under the first revision of the learning rules.
    pub number: Option<u64>,
}

impl From<Target> for Remembered {
    /// Of a row whose example has no number.
    fn from(target: Target) -> Remembered {
        Remembered {
            target,
            number: None,
        }
    }
}

/// Some rows, in the order in which they came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    n_rows_max: usize,
    /// The features that are searched, `[features, n_rows_max]`.
    searched: Vec<f32>,
    /// Whole dense rows, where only their projections are searched.
    whole: Vec<f32>,
    /// Squared lengths of the hashed parts, `[rows]`.
    squares: Vec<f32>,
    /// Hashed values by bucket, then by row.
    postings: Vec<Posting>,
    targets: Vec<Target>,
    /// The numbers of the rows' examples, 0 for none.
    numbers: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Posting {
    bucket: u32,
    place: u32,
    value: f32,
}

impl Block {
    pub(super) fn new(n_searched: usize, n_rows_max: usize) -> Block {
        Block {
            n_rows_max,
            searched: vec![0.0; n_searched * n_rows_max],
            whole: Vec::new(),
            squares: Vec::new(),
            postings: Vec::new(),
            targets: Vec::new(),
            numbers: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == self.n_rows_max
    }

    pub(super) fn target(&self, place: usize) -> Target {
        self.targets[place]
    }

    pub(super) fn target_mut(&mut self, place: usize) -> &mut Target {
        &mut self.targets[place]
    }

    /// The place of the example with this number.
    pub(super) fn place_of(&self, number: u64) -> Option<usize> {
        self.numbers.iter().rposition(|one| *one == number)
    }

    /// Adds a row; `projected` stands for its dense part where that is searched by projection.
    pub(super) fn push(&mut self, row: &Encoded, projected: Option<Vec<f32>>, example: Remembered) {
        let place = self.len();
        if projected.is_some() {
            self.whole.extend_from_slice(&row.dense);
        }
        let searched = projected.as_ref().unwrap_or(&row.dense);
        let columns = self.searched.chunks_exact_mut(self.n_rows_max);
        for (column, value) in columns.zip(searched) {
            column[place] = *value;
        }
        if !row.sparse.is_empty() {
            self.post(&row.sparse, place as u32);
        }
        self.squares.push(squared_length(&row.sparse));
        self.targets.push(example.target);
        self.numbers.push(example.number.unwrap_or(0));
    }

    /// Merges a row's hashed values into the postings; both are in the order of buckets, and the
    /// row is the newest.
    fn post(&mut self, sparse: &[(u32, f32)], place: u32) {
        let mut merged = Vec::with_capacity(self.postings.len() + sparse.len());
        let mut start = 0;
        for (bucket, value) in sparse {
            let before = self.postings[start..].partition_point(|one| one.bucket <= *bucket);
            merged.extend_from_slice(&self.postings[start..start + before]);
            start += before;
            merged.push(Posting {
                bucket: *bucket,
                place,
                value: *value,
            });
        }
        merged.extend_from_slice(&self.postings[start..]);
        self.postings = merged;
    }

    /// Appends the squared distance of every row, the oldest first.
    pub(super) fn distances(&self, dense: &[f32], sparse: &[(u32, f32)], out: &mut Vec<f32>) {
        let start = out.len();
        out.resize(start + self.n_rows_max, 0.0);
        let sums = &mut out[start..];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (x, column) in dense.iter().zip(self.searched.chunks_exact(sums.len())) {
                    for (sum, value) in sums.iter_mut().zip(column) {
                        let difference = x - value;
                        *sum += difference * difference;
                    }
                }
            },
        );
        out.truncate(start + self.len());
        if self.postings.is_empty() && sparse.is_empty() {
            return;
        }
        let sums = &mut out[start..];
        let own = squared_length(sparse);
        for (sum, squares) in sums.iter_mut().zip(&self.squares) {
            *sum += own + squares;
        }
        let mut rest = &self.postings[..];
        for (bucket, value) in sparse {
            rest = &rest[rest.partition_point(|one| one.bucket < *bucket)..];
            for one in rest.iter().take_while(|one| one.bucket == *bucket) {
                sums[one.place as usize] -= 2.0 * value * one.value;
            }
        }
        // Rounding may leave a little less than zero where terms cancel.
        sums.iter_mut().for_each(|sum| *sum = sum.max(0.0));
    }

    /// The squared distance of one whole row.
    pub(super) fn measure(&self, place: usize, row: &Encoded) -> f32 {
        let n_dense = row.dense.len();
        let whole = &self.whole[place * n_dense..(place + 1) * n_dense];
        let mut squared = squared_distance(whole, &row.dense);
        if self.squares[place] > 0.0 || !row.sparse.is_empty() {
            let shared: f32 = row
                .sparse
                .iter()
                .map(|(bucket, value)| value * self.hashed(*bucket, place))
                .sum();
            let apart = self.squares[place] + squared_length(&row.sparse) - 2.0 * shared;
            squared += apart.max(0.0);
        }
        squared
    }

    fn hashed(&self, bucket: u32, place: usize) -> f32 {
        let key = (bucket, place as u32);
        let found = self
            .postings
            .binary_search_by_key(&key, |one| (one.bucket, one.place));
        found.map_or(0.0, |index| self.postings[index].value)
    }

    /// Every row as it was given.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Encoded, Remembered)> + Clone {
        let mut rows = vec![Encoded::default(); self.len()];
        for one in &self.postings {
            rows[one.place as usize]
                .sparse
                .push((one.bucket, one.value));
        }
        let n_whole = self.whole.len() / self.len().max(1);
        for (place, row) in rows.iter_mut().enumerate() {
            row.dense = match n_whole {
                0 => {
                    let columns = self.searched.chunks_exact(self.n_rows_max);
                    columns.map(|column| column[place]).collect()
                }
                n => self.whole[place * n..(place + 1) * n].to_vec(),
            };
        }
        let examples = self.targets.iter().zip(&self.numbers);
        let examples = examples.map(|(target, number)| Remembered {
            target: *target,
            number: (*number != 0).then_some(*number),
        });
        rows.into_iter().zip(examples.collect::<Vec<_>>())
    }
}

fn squared_length(sparse: &[(u32, f32)]) -> f32 {
    sparse.iter().map(|(_, value)| value * value).sum()
}

/// In sixteen sums, whose order does not depend on the machine.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut sums = [0.0f32; LANES];
            let (a_whole, a_rest) = a.as_chunks::<LANES>();
            let (b_whole, b_rest) = b.as_chunks::<LANES>();
            for (a, b) in a_whole.iter().zip(b_whole) {
                for lane in 0..LANES {
                    let difference = a[lane] - b[lane];
                    sums[lane] += difference * difference;
                }
            }
            let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b));
            sums.iter().sum::<f32>() + rest.sum::<f32>()
        },
    )
}

/// `into += inputs weights`, weights `[inputs, into]`.
pub(super) fn add_products(into: &mut [f32], inputs: &[f32], weights: &[f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (x, weights) in inputs.iter().zip(weights.chunks_exact(into.len())) {
                for (into, weight) in into.iter_mut().zip(weights) {
                    *into += x * weight;
                }
            }
        },
    );
}
