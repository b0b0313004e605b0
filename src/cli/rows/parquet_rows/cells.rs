//! The values of a Parquet file as cells.
//!
//! Invariant: a time is a text in RFC 3339, and a number a text that reads as the same number.

use anyhow::bail;
use parquet::record::Field;

use super::super::columnar::values::{day, time, written};
use super::super::row::Cell;

/// The form of a column's values beside their type.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum ValueForm {
    Plain,
    /// Nanoseconds since 1970, which the format has as plain numbers.
    Nanoseconds,
}

/// The cell of a value.
pub(super) fn cell(field: Field, form: ValueForm) -> anyhow::Result<Cell> {
    Ok(Cell::Text(match field {
        Field::Null => String::new(),
        Field::Long(value) if form == ValueForm::Nanoseconds => time(value.div_euclid(1000))?,
        Field::Str(text) => text,
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.to_owned(),
            Err(_) => bail!("a column of bytes that are no text"),
        },
        Field::Date(days) => day(days)?,
        Field::TimestampMillis(value) => time(value.saturating_mul(1000))?,
        Field::TimestampMicros(value) => time(value)?,
        Field::Float(value) if value.is_nan() => String::new(),
        Field::Double(value) if value.is_nan() => String::new(),
        Field::ListInternal(ref list) => {
            let numbers = list.elements().iter().map(number);
            match numbers.collect::<Option<Vec<f64>>>() {
                Some(numbers) => return Ok(Cell::List(numbers)),
                None => field.to_string(),
            }
        }
        Field::Bool(value) => value.to_string(),
        Field::Float(value) => written(value, value.into()),
        Field::Double(value) => written(value, value),
        other => other.to_string(),
    }))
}

fn number(field: &Field) -> Option<f64> {
    match field {
        Field::Float(value) => Some(f64::from(*value)),
        Field::Double(value) => Some(*value),
        Field::Byte(value) => Some(f64::from(*value)),
        Field::Short(value) => Some(f64::from(*value)),
        Field::Int(value) => Some(f64::from(*value)),
        Field::Long(value) => Some(*value as f64),
        Field::UByte(value) => Some(f64::from(*value)),
        Field::UShort(value) => Some(f64::from(*value)),
        Field::UInt(value) => Some(f64::from(*value)),
        Field::ULong(value) => Some(*value as f64),
        _ => None,
    }
}
