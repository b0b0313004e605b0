//! Numbers with a unit behind them, as 9.5 km.
//!
//! Invariant: a unit is taken off only where it is the known one of the column.

use super::number::{Decimals, finite, trimmed};

/// The longest unit.
const UNIT_CHARS_MAX: usize = 10;

/// The number and the unit of a text; none for any other text.
pub(crate) fn with_unit(text: &str, decimals: Decimals) -> Option<(f64, &str)> {
    let text = trimmed(text);
    let is_first = |c: char| c.is_alphabetic() || matches!(c, '\u{b0}' | '\u{b5}');
    let place = text.find(is_first)?;
    let (number, unit) = text.split_at(place);
    let is_of_unit =
        |c: char| c.is_alphanumeric() || matches!(c, '\u{b0}' | '\u{b5}' | '/' | '%' | '\u{b7}');
    let is_unit = unit.chars().count() <= UNIT_CHARS_MAX && unit.chars().all(is_of_unit);
    is_unit.then(|| Some((finite(number, decimals)?, unit)))?
}

/// A text without the unit behind its number.
pub(crate) fn without_unit<'a>(text: &'a str, unit: &str) -> &'a str {
    let number = trimmed(text).strip_suffix(unit).map(str::trim_end);
    let ends_in_digit = |number: &&str| number.ends_with(|c: char| c.is_ascii_digit());
    number.filter(ends_in_digit).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_have_a_unit() {
        let check = |text: &str, expected: Option<(f64, &str)>| {
            assert_eq!(with_unit(text, Decimals::Point), expected, "{text}");
        };
        check("9.5 km", Some((9.5, "km")));
        check(" -3\u{b0}C ", Some((-3.0, "\u{b0}C")));
        check("1,200 m2", Some((1200.0, "m2")));
        check("80 km/h", Some((80.0, "km/h")));
        for text in ["km", "9.5", "A12", "12 Main Street", "1.2.3 km", "9:30 am"] {
            check(text, None);
        }
        assert_eq!(with_unit("9,5 km", Decimals::Comma), Some((9.5, "km")));
        assert_eq!(without_unit("9.5 km", "km"), "9.5");
        assert_eq!(without_unit("9.5 km", "m"), "9.5 km");
        assert_eq!(without_unit("9.5", "km"), "9.5");
        assert_eq!(without_unit("km", "km"), "km");
    }
}
