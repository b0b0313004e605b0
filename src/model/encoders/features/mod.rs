//! From validated values to the numbers that networks compute with.
//!
//! Invariant: [`Encoder::encode`] reads, [`Encoder::observe`] learns; a row is encoded once, and
//! whatever is learned from it borrows the result.

mod encoded;
mod filters;
mod first_values;
mod scale;
mod stored_row;
mod text;
mod time;

use std::sync::Arc;

use crate::event::{Batch, Column};
use crate::model::spec::{Input, InputKind, LearnerKind, Spec, Times};
use crate::model::weights::{Error, Tensors};
pub use encoded::Encoded;
pub use filters::Filters;
use first_values::FirstValues;
pub(crate) use scale::bounded;
use scale::row_moments;
pub(crate) use scale::{Rescale, Scale};
pub(crate) use stored_row::{Conversion, Reach};
pub use stored_row::{RawRow, Scales, StoredRow};
use text::Idf;

/// The encoder of a row, with running moments of numbers and document frequencies of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    columns: Vec<ColumnEncoder>,
    n_dense: usize,
    n_buckets: usize,
    /// The filters of images, where everything that learns sees them through filters.
    filters: Option<Arc<Filters>>,
}

#[derive(Clone, Debug, PartialEq)]
enum ColumnEncoder {
    Number {
        scale: Scale,
        /// The first values; none under earlier revisions than the third, and of values that are taken as
        /// they are.
        first: Option<FirstValues>,
        gaps: bool,
    },
    Time {
        times: Times,
        /// The scale of the days elapsed.
        scale: Scale,
        /// The first values, as of a number.
        first: Option<FirstValues>,
    },
    Category {
        seed: u64,
    },
    Text {
        seed: u64,
        idf: Idf,
    },
    Vector {
        scale: Scale,
        /// The first values, as of a number.
        first: Option<FirstValues>,
        length: usize,
    },
}

impl Encoder {
    /// An encoder that has seen nothing; hashed features fall into `n_buckets`.
    pub fn new(spec: &Spec, n_buckets: usize) -> Encoder {
        let scale = spec.scale();
        let first = spec.judges_first_values().then(FirstValues::default);
        let column = |input: &Input| {
            let seed = text::hash(0, input.name.as_bytes());
            match input.kind {
                InputKind::Number { gaps } => ColumnEncoder::Number {
                    scale,
                    first: first.clone(),
                    gaps,
                },
                InputKind::Time(ref times) => ColumnEncoder::Time {
                    times: times.clone(),
                    scale: Scale::default(),
                    first: first.clone(),
                },
                InputKind::Category => ColumnEncoder::Category { seed },
                InputKind::Text => ColumnEncoder::Text {
                    seed,
                    idf: Idf::new(n_buckets),
                },
                InputKind::Vector {
                    length,
                    standardise: false,
                    ..
                } => ColumnEncoder::Vector {
                    scale: Scale::plain(),
                    first: None,
                    length,
                },
                InputKind::Vector { length, .. }
                | InputKind::Embedded { length, .. }
                | InputKind::EmbeddedVector { length, .. } => ColumnEncoder::Vector {
                    scale,
                    first: first.clone(),
                    length,
                },
            }
        };
        let columns: Vec<_> = spec.inputs.iter().map(column).collect();
        let filters = match spec.learner {
            LearnerKind::Gradient(_) | LearnerKind::Analytic(_) => Filters::new(spec).map(Arc::new),
            // Some members of a portfolio, and neighbours, see pixels.
            LearnerKind::Auto(_) | LearnerKind::Neighbours(_) => None,
        };
        let n_dense = spec.inputs.iter().map(|input| input.kind.n_dense()).sum();
        let n_filtered = filters.as_ref().map(|filters| filters.n_features());
        Encoder {
            n_dense: n_filtered.unwrap_or(n_dense),
            columns,
            n_buckets,
            filters,
        }
    }

    /// The number of dense features of a row.
    pub fn n_dense(&self) -> usize {
        self.n_dense
    }

    /// The number of buckets of hashed features; 0 where nothing is hashed.
    pub(crate) fn n_buckets(&self) -> usize {
        self.n_buckets
    }

