//! The value of a key: the one written or the default, checked against the table of keys.
//!
//! Invariant: every refusal names the key, the value and the values that the table allows.

use std::fmt::{Debug, Display};

use crate::model::spec::error::Error;
use crate::model::spec::keys::{AllowedValues, Key};

/// A refusal whose allowed values depend on other keys.
pub(super) fn value(key: &str, value: impl Display, allowed: impl Display) -> Error {
    Error::Value {
        key: key.to_owned(),
        value: value.to_string(),
        allowed: allowed.to_string(),
    }
}

/// A refusal with the allowed values of the table.
pub(super) fn refused(key: &str, written: impl Display) -> Error {
    let allowed = format!("expected {}", Key::named(key).expected());
    value(key, written, allowed)
}

/// A refusal of a word, with the words of the table.
pub(super) fn unknown(key: &str, written: &str) -> Error {
    refused(key, format!("{written:?}"))
}

/// Whether a word is among those of the table.
pub(super) fn is_word(key: &str, written: &str) -> bool {
    match Key::named(key).values {
        AllowedValues::Words(words) => words.contains(&written),
        _ => unreachable!("{key} takes words in the table"),
    }
}

/// Refuses a key that stands where nothing reads it.
pub(super) fn not_here<T: Debug>(key: &str, written: &Option<T>, of: &str) -> Result<(), Error> {
    match written {
        None => Ok(()),
        Some(written) => {
            let allowed = format!("only {of} has it");
            Err(value(key, format!("{written:?}"), allowed))
        }
    }
}

/// The word written, or the default.
pub(super) fn word<'a>(key: &str, written: Option<&'a str>) -> &'a str {
    written.unwrap_or(Key::named(key).default)
}

/// The choice written, or the default.
pub(super) fn flag(key: &str, written: Option<bool>) -> bool {
    written.unwrap_or_else(|| {
        let default = Key::named(key).default.parse();
        default.expect("the table has true or false")
    })
}

/// A whole number within its range.
pub(super) fn count(key: &str, written: Option<u64>) -> Result<u64, Error> {
    count_or(key, written, || {
        let default = Key::named(key).default.parse();
        default.expect("the table has a whole number")
    })
}

/// A whole number whose default depends on other keys.
pub(super) fn count_or(
    key: &str,
    written: Option<u64>,
    default: impl FnOnce() -> u64,
) -> Result<u64, Error> {
    let number = written.unwrap_or_else(default);
    let AllowedValues::Count(min, max) = Key::named(key).values else {
        unreachable!("{key} is a whole number in the table");
    };
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(refused(key, number))
    }
}

/// A number within its range.
pub(super) fn number(key: &str, written: Option<f64>) -> Result<f64, Error> {
    number_or(key, written, || {
        let default = Key::named(key).default.parse();
        default.expect("the table has a number")
    })
}

/// A number whose default depends on other keys.
pub(super) fn number_or(
    key: &str,
    written: Option<f64>,
    default: impl FnOnce() -> f64,
) -> Result<f64, Error> {
    let number = written.unwrap_or_else(default);
    if Key::named(key).values.allows(number) {
        Ok(number)
    } else {
        Err(refused(key, number))
    }
}

/// A size in bytes, at least that of the table.
pub(super) fn size(key: &str, written: Option<&str>) -> Result<u64, Error> {
    let key = Key::named(key);
    let written = written.unwrap_or(key.default);
    let bytes = key.values.size(written);
    bytes.ok_or_else(|| unknown(key.name, written))
}

/// Seconds, from a time with its unit: `d`, `h`, `m` or `s`.
/// The seconds of a time that is longer than none; none where it is not stated.
pub(super) fn time_above(key: &str, written: Option<&str>) -> Result<Option<u64>, Error> {
    let Some(text) = written else {
        return Ok(None);
    };
    match time(key, written)? {
        0 => Err(value(key, format!("{text:?}"), "expected a time above 0")),
        seconds => Ok(Some(seconds)),
    }
}

pub(super) fn time(key: &str, written: Option<&str>) -> Result<u64, Error> {
    let key = Key::named(key);
    let written = written.unwrap_or(key.default);
    let seconds = key.values.seconds(written);
    seconds.ok_or_else(|| unknown(key.name, written))
}
