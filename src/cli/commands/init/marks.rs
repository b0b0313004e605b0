//! Decimal marks: whether the numbers of a column tell a fraction from a thousands separator.
//!
//! Invariant: what is counted as open is one number by a decimal point and another by a comma.

use crate::cli::rows::number::{Decimals, finite, is_ambiguous};

/// Whole numbers of three digits without a mark that show that a mark parts thousands.
const HUNDREDS_MIN: u64 = 3;

/// The decimal mark of a column, as far as its numbers tell it.
#[derive(Default)]
pub(super) struct Marks {
    /// The first open number with a point, and with a comma.
    first: [Option<String>; 2],
    /// Cells that are numbers by the decimal mark in use and not by the other one.
    pub n_only_here: u64,
    /// Cells that are numbers by the other decimal mark alone.
    pub n_only_there: u64,
    /// Whole numbers without a mark of three digits, and of more.
    n_hundreds: u64,
    n_thousands: u64,
}

impl Marks {
    /// Adds a number, as it stands and as it was read.
    pub(super) fn add(&mut self, text: &str, value: f64, decimals: Decimals) {
        // One number that tells is enough.
        if self.n_only_here > 0 {
            return;
        }
        let place = match text.bytes().find(|byte| matches!(byte, b'.' | b',')) {
            None => {
                let value = value.abs();
                self.n_hundreds += u64::from((100.0..1000.0).contains(&value));
                self.n_thousands += u64::from(value >= 1000.0);
                return;
            }
            Some(b'.') => 0,
            Some(_) => 1,
        };
        if is_ambiguous(text) {
            self.first[place].get_or_insert_with(|| text.trim().to_owned());
        } else {
            let is_only = finite(text, decimals.other()).is_none();
            self.n_only_here += u64::from(is_only);
        }
    }

    /// Adds a text that is no number by the decimal mark in use.
    pub(super) fn add_text(&mut self, text: &str, decimals: Decimals) {
        if text.contains(['.', ',']) {
            self.n_only_there += u64::from(finite(text, decimals.other()).is_some());
        }
    }

    /// The first open number, unless the others of the column tell what it is. Where a comma parts
    /// the fields, and where a format has numbers of its own, only a comma within a number is open.
    pub(super) fn open(&self, is_of_commas: bool, decimals: Decimals) -> Option<&str> {
        // As in 812, 999 and 1,204: fractions of three digits would stand at all of them.
        let are_thousands =
            decimals == Decimals::Point && self.n_hundreds >= HUNDREDS_MIN && self.n_thousands == 0;
        let [point, comma] = &self.first;
        match (point, comma) {
            (Some(point), _) if !is_of_commas => Some(point),
            (_, Some(comma)) if !are_thousands => Some(comma),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_number_is_named_unless_others_tell() {
        let check = |cells: &[&str], is_of_commas, expected: Option<&str>| {
            let mut marks = Marks::default();
            for cell in cells {
                let value = finite(cell, Decimals::Point).expect(cell);
                marks.add(cell, value, Decimals::Point);
            }
            let open = marks.open(is_of_commas, Decimals::Point);
            assert_eq!(
                open.filter(|_| marks.n_only_here == 0),
                expected,
                "{cells:?}"
            );
        };
        check(&["5", "2,107"], true, Some("2,107"));
        check(&["5", "2.107"], true, None);
        check(&["5", "2.107"], false, Some("2.107"));
        check(&["1,234,567", "2,107"], true, None);
        check(&["1.5", "2,107"], true, None);
        check(&["812", "999", "104", "2,107"], true, None);
        check(&["812", "999", "1040", "2,107"], true, Some("2,107"));
        check(&["0.125", "0.250"], false, None);
    }
}