    /// Encodes row `row` of `batch` by the scales of now.
    pub fn encode(&self, batch: &Batch, row: usize) -> Encoded {
        let mut encoded = Encoded {
            dense: Vec::with_capacity(self.n_dense),
            sparse: Vec::new(),
            past: None,
        };
        for (encoder, column) in self.columns.iter().zip(&batch.columns) {
            match (encoder, column) {
                (ColumnEncoder::Number { scale, gaps, .. }, Column::Numbers(values)) => {
                    let value = values[row];
                    encoded.dense.push(scale.standardise(value));
                    if *gaps {
                        encoded.dense.push(f32::from(u8::from(value.is_nan())));
                    }
                }
                (ColumnEncoder::Time { times, scale, .. }, Column::Strings(values)) => {
                    time::push(times, scale, &values[row], &mut encoded.dense);
                }
                (
                    ColumnEncoder::Vector { scale, length, .. },
                    Column::Vectors(bytes) | Column::Embedded { vectors: bytes, .. },
                ) => {
                    scale.standardise_all(floats(bytes, row, *length), &mut encoded.dense);
                }
                _ => self.hash(encoder, column, row, &mut encoded.sparse),
            }
        }
        merge(&mut encoded.sparse);
        if let Some(filters) = &self.filters {
            encoded.dense = filters.apply(&encoded.dense);
        }
        encoded
    }

    /// Appends the hashed features of one column.
    fn hash(
        &self,
        encoder: &ColumnEncoder,
        column: &Column,
        row: usize,
        sparse: &mut Vec<(u32, f32)>,
    ) {
        match (encoder, column) {
            (ColumnEncoder::Category { seed }, Column::Strings(values)) => {
                let hash = text::hash(*seed, values[row].as_bytes());
                sparse.push((self.bucket(hash), 1.0));
            }
            (ColumnEncoder::Text { seed, idf }, Column::Strings(values)) => {
                let buckets = self.text_buckets(*seed, &values[row]);
                idf.weigh(&buckets, sparse);
            }
            _ => unreachable!("a batch is validated against the description"),
        }
    }

    /// Row `row` of `batch` as a memory stores it.
    pub fn raw(&self, batch: &Batch, row: usize) -> RawRow {
        let mut raw = RawRow::default();
        for (encoder, column) in self.columns.iter().zip(&batch.columns) {
            match (encoder, column) {
                (ColumnEncoder::Number { .. }, Column::Numbers(values)) => {
                    raw.numbers.push(values[row]);
                }
                (ColumnEncoder::Time { times, .. }, Column::Strings(values)) => {
                    raw.numbers.push(time::days(times, &values[row]));
                    time::push_calendar(times, &values[row], &mut raw.vectors);
                }
                (
                    ColumnEncoder::Vector { length, .. },
                    Column::Vectors(bytes) | Column::Embedded { vectors: bytes, .. },
                ) => raw.vectors.extend(floats(bytes, row, *length)),
                _ => self.hash(encoder, column, row, &mut raw.sparse),
            }
        }
        merge(&mut raw.sparse);
        raw
    }

