//! Rows of features by input, as they were validated.
//!
//! Invariant: every column has a value for each row.

use bytes::Bytes;

/// The values of one described input, for every row of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// `[rows]`; NaN is a gap, and stands only where the description allows gaps.
    Numbers(Vec<f64>),
    /// `[rows]`; a category or a text.
    Strings(Vec<String>),
    /// `[rows, length]`, little-endian 32-bit floats, row-major: as received, not copied.
    Vectors(Bytes),
    /// Texts, each with the output of its frozen encoder, which learning and replay use.
    Embedded {
        /// `[rows]`, as received.
        texts: Vec<String>,
        /// `[rows, length]`, as in [`Column::Vectors`].
        vectors: Bytes,
    },
}

/// Validated rows of features, by input, in the order of the description.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The number of rows, at least one.
    pub n_rows: usize,
    /// The columns, one for each described input.
    pub columns: Vec<Column>,
}

impl Batch {
    /// The one row at `row`, as a batch of its own.
    pub fn row(&self, row: usize) -> Batch {
        let columns = self.columns.iter().map(|column| match column {
            Column::Numbers(values) => Column::Numbers(vec![values[row]]),
            Column::Strings(values) => Column::Strings(vec![values[row].clone()]),
            Column::Vectors(bytes) => Column::Vectors(self.floats(bytes, row)),
            Column::Embedded { texts, vectors } => Column::Embedded {
                texts: vec![texts[row].clone()],
                vectors: self.floats(vectors, row),
            },
        });
        Batch {
            n_rows: 1,
            columns: columns.collect(),
        }
    }

    fn floats(&self, bytes: &Bytes, row: usize) -> Bytes {
        let width = bytes.len() / self.n_rows;
        bytes.slice(row * width..(row + 1) * width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_batch_keeps_its_values() {
        let floats = |values: &[f32]| {
            Bytes::from(
                values
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect::<Vec<u8>>(),
            )
        };
        let batch = Batch {
            n_rows: 2,
            columns: vec![
                Column::Numbers(vec![1.0, 2.0]),
                Column::Strings(vec!["a".into(), "b".into()]),
                Column::Vectors(floats(&[1.0, 2.0, 3.0, 4.0])),
                Column::Embedded {
                    texts: vec!["a".into(), "b".into()],
                    vectors: floats(&[5.0, 6.0]),
                },
            ],
        };
        let expected = Batch {
            n_rows: 1,
            columns: vec![
                Column::Numbers(vec![2.0]),
                Column::Strings(vec!["b".into()]),
                Column::Vectors(floats(&[3.0, 4.0])),
                Column::Embedded {
                    texts: vec!["b".into()],
                    vectors: floats(&[6.0]),
                },
            ],
        };
        assert_eq!(batch.row(1), expected);
    }
}
