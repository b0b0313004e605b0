//! Rows in the form in which they are searched.
//!
//! Invariant: dense values stand feature by feature, so that the distances of all rows grow
//! together; hashed ones stand bucket by bucket, so that a row meets only those it shares.

use pulp::Arch;

use super::unit_values::{ROWS_MAX, UnitValues};
use crate::model::encoders::features::{Conversion, Encoded, RawRow, Scales, StoredRow};
use crate::model::loss::Target;

/// A remembered row, without its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RememberedRow {
    /// Its target.
    pub target: Target,
    /// The number of its example; none under the first revision of the learning rules.
    pub number: Option<u64>,
    /// How much it counts beside an example of weight 1.
    pub weight: f32,
}

impl From<Target> for RememberedRow {
    /// Of a row whose example has no number.
    fn from(target: Target) -> RememberedRow {
        RememberedRow {
            target,
            number: None,
            weight: 1.0,
        }
    }
}

/// Some rows, in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct RowBlock {
    n_rows_max: usize,
    /// The features that are searched, `[features, n_rows_max]`; of raw rows, in the reference scale.
    searched: Vec<f32>,
    /// The largest magnitude among them; without end where there is a gap.
    farthest: f32,
    /// Whole dense rows, where only their projections are searched.
    whole: Vec<f32>,
    /// Raw dense rows; none of rows that are stored as they were encoded.
    raw: Option<RawDense>,
    /// Squared lengths of the hashed parts, `[rows]`.
    squares: Vec<f32>,
    /// Hashed values of rows in which one is not one, and of large blocks, by bucket, then by row.
    postings: Vec<Posting>,
    /// Hashed values of all other rows.
    units: UnitValues,
    targets: Vec<Target>,
    /// The numbers of the rows' examples, 0 for none.
    numbers: Vec<u64>,
    weights: Vec<f32>,
}

/// The dense inputs of raw rows, row after row.
#[derive(Clone, Debug, Default)]
struct RawDense {
    numbers: Vec<f64>,
    vectors: Vec<f32>,
}

impl RawDense {
    fn row(&self, place: usize, n_rows: usize) -> RawRow {
        let (n, m) = (self.numbers.len() / n_rows, self.vectors.len() / n_rows);
        RawRow {
            numbers: self.numbers[place * n..(place + 1) * n].to_vec(),
            vectors: self.vectors[place * m..(place + 1) * m].to_vec(),
            sparse: Vec::new(),
        }
    }
}

impl PartialEq for RowBlock {
    /// By the rows: how they are searched follows from them.
    fn eq(&self, other: &RowBlock) -> bool {
        self.n_rows_max == other.n_rows_max && self.rows().eq(other.rows())
    }
}

/// A row whose nearest are searched, in the forms in which blocks need it.
pub(super) struct Query<'a> {
    /// As it is encoded now.
    pub row: &'a Encoded,
    /// The features that are compared with the searched ones of rows that are stored as they were
    /// encoded.
    pub dense: &'a [f32],
    /// The features that are compared with those of raw rows.
    pub raw_dense: &'a [f32],
    /// How the searched features of raw rows are converted before; empty where they are projections.
    pub conversions: &'a [Conversion],
    /// The scales of now.
    pub scales: &'a Scales,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Posting {
    bucket: u32,
    place: u32,
    value: f32,
}