    /// The scales of the dense inputs as they are now.
    pub fn scales(&self) -> Scales {
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            match *column {
                ColumnEncoder::Number { scale, gaps, .. } => {
                    columns.push(stored_row::DenseColumn::Number { scale, gaps });
                }
                ColumnEncoder::Time {
                    ref times, scale, ..
                } => {
                    columns.push(stored_row::DenseColumn::Number { scale, gaps: false });
                    columns.push(stored_row::DenseColumn::Vector {
                        scale: Scale::plain(),
                        length: time::n_calendar(times),
                    });
                }
                ColumnEncoder::Vector { scale, length, .. } => {
                    columns.push(stored_row::DenseColumn::Vector { scale, length });
                }
                ColumnEncoder::Category { .. } | ColumnEncoder::Text { .. } => {}
            }
        }
        Scales::new(columns).through(self.filters.clone())
    }

    /// Learns the moments and frequencies of row `row` of `batch`.
    pub fn observe(&mut self, batch: &Batch, row: usize) {
        let n_buckets = self.n_buckets as u64;
        for (encoder, column) in self.columns.iter_mut().zip(&batch.columns) {
            match (encoder, column) {
                (ColumnEncoder::Number { scale, first, .. }, Column::Numbers(values)) => {
                    observe(scale, first, values[row]);
                }
                (
                    ColumnEncoder::Time {
                        times,
                        scale,
                        first,
                    },
                    Column::Strings(values),
                ) => {
                    observe(scale, first, time::days(times, &values[row]));
                }
                (
                    ColumnEncoder::Vector {
                        scale,
                        first,
                        length,
                    },
                    Column::Vectors(bytes) | Column::Embedded { vectors: bytes, .. },
                ) => {
                    let values = floats(bytes, row, *length);
                    observe_moments(scale, first, row_moments(values, *length));
                }
                (ColumnEncoder::Text { seed, idf }, Column::Strings(values)) => {
                    let mut buckets = text::hashes(*seed, &values[row]);
                    buckets.iter_mut().for_each(|hash| *hash %= n_buckets);
                    idf.observe(buckets);
                }
                _ => {}
            }
        }
    }

    fn bucket(&self, hash: u64) -> u32 {
        (hash % self.n_buckets as u64) as u32
    }

    fn text_buckets(&self, seed: u64, text: &str) -> Vec<u32> {
        let hashes = text::hashes(seed, text);
        hashes.into_iter().map(|hash| self.bucket(hash)).collect()
    }

    /// `<column>.moments` F64 for numbers and vectors, `<column>.documents` and a table for texts.
    pub fn save(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (index, column) in self.columns.iter().enumerate() {
            match column {
                ColumnEncoder::Number { scale, first, .. }
                | ColumnEncoder::Time { scale, first, .. }
                | ColumnEncoder::Vector { scale, first, .. } => {
                    scale.save(&format!("{index}.moments"), &mut tensors);
                    if let Some(first) = first {
                        first.save(&format!("{index}.first"), &mut tensors);
                    }
                }
                ColumnEncoder::Text { idf, .. } => tensors.nest(&index.to_string(), idf.save()),
                ColumnEncoder::Category { .. } => {}
            }
        }
        tensors
    }

    /// Reads the state that [`Encoder::save`] wrote.
    ///
    /// # Errors
    /// When the tensors are not of this description.
    pub fn load(spec: &Spec, n_buckets: usize, tensors: &mut Tensors) -> Result<Encoder, Error> {
        let mut encoder = Encoder::new(spec, n_buckets);
        for (index, column) in encoder.columns.iter_mut().enumerate() {
            match column {
                ColumnEncoder::Number { scale, first, .. }
                | ColumnEncoder::Time { scale, first, .. }
                | ColumnEncoder::Vector { scale, first, .. } => {
                    *scale = Scale::load(&format!("{index}.moments"), tensors)?;
                    *first = FirstValues::load(&format!("{index}.first"), tensors)?;
                }
                ColumnEncoder::Text { idf, .. } => {
                    *idf = Idf::load(n_buckets, &mut tensors.unnest(&index.to_string()))?;
                }
                ColumnEncoder::Category { .. } => {}
            }
        }
        Ok(encoder)
    }
}

impl Spec {
    /// The scale of a column that was not seen yet: a network that arrives trained takes numbers as they
    /// were where it was trained.
    pub fn scale(&self) -> Scale {
        match self.weights() {
            Some(_) => Scale::plain(),
            None => Scale::default(),
        }
    }
}

/// Learns one value of a column, unless it is a gap.
fn observe(scale: &mut Scale, first: &mut Option<FirstValues>, value: f64) {
    if !value.is_nan() {
        observe_moments(scale, first, [bounded(value), 0.0]);
    }
}

/// Learns a row of this mean and variance within.
fn observe_moments(scale: &mut Scale, first: &mut Option<FirstValues>, moments: [f64; 2]) {
    match first {
        Some(first) => first.learn(moments, scale),
        None => scale.observe_row(moments),
    }
}

