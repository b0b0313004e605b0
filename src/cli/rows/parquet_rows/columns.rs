//! The columns of a Parquet file without lists and groups, read side by side.
//!
//! Invariant: a column holds [`VALUES`] of its values at most, as its page has them; a cell is made when
//! its row is.

use std::mem::take;

use anyhow::{Context, ensure};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::RowGroupReader;
use parquet::record::Field;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::super::row::{Cell, Row};
use super::cells::{ValueForm, cell};

/// Values of a column that are read at a time.
const VALUES: usize = 1024;

/// The cells of a column, one after the other.
type ParquetColumn = Box<dyn FnMut() -> anyhow::Result<Cell>>;

/// The rows of one row group.
pub(super) struct Columns {
    columns: Vec<ParquetColumn>,
}

/// True of a schema in which each column is one value a row.
pub(super) fn is_flat(schema: &SchemaDescriptor) -> bool {
    let fields = schema.root_schema().get_fields();
    let no_lists = |column: &ColumnDescPtr| column.max_rep_level() == 0;
    fields.iter().all(|field| field.is_primitive()) && schema.columns().iter().all(no_lists)
}

impl Columns {
    /// Begins to read a row group of a flat schema.
    pub(super) fn new(group: &dyn RowGroupReader, forms: &[ValueForm]) -> anyhow::Result<Columns> {
        let descriptions = group.metadata().schema_descr().columns().to_vec();
        let columns = descriptions.into_iter().zip(forms).enumerate();
        let columns = columns.map(|(place, (description, form))| {
            let reader = group.get_column_reader(place)?;
            Ok(column(reader, description, *form))
        });
        Ok(Columns {
            columns: columns.collect::<anyhow::Result<_>>()?,
        })
    }

    /// The next row, of this number.
    pub(super) fn row(&mut self, line: u64) -> anyhow::Result<Row> {
        let cells = self.columns.iter_mut().map(|next| next());
        Ok(Row {
            line,
            cells: cells.collect::<anyhow::Result<_>>()?,
        })
    }
}

fn column(reader: ColumnReader, description: ColumnDescPtr, form: ValueForm) -> ParquetColumn {
    use ColumnReader::*;
    match reader {
        BoolColumnReader(reader) => cells(reader, description, form, |of, value| {
            Ok(Field::convert_bool(of, value))
        }),
        Int32ColumnReader(reader) => cells(reader, description, form, |of, value| {
            Ok(Field::convert_int32(of, value))
        }),
        Int64ColumnReader(reader) => cells(reader, description, form, |of, value| {
            Ok(Field::convert_int64(of, value))
        }),
        Int96ColumnReader(reader) => cells(reader, description, form, |of, value| {
            Ok(Field::convert_int96(of, value))
        }),
        FloatColumnReader(reader) => cells(reader, description, form, |of, value| {
            Ok(Field::convert_float(of, value))
        }),
        DoubleColumnReader(reader) => cells(reader, description, form, |of, value| {
            Ok(Field::convert_double(of, value))
        }),
        ByteArrayColumnReader(reader) => {
            cells(reader, description, form, Field::convert_byte_array)
        }
        FixedLenByteArrayColumnReader(reader) => cells(reader, description, form, |of, value| {
            Field::convert_byte_array(of, value.into())
        }),
    }
}

/// The cells of a column of one type.
fn cells<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    description: ColumnDescPtr,
    form: ValueForm,
    convert: fn(&ColumnDescPtr, T::T) -> Result<Field, ParquetError>,
) -> ParquetColumn {
    let whole = description.max_def_level();
    let (mut values, mut levels) = (Vec::with_capacity(VALUES), Vec::with_capacity(VALUES));
    // The rows that were read, and those of them, and of their values, that were handed on.
    let (mut n_rows, mut n_taken, mut n_values_taken) = (0, 0, 0);
    Box::new(move || {
        if n_taken == n_rows {
            values.clear();
            levels.clear();
            (n_rows, _, _) = reader.read_records(VALUES, Some(&mut levels), None, &mut values)?;
            (n_taken, n_values_taken) = (0, 0);
            ensure!(n_rows > 0, "a column that ends before the others");
        }
        n_taken += 1;
        if whole > 0 && levels.get(n_taken - 1).is_some_and(|level| *level < whole) {
            return Ok(Cell::Text(String::new()));
        }
        let value = values.get_mut(n_values_taken).map(take);
        n_values_taken += 1;
        let value = value.context("a column with fewer values than rows")?;
        cell(convert(&description, value)?, form)
    })
}
