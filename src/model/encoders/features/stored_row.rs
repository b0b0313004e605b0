//! Rows that a memory stores raw, and the scales that standardise them when they are used.
//!
//! The scale of a column moves, most over the first rows and where a stream changes level. A row
//! that was stored standardised stays where it stood then; a raw row is standardised by the scales of
//! the moment it is compared or replayed. Hashed features are in no scale and are stored as they are.
//!
//! Invariant: equal raw rows under equal scales give equal bits, whenever they were stored.

use std::borrow::Cow;
use std::sync::Arc;

use super::encoded::Encoded;
use super::filters::Filters;
use super::scale::Scale;
use crate::model::weights::{Error, Tensors};

/// A row before its dense inputs are standardised.
#[derive(Clone, Debug, Default)]
pub struct RawRow {
    /// The values of the number columns; NaN for a gap.
    pub numbers: Vec<f64>,
    /// The components of the vector columns.
    pub vectors: Vec<f32>,
    /// Hashed features, as in [`Encoded`].
    pub sparse: Vec<(u32, f32)>,
}

impl PartialEq for RawRow {
    /// Equality by bits: a gap equals a gap.
    fn eq(&self, other: &RawRow) -> bool {
        let bits = |row: &RawRow| -> Vec<u64> { row.numbers.iter().map(|x| x.to_bits()).collect() };
        bits(self) == bits(other) && self.vectors == other.vectors && self.sparse == other.sparse
    }
}

impl RawRow {
    /// The bytes of its values.
    pub fn n_bytes(&self) -> usize {
        8 * self.numbers.len() + 4 * self.vectors.len() + 8 * self.sparse.len()
    }
}

/// A row in a memory.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredRow {
    /// The row as it was standardised when it came: under earlier revisions of the learning rules than the
    /// third.
    Encoded(Encoded),
    /// Raw.
    Raw(RawRow),
}

impl From<Encoded> for StoredRow {
    fn from(row: Encoded) -> StoredRow {
        StoredRow::Encoded(row)
    }
}

impl From<RawRow> for StoredRow {
    fn from(row: RawRow) -> StoredRow {
        StoredRow::Raw(row)
    }
}

impl StoredRow {
    /// The row as these scales standardise it.
    pub fn encoded(&self, scales: &Scales) -> Cow<'_, Encoded> {
        match self {
            StoredRow::Encoded(row) => Cow::Borrowed(row),
            StoredRow::Raw(row) => Cow::Owned(scales.encode(row)),
        }
    }

    /// The hashed features.
    pub fn sparse(&self) -> &[(u32, f32)] {
        match self {
            StoredRow::Encoded(row) => &row.sparse,
            StoredRow::Raw(row) => &row.sparse,
        }
    }

    /// The hashed features, to be set.
    pub(crate) fn sparse_mut(&mut self) -> &mut Vec<(u32, f32)> {
        match self {
            StoredRow::Encoded(row) => &mut row.sparse,
            StoredRow::Raw(row) => &mut row.sparse,
        }
    }

    /// The bytes of its values.
    pub fn n_bytes(&self) -> usize {
        match self {
            StoredRow::Encoded(row) => 4 * row.dense.len() + 8 * row.sparse.len(),
            StoredRow::Raw(row) => row.n_bytes(),
        }
    }
}

/// The scales of the columns with dense inputs, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    columns: Vec<DenseColumn>,
    /// The filters of images, before which inputs are standardised.
    filters: Option<Arc<Filters>>,
    /// The factor on every dense feature.
    factor: f32,
}

/// The count of a plain scale, as it is saved.
const PLAIN: f64 = -1.0;

/// A column with dense inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DenseColumn {
    Number { scale: Scale, gaps: bool },
    Vector { scale: Scale, length: usize },
}

impl DenseColumn {
    fn scale(&self) -> &Scale {
        match self {
            DenseColumn::Number { scale, .. } | DenseColumn::Vector { scale, .. } => scale,
        }
    }
}

/// The conversion of a value from one scale to another, and its bound there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Conversion {
    pub factor: f32,
    pub shift: f32,
    pub clip: f32,
}

/// The largest distance of two scales: that of their means in deviations, and the proportion of their
/// deviations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub mean: f64,
    pub proportion: f64,
}

impl Default for Scales {
    /// The scales of rows without dense inputs.
    fn default() -> Scales {
        Scales::new(Vec::new())
    }
}

