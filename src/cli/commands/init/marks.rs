//! Decimal marks: whether the numbers of a column have a fraction or a thousands separator.
//!
//! Invariant: an open value is one number by a decimal point and another by a comma.

use crate::cli::rows::number::{Decimals, finite, is_ambiguous};

/// Whole numbers of three digits without a mark that show that a mark parts thousands.
const HUNDREDS_MIN: u64 = 3;

/// The decimal mark of a column, as far as its numbers decide it.
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
        if self.first[place].is_none() && is_ambiguous(text) {
            self.first[place] = Some(text.trim().to_owned());
        } else if self.n_only_here == 0 && !is_ambiguous(text) {
            // One number that decides is enough.
            let is_only = finite(text, decimals.other()).is_none();
            self.n_only_here += u64::from(is_only);
        }
    }

    /// True where numbers with the other decimal mark can be read by it: none of the column is one number
    /// by a point and another by a comma, or they are so few among `n_numbers`, of which others tell the
    /// file's mark, that it is that of the column.
    pub(super) fn can_be_read_by_either(&self, n_numbers: u64) -> bool {
        let are_few =
            self.n_only_here > 0 && self.n_only_there * 100 <= n_numbers + self.n_only_there;
        self.n_only_there > 0 && (self.first == [None, None] || are_few)
    }

    /// True where the numbers that decide have the other decimal mark than the file.
    pub(super) fn is_contradicted(&self) -> bool {
        self.n_only_there > 0 && self.n_only_here == 0
    }

    /// Adds a number that is one by the other decimal mark alone.
    pub(super) fn add_other(&mut self) {
        self.n_only_there += 1;
    }

    /// Adds a text that is no number by the decimal mark in use.
    pub(super) fn add_text(&mut self, text: &str, decimals: Decimals) {
        if text.bytes().any(|byte| matches!(byte, b'.' | b',')) {
            self.n_only_there += u64::from(finite(text, decimals.other()).is_some());
        }
    }

    /// The first open number, unless the others of the column decide it. Where a comma parts
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

/// A sentence about numbers that are read by the other decimal mark.
pub(super) fn read_by_other(n: u64) -> Option<String> {
    match n {
        0 => None,
        1 => Some("1 cell has another decimal mark than the file, and is read by it".to_owned()),
        n => Some(format!(
            "{n} cells have another decimal mark than the file, and are read by it"
        )),
    }
}

/// A sentence about numbers with both decimal marks, some of which may be either.
pub(super) fn marks_are_mixed(n_others: u64, n_numbers: u64) -> String {
    format!(
        "{n_others} cells have another decimal mark than the {n_numbers} other numbers of the column: write \
         one mark throughout, since no reader can tell 1.234 from 1,234 in it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::init::draft::DraftKind;
    use crate::cli::commands::init::tests::drafted;

    /// The kind of `x` and its remarks, in a file of semicolons whose `z` has points.
    fn drafted_beside_points(x: &dyn Fn(usize) -> String) -> (DraftKind, String) {
        let row = |n: usize| format!("{};{}.25;{}\n", x(n), n % 7, ["up", "down"][n % 2]);
        let rows: String = (0..60).map(row).collect();
        let draft = drafted(&format!("x;z;y\n{rows}"), None).unwrap();
        let input = draft.inputs.iter().find(|input| input.name == "x");
        let input = input.expect("x is an input");
        (input.kind.clone(), input.remarks.join("; "))
    }

    #[test]
    fn numbers_by_the_other_mark_are_read_where_no_number_is_open() {
        let expected = "60 cells have another decimal mark than the file, and are read by it";
        let (kind, remarks) = drafted_beside_points(&|n| format!("{n},5"));
        assert_eq!(kind, DraftKind::Number);
        assert!(remarks.contains(expected), "{remarks}");
        let by_row = |n: usize| format!("{n}{}25", [",", "."][n % 2]);
        let (kind, remarks) = drafted_beside_points(&by_row);
        assert_eq!(kind, DraftKind::Number);
        assert!(remarks.contains("30 cells have another"), "{remarks}");
        // 1.234 may be either.
        let open = |n: usize| format!("{}{}", n % 9 + 1, [",5", ".234"][n % 2]);
        let (kind, remarks) = drafted_beside_points(&open);
        assert_eq!(kind, DraftKind::Category);
        assert!(remarks.contains("write one mark throughout"), "{remarks}");
    }

    #[test]
    fn an_open_number_of_a_column_that_tells_another_mark_is_named() {
        // Of 101 numbers one decides for a comma where the rest of the file has a point.
        let row = |n: usize| {
            let x = if n == 50 {
                "12,5".to_owned()
            } else {
                format!("{}.234", n % 9 + 1)
            };
            format!("{x};{}.25;{}\n", n % 7, ["up", "down"][n % 2])
        };
        let rows: String = (0..101).map(row).collect();
        let refusal = drafted(&format!("x;z;y\n{rows}"), None).err();
        let refusal = format!("{:#}", refusal.expect("it is refused"));
        assert!(
            refusal.contains(
                "may be thousands or a fraction, and other numbers of the column have another"
            ),
            "{refusal}"
        );
    }

    #[test]
    fn a_target_by_the_other_mark_is_a_number_or_is_refused() {
        let of_targets = |y: &dyn Fn(usize) -> String| {
            let row = |n: usize| format!("{}.25;{}\n", n % 7, y(n));
            let rows: String = (0..60).map(row).collect();
            drafted(&format!("x;y\n{rows}"), None)
        };
        let draft = of_targets(&|n| format!("{n},5")).unwrap();
        assert!(draft.labels.is_empty(), "{:?}", draft.labels);
        let notes = draft.notes.join("; ");
        assert!(notes.contains("target: 60 cells have another"), "{notes}");
        let open = of_targets(&|n| format!("{n}{}", [",5", ".234"][n % 2]));
        let refusal = format!("{:#}", open.map(|_| ()).expect_err("it is refused"));
        assert!(refusal.contains("write one mark throughout"), "{refusal}");
    }

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
