//! One column on its own: what it holds, and whether a model should see it.
//!
//! Invariant: nothing is left out for being unusual, only for telling nothing or telling too much.

use super::column_stats::{Look, N_DISTINCT_MAX};
use super::description::{shown, shown_range};
use super::{Input, Kind, Task};

/// From so many words in a value, on average, a column is text.
const TEXT_WORDS_MIN: u64 = 3;
/// In fewer rows than these, distinct values are no evidence of a row id.
const ROW_ID_ROWS_MIN: u64 = 20;
/// In fewer rows than these, neither is a number that goes up by one.
const ROW_NUMBER_ROWS_MIN: u64 = 3;

/// Why a column should be left out, if it should.
pub fn flaw(look: &Look, task: Task, n_rows: u64) -> Option<String> {
    if look.name.is_empty() {
        return Some("it has no name".into());
    }
    if look.n_lists > 0 {
        let is_vector = look.n_lists == n_rows && look.list_length.is_some_and(|n| n > 0);
        return (!is_vector).then(|| "lists, but not of one length in every row".into());
    }
    if let Some(value) = constant(look) {
        return Some(value);
    }
    if look.likeness.is_equal() {
        return Some("a copy of the target".into());
    }
    if task != Task::Regression && look.likeness.is_renaming() {
        return Some("a copy of the target under other names".into());
    }
    match (look.counts_from, kind(look)) {
        (Some(first), _) if n_rows >= ROW_NUMBER_ROWS_MIN => Some(format!(
            "a row id ({first}, {}, {}, ...)",
            first + 1,
            first + 2
        )),
        // Among numbers, one stray text must not make distinct values an id.
        (_, Kind::Category)
            if n_rows >= ROW_ID_ROWS_MIN
                && !look.distinct.has_repeated()
                && look.n_texts >= look.n_numbers =>
        {
            Some("a row id (every value is distinct)".into())
        }
        _ => None,
    }
}

/// What every row holds, if it is one value or none.
pub fn constant(look: &Look) -> Option<String> {
    match (kind(look), look.range, &look.first_text) {
        (Kind::Number, None, _) => Some("it has no value in any row".into()),
        (Kind::Number, Some((min, max)), _) if min == max => {
            let or_a_gap = if look.n_gaps > 0 { " or a gap" } else { "" };
            Some(format!("constant ({}{or_a_gap})", shown(min)))
        }
        (Kind::Category | Kind::Text, _, Some(text)) if look.distinct.count() == Some(1) => {
            Some(format!("constant ({text})"))
        }
        _ => None,
    }
}

/// What the values are; a column of nothing but gaps counts as numbers.
fn kind(look: &Look) -> Kind {
    let n_values = look.n_numbers + look.n_texts;
    match look.list_length {
        Some(length) if look.n_lists > 0 => Kind::Vector(length),
        _ if look.n_texts == 0 => Kind::Number,
        _ if look.n_words >= TEXT_WORDS_MIN * n_values => Kind::Text,
        _ => Kind::Category,
    }
}

