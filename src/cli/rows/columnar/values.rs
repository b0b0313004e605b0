//! Values of columns as cells.
//!
//! Invariant: a time is a text in RFC 3339, and a number a text that reads as the same number.

use std::fmt::{Display, LowerExp};

use anyhow::Context;
use jiff::civil::date;
use jiff::{Span, Timestamp};

/// Microseconds since 1970 in RFC 3339.
pub(in crate::cli::rows) fn time(microseconds: i64) -> anyhow::Result<String> {
    let time = Timestamp::from_microsecond(microseconds);
    Ok(time.ok().context("a time out of range")?.to_string())
}

/// Days since 1970 as a date.
pub(in crate::cli::rows) fn day(days: i32) -> anyhow::Result<String> {
    let span = Span::new().try_days(days);
    let day = span.and_then(|span| date(1970, 1, 1).checked_add(span));
    Ok(day.ok().context("a date out of range")?.to_string())
}

/// A number as a text that reads as the same number, with an exponent where it is far from one.
pub(in crate::cli::rows) fn written(number: impl Display + LowerExp, size: f64) -> String {
    if size == 0.0 || (1e-5..1e16).contains(&size.abs()) {
        number.to_string()
    } else {
        format!("{number:e}")
    }
}