impl RowBlock {
    pub(super) fn new(n_searched: usize, n_rows_max: usize) -> RowBlock {
        RowBlock {
            n_rows_max,
            searched: vec![0.0; n_searched * n_rows_max],
            farthest: 0.0,
            whole: Vec::new(),
            raw: None,
            squares: Vec::new(),
            postings: Vec::new(),
            units: UnitValues::default(),
            targets: Vec::new(),
            numbers: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// An empty block of raw rows.
    pub(super) fn of_raw(n_searched: usize, n_rows_max: usize) -> RowBlock {
        RowBlock {
            raw: Some(RawDense::default()),
            ..RowBlock::new(n_searched, n_rows_max)
        }
    }

    pub(super) fn is_raw(&self) -> bool {
        self.raw.is_some()
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

    pub(super) fn weight(&self, place: usize) -> f32 {
        self.weights[place]
    }

    pub(super) fn target_mut(&mut self, place: usize) -> &mut Target {
        &mut self.targets[place]
    }

    /// The place of the example with this number.
    pub(super) fn place_of(&self, number: u64) -> Option<usize> {
        self.numbers.iter().rposition(|one| *one == number)
    }

    /// Adds a row; `projected` stands for its dense part where that is searched by projection.
    pub(super) fn push(
        &mut self,
        row: &Encoded,
        projected: Option<Vec<f32>>,
        example: RememberedRow,
    ) {
        if projected.is_some() {
            self.whole.extend_from_slice(&row.dense);
        }
        let searched = projected.as_ref().unwrap_or(&row.dense);
        self.push_searched(searched, &row.sparse, example);
    }

    /// Adds a raw row, by the features that are searched.
    pub(super) fn push_raw(&mut self, row: &RawRow, searched: &[f32], example: RememberedRow) {
        let raw = self.raw.get_or_insert_default();
        raw.numbers.extend_from_slice(&row.numbers);
        raw.vectors.extend_from_slice(&row.vectors);
        self.push_searched(searched, &row.sparse, example);
    }

    fn push_searched(&mut self, searched: &[f32], sparse: &[(u32, f32)], example: RememberedRow) {
        let place = self.len();
        self.search_by(place, searched);
        if self.n_rows_max <= ROWS_MAX && UnitValues::are_all(sparse) {
            self.units.push(sparse, place);
        } else if !sparse.is_empty() {
            self.post(sparse, place as u32);
        }
        self.squares.push(squared_length(sparse));
        self.targets.push(example.target);
        self.numbers.push(example.number.unwrap_or(0));
        self.weights.push(example.weight);
    }

    fn search_by(&mut self, place: usize, searched: &[f32]) {
        let columns = self.searched.chunks_exact_mut(self.n_rows_max);
        for (column, value) in columns.zip(searched) {
            column[place] = *value;
            let magnitude = if value.is_nan() {
                f32::INFINITY
            } else {
                value.abs()
            };
            self.farthest = self.farthest.max(magnitude);
        }
    }

    /// Searches raw rows by the features that `searched` gives for each from now on.
    pub(super) fn search_again(&mut self, searched: impl Fn(&RawRow) -> Vec<f32>) {
        self.farthest = 0.0;
        let n_rows = self.len();
        for place in 0..n_rows {
            if let Some(raw) = &self.raw {
                let row = searched(&raw.row(place, n_rows));
                self.search_by(place, &row);
            }
        }
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
    pub(super) fn distances(&self, query: &Query<'_>, out: &mut Vec<f32>) {
        let start = out.len();
        out.resize(start + self.n_rows_max, 0.0);
        let sums = &mut out[start..];
        if self.is_raw() && !query.conversions.is_empty() {
            let columns = self.searched.chunks_exact(self.n_rows_max);
            let inputs = query.raw_dense.iter().zip(query.conversions);
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for ((x, conversion), column) in inputs.zip(columns) {
                        add_converted(sums, *x, column, (*conversion, self.farthest));
                    }
                },
            );
        } else {
            let dense = if self.is_raw() {
                query.raw_dense
            } else {
                query.dense
            };
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
        }
        out.truncate(start + self.len());
        let sparse = &query.row.sparse;
        if self.postings.is_empty() && self.units.is_empty() && sparse.is_empty() {
            return;
        }
        let sums = &mut out[start..];
        let own = squared_length(sparse);
        for (sum, squares) in sums.iter_mut().zip(&self.squares) {
            *sum += own + squares;
        }
        self.units.subtract_products(sparse, sums);
        let mut rest = &self.postings[..];
        let each = sparse.iter().take_while(|_| !self.postings.is_empty());
        for (bucket, value) in each {
            rest = &rest[rest.partition_point(|one| one.bucket < *bucket)..];
            for one in rest.iter().take_while(|one| one.bucket == *bucket) {
                sums[one.place as usize] -= 2.0 * value * one.value;
            }
        }
        // Rounding may leave a little less than zero where terms cancel.
        sums.iter_mut().for_each(|sum| *sum = sum.max(0.0));
    }

    /// The squared distance of one whole row.
    pub(super) fn measure(&self, place: usize, query: &Query<'_>) -> f32 {
        let row = query.row;
        let n_dense = row.dense.len();
        let mut squared = match &self.raw {
            Some(raw) => {
                let whole = query.scales.encode(&raw.row(place, self.len()));
                squared_distance(&whole.dense, &row.dense)
            }
            None => {
                let whole = &self.whole[place * n_dense..(place + 1) * n_dense];
                squared_distance(whole, &row.dense)
            }
        };
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
        if let Some(value) = self.units.value(bucket, place) {
            return value;
        }
        let key = (bucket, place as u32);
        let found = self
            .postings
            .binary_search_by_key(&key, |one| (one.bucket, one.place));
        found.map_or(0.0, |index| self.postings[index].value)
    }

    /// Every row as it was given.
    pub(super) fn rows(&self) -> impl Iterator<Item = (StoredRow, RememberedRow)> + Clone {
        let mut sparse = vec![Vec::new(); self.len()];
        for one in &self.postings {
            sparse[one.place as usize].push((one.bucket, one.value));
        }
        for (bucket, place) in self.units.all() {
            sparse[place].push((bucket, 1.0));
        }
        let rows = sparse.into_iter().enumerate();
        let rows = rows.map(|(place, sparse)| match &self.raw {
            Some(raw) => StoredRow::Raw(RawRow {
                sparse,
                ..raw.row(place, self.len())
            }),
            None => StoredRow::Encoded(Encoded {
                past: None,
                dense: self.encoded_dense(place),
                sparse,
            }),
        });
        let examples = self.targets.iter().zip(&self.numbers).zip(&self.weights);
        let examples = examples.map(|((target, number), weight)| RememberedRow {
            target: *target,
            number: (*number != 0).then_some(*number),
            weight: *weight,
        });
        let rows: Vec<StoredRow> = rows.collect();
        rows.into_iter().zip(examples.collect::<Vec<_>>())
    }

    fn encoded_dense(&self, place: usize) -> Vec<f32> {
        match self.whole.len() / self.len().max(1) {
            0 => {
                let columns = self.searched.chunks_exact(self.n_rows_max);
                columns.map(|column| column[place]).collect()
            }
            n => self.whole[place * n..(place + 1) * n].to_vec(),
        }
    }
}

/// Adds the squared differences of an input from a column in another scale, of which no value is
/// farther from zero than `farthest`.
#[inline(always)]
fn add_converted(
    sums: &mut [f32],
    x: f32,
    column: &[f32],
    (conversion, farthest): (Conversion, f32),
) {
    let Conversion {
        factor,
        shift,
        clip,
    } = conversion;
    let apart = x - shift;
    let is_clipped = farthest * factor + shift.abs() > clip || farthest.is_infinite();
    if is_clipped {
        for (sum, value) in sums.iter_mut().zip(column) {
            // As `clamp`, whose check of its bounds keeps the loop from running in lanes.
            let z = value * factor + shift;
            let z = if z < -clip { -clip } else { z };
            let z = if z > clip { clip } else { z };
            let difference = x - if z.is_nan() { 0.0 } else { z };
            *sum += difference * difference;
        }
    } else {
        for (sum, value) in sums.iter_mut().zip(column) {
            let difference = apart - value * factor;
            *sum += difference * difference;
        }
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