impl Scales {
    pub(super) fn new(columns: Vec<DenseColumn>) -> Scales {
        Scales {
            columns,
            filters: None,
            factor: 1.0,
        }
    }

    /// The scales behind which images are filtered.
    pub fn through(self, filters: Option<Arc<Filters>>) -> Scales {
        Scales { filters, ..self }
    }

    /// The scales with a factor on every dense feature.
    pub fn times(&self, factor: f32) -> Scales {
        Scales {
            factor,
            ..self.clone()
        }
    }

    /// The row as these scales standardise it.
    pub fn encode(&self, row: &RawRow) -> Encoded {
        let mut dense = Vec::with_capacity(2 * row.numbers.len() + row.vectors.len());
        let (mut numbers, mut vectors) = (&row.numbers[..], &row.vectors[..]);
        for column in &self.columns {
            match column {
                DenseColumn::Number { scale, gaps } => {
                    let Some((value, rest)) = numbers.split_first() else {
                        break;
                    };
                    dense.push(scale.standardise(*value));
                    if *gaps {
                        dense.push(f32::from(u8::from(value.is_nan())));
                    }
                    numbers = rest;
                }
                DenseColumn::Vector { scale, length } => {
                    let (values, rest) = vectors.split_at(*length);
                    scale.standardise_all(values.iter().copied(), &mut dense);
                    vectors = rest;
                }
            }
        }
        if let Some(filters) = &self.filters {
            dense = filters.apply(&dense);
        }
        if self.factor != 1.0 {
            dense.iter_mut().for_each(|value| *value *= self.factor);
        }
        Encoded {
            past: None,
            dense,
            sparse: row.sparse.clone(),
        }
    }

    /// Appends the dense inputs of a row in these scales, clipped only so far out that nothing is lost
    /// in a scale that is near; a gap is NaN.
    pub(crate) fn append_distances(&self, row: &RawRow, into: &mut Vec<f32>) {
        let (mut numbers, mut vectors) = (row.numbers.iter(), row.vectors.iter());
        for column in &self.columns {
            match column {
                DenseColumn::Number { scale, gaps } => {
                    let value = numbers.next().copied().unwrap_or(f64::NAN);
                    into.push(scale.distance(value));
                    if *gaps {
                        into.push(f32::from(u8::from(value.is_nan())));
                    }
                }
                DenseColumn::Vector { scale, length } => {
                    let values = vectors.by_ref().take(*length);
                    into.extend(values.map(|value| scale.distance(f64::from(*value))));
                }
            }
        }
    }

    /// For each dense input, how it is converted from this scale to that of `now`.
    pub(crate) fn conversions(&self, now: &Scales) -> Vec<Conversion> {
        const SAME: Conversion = Conversion {
            factor: 1.0,
            shift: 0.0,
            clip: f32::INFINITY,
        };
        let mut conversions = Vec::new();
        for (then, now) in self.columns.iter().zip(&now.columns) {
            let (factor, shift) = then.scale().conversion(now.scale());
            let conversion = Conversion {
                factor,
                shift,
                clip: now.scale().clip_at(),
            };
            match now {
                DenseColumn::Number { gaps, .. } => {
                    conversions.push(conversion);
                    conversions.extend(gaps.then_some(SAME));
                }
                DenseColumn::Vector { length, .. } => {
                    conversions.extend(std::iter::repeat_n(conversion, *length));
                }
            }
        }
        conversions
    }

    /// True if a column in so many, or the only one, is beyond this reach of its scale now.
    pub(crate) fn are_beyond(&self, reach: Reach, now: &Scales, one_of: usize) -> bool {
        let pairs = self.columns.iter().zip(&now.columns);
        let is_beyond = |(then, now): &(&DenseColumn, &DenseColumn)| {
            then.scale()
                .is_beyond(now.scale(), reach.mean, reach.proportion)
        };
        let n_beyond = pairs.filter(is_beyond).count();
        n_beyond > self.columns.len() / one_of
    }

    /// The scales by their means and deviations alone.
    pub(crate) fn fixed(&self) -> Scales {
        let fixed = |column: &DenseColumn| match *column {
            DenseColumn::Number { scale, gaps } => DenseColumn::Number {
                scale: scale.fixed(),
                gaps,
            },
            DenseColumn::Vector { scale, length } => DenseColumn::Vector {
                scale: scale.fixed(),
                length,
            },
        };
        Scales::new(self.columns.iter().map(fixed).collect())
    }