/// The floats of row `row` in a column of vectors.
pub(crate) fn floats(bytes: &[u8], row: usize, length: usize) -> impl Iterator<Item = f32> + Clone {
    let width = length * size_of::<f32>();
    bytes[row * width..(row + 1) * width]
        .chunks_exact(size_of::<f32>())
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

/// Sorts by bucket and adds up the values of the same one.
fn merge(sparse: &mut Vec<(u32, f32)>) {
    sparse.sort_by_key(|(bucket, _)| *bucket);
    sparse.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// The number of buckets of the hashed features of `spec` when each has `row_len` weights: as many as fit
/// into 512 MiB if all were written, between 2^10 and 2^18; none where nothing is hashed.
pub(crate) fn n_buckets(spec: &Spec, row_len: usize) -> usize {
    let hashed = |input: &Input| matches!(input.kind, InputKind::Category | InputKind::Text);
    if !spec.inputs.iter().any(hashed) {
        return 0;
    }
    let fit = (1usize << 27) / row_len.max(1);
    let power = fit.max(1).ilog2().clamp(10, 18);
    1 << power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(inputs: &str) -> Encoder {
        let spec = Spec::parse(&format!("task = \"regression\"\n{inputs}")).unwrap();
        Encoder::new(&spec, 1 << 18)
    }

    fn batch(columns: Vec<Column>) -> Batch {
        Batch { n_rows: 1, columns }
    }

    #[test]
    fn a_gap_is_the_mean_with_an_indicator() {
        let mut encoder =
            encoder("[[input]]\nname = \"x\"\nkind = \"number\"\nmissing = \"mean\"\n");
        for value in [1.0, f64::NAN, 3.0] {
            encoder.observe(&batch(vec![Column::Numbers(vec![value])]), 0);
        }
        let check = |value: f64, expected: [f32; 2]| {
            let encoded = encoder.encode(&batch(vec![Column::Numbers(vec![value])]), 0);
            assert_eq!(encoded.dense, expected, "{value}");
        };
        check(f64::NAN, [0.0, 1.0]);
        check(2.0, [0.0, 0.0]);
        check(3.0, [1.0, 0.0]);
    }

    #[test]
    fn categories_of_two_inputs_do_not_meet() {
        let encoder = encoder(
            "[[input]]\nname = \"a\"\nkind = \"category\"\n\
             [[input]]\nname = \"b\"\nkind = \"category\"\n",
        );
        let strings = |value: &str| Column::Strings(vec![value.to_owned()]);
        let encoded = encoder.encode(&batch(vec![strings("x"), strings("x")]), 0);
        assert_eq!(encoded.sparse.len(), 2);
        assert!(encoded.sparse[0].0 < encoded.sparse[1].0);
    }

    #[test]
    fn a_vector_keeps_its_geometry() {
        let mut encoder = encoder("[[input]]\nname = \"v\"\nkind = \"vector\"\nlength = 2\n");
        let vector = |values: [f32; 2]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            batch(vec![Column::Vectors(bytes.into())])
        };
        encoder.observe(&vector([1.0, 3.0]), 0);
        assert_eq!(encoder.encode(&vector([1.0, 3.0]), 0).dense, [-1.0, 1.0]);
        assert_eq!(encoder.encode(&vector([2.0, 4.0]), 0).dense, [0.0, 2.0]);
    }

    #[test]
    fn a_vector_can_be_taken_as_it_is() {
        let input = "[[input]]\nname = \"v\"\nkind = \"vector\"\nlength = 2\n";
        let mut encoder = encoder(&format!("{input}standardise = false\n"));
        let bytes = [0.0f32, 3.5].map(f32::to_le_bytes).concat();
        let vector = batch(vec![Column::Vectors(bytes.into())]);
        encoder.observe(&vector, 0);
        assert_eq!(encoder.encode(&vector, 0).dense, [0.0, 3.5]);
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let inputs = "task = \"regression\"\n[[input]]\nname = \"x\"\nkind = \"number\"\n\
                      [[input]]\nname = \"t\"\nkind = \"text\"\n";
        let spec = Spec::parse(inputs).unwrap();
        let mut encoder = Encoder::new(&spec, 1 << 12);
        let text = Column::Strings(vec!["the card did not arrive".to_owned()]);
        encoder.observe(&batch(vec![Column::Numbers(vec![2.5]), text]), 0);
        let loaded = Encoder::load(&spec, 1 << 12, &mut encoder.save()).unwrap();
        assert_eq!(loaded, encoder);
    }

    #[test]
    fn wide_rows_get_fewer_buckets() {
        let check = |kind: &str, row_len: usize, expected: usize| {
            let toml = format!("task = \"regression\"\n[[input]]\nname = \"x\"\nkind = {kind:?}\n");
            let spec = Spec::parse(&toml).unwrap();
            assert_eq!(n_buckets(&spec, row_len), expected, "{kind} {row_len}");
        };
        check("text", 7, 1 << 18);
        check("category", 539, 1 << 17);
        check("text", 1 << 26, 1 << 10);
        check("number", 7, 0);
    }
}
