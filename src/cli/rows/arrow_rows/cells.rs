//! The values of Arrow arrays as cells.

use anyhow::{bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal128Type, DecimalType, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, TimeUnit};

use super::super::columnar::values::{day, time, written};
use super::super::row::{Cell, quoted};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Refuses a column whose values are no cells.
pub(super) fn check(field: &Field) -> anyhow::Result<()> {
    let ok = match field.data_type() {
        DataType::Dictionary(_, values) => is_plain(values),
        DataType::List(values) | DataType::LargeList(values) => is_number(values.data_type()),
        DataType::FixedSizeList(values, _) => is_number(values.data_type()),
        other => is_plain(other),
    };
    let (name, kind) = (quoted(field.name()), field.data_type());
    ensure!(
        ok,
        "column {name} holds {kind}, which is no number, text, time or list of numbers"
    );
    Ok(())
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_floating()
}

fn is_plain(kind: &DataType) -> bool {
    use DataType::*;
    is_number(kind)
        || matches!(
            kind,
            Null | Boolean
                | Utf8
                | LargeUtf8
                | Utf8View
                | Binary
                | LargeBinary
                | Date32
                | Date64
                | Timestamp(..)
                | Decimal128(..)
        )
}

/// The cells of a column of a batch.
pub(super) struct ArrowColumn<'a> {
    array: &'a dyn Array,
    /// Each row's place among the values of a dictionary, and these values.
    coded: Option<(Vec<usize>, &'a dyn Array)>,
}

impl<'a> ArrowColumn<'a> {
    pub(super) fn new(array: &'a ArrayRef) -> ArrowColumn<'a> {
        let dictionary = array.as_any_dictionary_opt();
        // Without values every row is a gap.
        let dictionary = dictionary.filter(|dictionary| !dictionary.values().is_empty());
        ArrowColumn {
            array,
            coded: dictionary
                .map(|dictionary| (dictionary.normalized_keys(), dictionary.values().as_ref())),
        }
    }

    /// The cell of a row.
    pub(super) fn cell(&self, row: usize) -> anyhow::Result<Cell> {
        if self.array.is_null(row) {
            return Ok(Cell::Text(String::new()));
        }
        match &self.coded {
            Some((places, values)) => cell(*values, places[row]),
            None => cell(self.array, row),
        }
    }
}

fn cell(array: &dyn Array, row: usize) -> anyhow::Result<Cell> {
    let elements = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => return Ok(Cell::Text(text(array, row)?)),
    };
    let numbers = (0..elements.len()).map(|place| {
        let text = text(&elements, place)?;
        // A gap among them is a number that is none.
        Ok(text.parse().unwrap_or(f64::NAN))
    });
    Ok(Cell::List(numbers.collect::<anyhow::Result<_>>()?))
}

fn text(array: &dyn Array, row: usize) -> anyhow::Result<String> {
    use DataType::*;
    if array.is_null(row) {
        return Ok(String::new());
    }
    Ok(match array.data_type() {
        Null => String::new(),
        Boolean => array.as_boolean().value(row).to_string(),
        Int8 => whole::<Int8Type>(array, row),
        Int16 => whole::<Int16Type>(array, row),
        Int32 => whole::<Int32Type>(array, row),
        Int64 => whole::<Int64Type>(array, row),
        UInt8 => whole::<UInt8Type>(array, row),
        UInt16 => whole::<UInt16Type>(array, row),
        UInt32 => whole::<UInt32Type>(array, row),
        UInt64 => whole::<UInt64Type>(array, row),
        Float16 => number(array.as_primitive::<Float16Type>().value(row).into()),
        Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            if value.is_nan() {
                String::new()
            } else {
                written(value, value.into())
            }
        }
        Float64 => number(array.as_primitive::<Float64Type>().value(row)),
        Decimal128(precision, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            Decimal128Type::format_decimal(value, *precision, *scale)
        }
        Utf8 => array.as_string::<i32>().value(row).to_owned(),
        LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        Utf8View => array.as_string_view().value(row).to_owned(),
        Binary => bytes(array.as_binary::<i32>().value(row))?,
        LargeBinary => bytes(array.as_binary::<i64>().value(row))?,
        Date32 => day(primitive::<Date32Type>(array, row))?,
        Date64 => day(i32::try_from(
            primitive::<Date64Type>(array, row).div_euclid(DAY),
        )?)?,
        Timestamp(unit, _) => time(microseconds(*unit, array, row))?,
        other => bail!("a value of {other}"),
    })
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn whole<T: ArrowPrimitiveType<Native: ToString>>(array: &dyn Array, row: usize) -> String {
    primitive::<T>(array, row).to_string()
}

fn number(value: f64) -> String {
    if value.is_nan() {
        return String::new();
    }
    written(value, value)
}

fn bytes(bytes: &[u8]) -> anyhow::Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => bail!("a column of bytes that are no text"),
    }
}

fn microseconds(unit: TimeUnit, array: &dyn Array, row: usize) -> i64 {
    let second = 1_000_000;
    match unit {
        TimeUnit::Second => primitive::<TimestampSecondType>(array, row).saturating_mul(second),
        TimeUnit::Millisecond => {
            primitive::<TimestampMillisecondType>(array, row).saturating_mul(1000)
        }
        TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(array, row),
        TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(array, row).div_euclid(1000),
    }
}