/// The input that a column makes.
pub fn input(look: &Look) -> Input {
    let kind = kind(look);
    let n_values = look.n_numbers + look.n_texts;
    let reason = match (kind, &look.first_text, look.distinct.count()) {
        (Kind::Number, ..) => shown_range(look.range),
        (Kind::Vector(_), ..) => "a list in every row".into(),
        (Kind::Text, ..) => {
            let n_words = look.n_words as f64 / n_values as f64;
            format!("{n_words:.1} words on average")
        }
        (Kind::Category, Some(text), _) if look.n_numbers > look.n_texts => format!(
            "{} of {n_values} values not a number, first {text}",
            look.n_texts
        ),
        (Kind::Category, _, Some(n_distinct)) => format!("{n_distinct} distinct values"),
        (Kind::Category, _, None) => format!("over {N_DISTINCT_MAX} distinct values"),
    };
    Input {
        name: look.name.clone(),
        kind,
        reason,
        n_gaps: match kind {
            Kind::Number => look.n_gaps,
            Kind::Category | Kind::Text | Kind::Vector(_) => 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::cli::commands::init::LeftOut;
    use crate::cli::commands::init::tests::drafted;

    /// A column `x` of the given values beside a target `y` that alternates, and `keep`, which is
    /// always of use.
    fn beside(values: impl IntoIterator<Item = String>) -> String {
        let mut text = "x,keep,y\n".to_string();
        for (row, value) in values.into_iter().enumerate() {
            let y = if row % 3 == 0 { "up" } else { "down" };
            writeln!(text, "\"{value}\",{},{y}", row % 2).unwrap();
        }
        text
    }

    /// What became of the column `x`.
    fn fate(text: &str) -> String {
        let draft = drafted(text, None).unwrap();
        if let Some(left_out) = draft.left_out.iter().find(|left_out| left_out.name == "x") {
            return left_out.reason.clone();
        }
        let input = draft.inputs.iter().find(|input| input.name == "x").unwrap();
        format!("{:?}, {}, {} gaps", input.kind, input.reason, input.n_gaps)
    }

    #[test]
    fn a_column_is_what_its_values_are() {
        let check = |values: &[&str], expected: &str| {
            let text = beside(values.iter().map(|value| value.to_string()));
            assert_eq!(fate(&text), expected, "{values:?}");
        };
        check(&["1.5", "-2", "1e3"], "Number, -2 .. 1000, 0 gaps");
        check(&["1", "", "NA", "nan", "4"], "Number, 1 .. 4, 3 gaps");
        check(&["1e-9", "1e300"], "Number, 1e-9 .. 1e300, 0 gaps");
        check(
            &["tcp", "udp", "tcp"],
            "Category, 2 distinct values, 0 gaps",
        );
        check(&["tcp", "", "tcp"], "Category, 2 distinct values, 0 gaps");
        check(
            &["1", "2", "inf"],
            "Category, 1 of 3 values not a number, first \"inf\", 0 gaps",
        );
        check(
            &["where is it", "", "my card is lost"],
            "Text, 3.5 words on average, 0 gaps",
        );
        check(
            &["two words", "and three words"],
            "Category, 2 distinct values, 0 gaps",
        );
        check(&["7", "7", "7.0"], "constant (7)");
        check(&["7", "", "7"], "constant (7 or a gap)");
        check(&["a", "a"], "constant (\"a\")");
        check(&["a b c", "a b c"], "constant (\"a b c\")");
        check(&["", "NA"], "it has no value in any row");
        check(&["0", "1", "2"], "a row id (0, 1, 2, ...)");
        check(&["1", "2", "3.0"], "a row id (1, 2, 3, ...)");
        check(&["0", "1"], "Number, 0 .. 1, 0 gaps");
        check(&["2", "3", "4"], "Number, 2 .. 4, 0 gaps");
        check(&["0", "1", "", "3"], "Number, 0 .. 3, 1 gaps");
        check(&["0", "1", "3"], "Number, 0 .. 3, 0 gaps");
    }

    #[test]
    fn distinct_values_are_a_row_id_only_among_many_words() {
        let check = |n_rows: u64, value: &dyn Fn(u64) -> String, expected: &str| {
            assert_eq!(fate(&beside((0..n_rows).map(value))), expected);
        };
        let id = "a row id (every value is distinct)";
        check(20, &|row| format!("id-{row}"), id);
        check(30_000, &|row| format!("id-{row}"), id);
        check(
            19,
            &|row| format!("id-{row}"),
            "Category, 19 distinct values, 0 gaps",
        );
        check(
            21,
            &|row| format!("id-{}", row % 20),
            "Category, 20 distinct values, 0 gaps",
        );
        // Repetition is seen however late it comes.
        check(
            60_000,
            &|row| format!("id-{}", row % 30_000),
            "Category, over 10000 distinct values, 0 gaps",
        );
        check(
            30,
            &|row| format!("{}", row as f64 * 0.37),
            "Number, 0 .. 10.73, 0 gaps",
        );
        check(
            30,
            &|row| format!("where is card {row}"),
            "Text, 4.0 words on average, 0 gaps",
        );
        let price = |row| match row {
            7 => "free".to_string(),
            row => format!("{row}.5"),
        };
        check(
            30,
            &price,
            "Category, 1 of 30 values not a number, first \"free\", 0 gaps",
        );
    }

    #[test]
    fn copies_of_the_target_are_left_out() {
        let check = |task, n_rows: usize, row: &dyn Fn(usize) -> String, expected: &str| {
            let rows: String = (0..n_rows).map(|at| row(at) + "\n").collect();
            let draft = drafted(&format!("x,keep,y\n{rows}"), task).unwrap();
            let left_out: Vec<String> = draft.left_out.iter().map(LeftOut::to_string).collect();
            assert_eq!(left_out.join("; "), expected);
        };
        let copy = "\"x\": a copy of the target";
        let renamed = "\"x\": a copy of the target under other names";
        let two = ["up", "down"];
        let equal = |at: usize| format!("{},{},{}", two[at % 2], at % 3, two[at % 2]);
        check(None, 4, &equal, copy);
        let numbers = |at: usize| format!("{at}.50,{},{at}.5", at % 3);
        check(None, 30, &numbers, copy);
        let named = |at: usize| format!("{},{},{}", at % 2, at % 3, two[at % 2]);
        check(None, 20, &named, renamed);
        check(Some(Task::Bandit), 20, &named, renamed);
        check(None, 19, &named, "");
        // Two classes share a value, and a class has two values.
        let merged = |at: usize| format!("{},{},c{}", (at % 3).min(1), at % 2, at % 3);
        check(None, 30, &merged, "");
        let split = |at: usize| format!("{},{},c{}", at % 3, at % 2, (at % 3).min(1));
        check(None, 30, &split, "");
        // A function of a number is what a regression is about.
        let scaled = |at: usize| format!("{},{},{}", at % 3, at % 2, at % 3 * 2);
        check(Some(Task::Regression), 30, &scaled, "");
        // A row without a target says nothing.
        let gap = |at: usize| match at {
            3 => "other,5,".to_string(),
            at => equal(at),
        };
        check(None, 30, &gap, copy);
    }
}