    /// F64 `name` `[columns, 3]`: count, mean and variance; the count of a plain scale, which is infinite,
    /// is -1.
    pub(crate) fn save(&self, name: &str, tensors: &mut Tensors) {
        let finite = |x: f64| if x.is_finite() { x } else { PLAIN };
        let numbers = self.columns.iter().flat_map(|one| one.scale().numbers());
        let numbers: Vec<f64> = numbers.map(finite).collect();
        tensors.put_f64(name, &[self.columns.len(), 3], numbers);
    }

    /// Reads the state that [`Scales::save`] wrote of scales like these.
    pub(crate) fn load(&self, name: &str, tensors: &mut Tensors) -> Result<Scales, Error> {
        let n = self.columns.len();
        let numbers = tensors.take_f64(name, &[Some(n), Some(3)])?;
        let mut loaded = self.fixed();
        let (rows, _) = numbers.as_chunks::<3>();
        for (column, numbers) in loaded.columns.iter_mut().zip(rows) {
            match column {
                DenseColumn::Number { scale, .. } | DenseColumn::Vector { scale, .. } => {
                    *scale = match *numbers {
                        [PLAIN, ..] => Scale::plain(),
                        numbers => Scale::of_numbers(numbers),
                    };
                }
            }
        }
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Encoder;
    use super::*;
    use crate::event::{self, Batch};
    use crate::model::spec::Spec;

    fn encoder() -> Encoder {
        let inputs = "task = \"regression\"\n\
             [[input]]\nname = \"x\"\nkind = \"number\"\nmissing = \"mean\"\n\
             [[input]]\nname = \"v\"\nkind = \"vector\"\nlength = 2\n\
             [[input]]\nname = \"c\"\nkind = \"category\"\n";
        Encoder::new(&Spec::parse(inputs).expect("a description"), 1 << 10)
    }

    fn batch(value: f64, vector: [f32; 2]) -> Batch {
        let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        Batch {
            n_rows: 1,
            columns: vec![
                event::Column::Numbers(vec![value]),
                event::Column::Vectors(bytes.into()),
                event::Column::Strings(vec!["a".to_owned()]),
            ],
        }
    }

    #[test]
    fn a_raw_row_is_what_encoding_it_now_gives() {
        let mut encoder = encoder();
        let rows = [
            batch(1.0, [0.0, 5.0]),
            batch(f64::NAN, [1.0, -3.0]),
            batch(1e9, [2.0, 2.0]),
        ];
        let raw: Vec<RawRow> = rows.iter().map(|row| encoder.raw(row, 0)).collect();
        for turn in 0..200 {
            encoder.observe(&batch(f64::from(turn % 7), [turn as f32, 1.0]), 0);
            let scales = encoder.scales();
            for (row, raw) in rows.iter().zip(&raw) {
                assert_eq!(scales.encode(raw), encoder.encode(row, 0));
                assert_eq!(
                    scales.times(0.5).encode(raw).dense[0],
                    0.5 * encoder.encode(row, 0).dense[0]
                );
            }
        }
        assert_eq!(raw[1], raw[1].clone(), "a gap equals a gap");
    }

    #[test]
    fn a_row_in_an_earlier_scale_converts_to_the_scale_of_now() {
        let mut encoder = encoder();
        (0..50).for_each(|i| encoder.observe(&batch(f64::from(i), [0.0, i as f32]), 0));
        let then = encoder.scales().fixed();
        (0..50).for_each(|i| encoder.observe(&batch(f64::from(2 * i), [1.0, i as f32]), 0));
        let now = encoder.scales();
        let raw = encoder.raw(&batch(33.0, [4.0, 40.0]), 0);
        let mut distances = Vec::new();
        then.append_distances(&raw, &mut distances);
        let conversions = then.conversions(&now);
        assert_eq!(conversions.len(), distances.len());
        let converted = distances.iter().zip(&conversions).map(|(r, one)| {
            let z = r * one.factor + one.shift;
            z.clamp(-one.clip, one.clip)
        });
        for (converted, encoded) in converted.zip(now.encode(&raw).dense) {
            assert!((converted - encoded).abs() < 1e-5);
        }
        let mut saved = Tensors::default();
        then.save("then", &mut saved);
        assert_eq!(now.load("then", &mut saved), Ok(then.clone()));
        let reach = |mean| Reach {
            mean,
            proportion: 100.0,
        };
        assert!(then.are_beyond(reach(0.01), &now, 16));
        assert!(!then.are_beyond(reach(50.0), &now, 16));
    }
}
