//! One column: the kind of its values, and the reason to exclude it, if any.
//!
//! Invariant: a column is excluded only if it carries no information or repeats the target.

use super::column_stats::{ColumnStats, N_DISTINCT_MAX};
use super::description::{shown, shown_range};
use super::draft::{DraftInput, DraftKind, Task};
use super::marks::{marks_are_mixed, read_by_other};
use super::times::TimesFound;
use crate::cli::rows::quoted;

/// A column with at least this many words in a value, on average, is text.
const TEXT_WORDS_MIN: u64 = 3;
/// The reason of a column that is left out since it numbers the rows.
pub(super) const ROW_ID: &str = "a row id";
/// With fewer rows, distinct values are no evidence of a row id.
const ROW_ID_ROWS_MIN: u64 = 20;
/// With fewer rows, a number that rises by one is no evidence of a row id.
const ROW_NUMBER_ROWS_MIN: u64 = 3;

/// The reason to exclude a column, if there is one.
pub(super) fn exclusion_reason(column: &ColumnStats, task: Task, n_rows: u64) -> Option<String> {
    if column.name.is_empty() {
        return Some("it has no name".into());
    }
    if column.n_lists > 0 {
        let is_vector = column.n_lists == n_rows && column.list_length.is_some_and(|n| n > 0);
        return (!is_vector).then(|| "lists, but not of one length in every row".into());
    }
    if let Some(value) = constant(column) {
        return Some(value);
    }
    if column.target_copy.is_equal() {
        return Some("a copy of the target".into());
    }
    if task != Task::Regression && column.target_copy.is_renaming() {
        return Some("a copy of the target under other names".into());
    }
    match (column.counts_from, kind(column)) {
        (Some(first), _) if is_row_number(column, n_rows) => Some(format!(
            "{ROW_ID} ({first}, {}, {}, ...)",
            first + 1,
            first + 2
        )),
        // Among numbers, one stray text must not make distinct values an id.
        (_, DraftKind::Category)
            if n_rows >= ROW_ID_ROWS_MIN
                && !column.distinct.has_repeated()
                && (column.n_texts >= column.n_numbers || is_code(column)) =>
        {
            let mut reason = format!("{ROW_ID} (every value is distinct)");
            if column.times.are_unread() {
                let hint = date_hint(&column.name);
                reason += &format!("; dates of no one format? {hint}");
            }
            if let Some(marks) = mixed_marks(column) {
                reason += &format!("; {marks}");
            }
            Some(reason)
        }
        _ => None,
    }
}

/// True for numbers that count the rows.
pub(super) fn is_row_number(column: &ColumnStats, n_rows: u64) -> bool {
    column.counts_from.is_some() && n_rows >= ROW_NUMBER_ROWS_MIN
}

/// The value that all rows share, or that they have none, as a reason.
pub(super) fn constant(column: &ColumnStats) -> Option<String> {
    match (kind(column), column.range, &column.first_text) {
        (DraftKind::Number, None, _) => Some("it has no value in any row".into()),
        (DraftKind::Number, Some((min, max)), _) if min == max => {
            let or_a_gap = if column.n_gaps > 0 { " or a gap" } else { "" };
            Some(format!("constant ({}{or_a_gap})", shown(min)))
        }
        (DraftKind::Time(_), ..) if column.times.is_constant() => {
            let first = column.examples.first().map_or("", String::as_str);
            Some(format!("constant ({first})"))
        }
        (DraftKind::Category, Some((min, _)), None) if column.distinct.count() == Some(1) => {
            Some(format!("constant ({})", shown(min)))
        }
        (DraftKind::Category | DraftKind::Text, _, Some(text))
            if column.distinct.count() == Some(1) =>
        {
            Some(format!("constant ({text})"))
        }
        _ => None,
    }
}

/// The kind of the values; a column of gaps counts as numbers.
pub(super) fn kind(column: &ColumnStats) -> DraftKind {
    let n_values = column.n_numbers + column.n_texts;
    if column.n_lists > 0 {
        return match column.list_length {
            Some(length) => DraftKind::Vector(length),
            None => DraftKind::Vector(0),
        };
    }
    if n_values > 0
        && let TimesFound::Format(format, _) = column.times.found()
    {
        return DraftKind::Time(format);
    }
    if is_code(column) {
        DraftKind::Category
    } else if column.n_texts == 0 || has_strays(column) {
        DraftKind::Number
    } else if column.n_words >= TEXT_WORDS_MIN * n_values {
        DraftKind::Text
    } else {
        DraftKind::Category
    }
}

/// True for numbers that are names: digits with leading zeros, whole numbers of more digits than a
/// number keeps, or those that the header calls ids or codes.
fn is_code(column: &ColumnStats) -> bool {
    let n_values = column.n_numbers + column.n_texts;
    if has_long(column) {
        return true;
    }
    if n_values == 0 || column.n_texts > 0 && !column.is_digits {
        return false;
    }
    let has_zeros = column.is_digits && column.n_zero_first * 100 >= n_values;
    let is_named = column.is_whole && column.n_numbers == n_values && is_id(&column.name);
    has_zeros || is_named
}

/// True where whole numbers lose digits, but for one in a hundred.
fn has_long(column: &ColumnStats) -> bool {
    let n_values = column.n_numbers + column.n_texts;
    column.n_inexact > 0 && column.n_inexact * 100 >= n_values
}

/// True if a header says that its values are names: `id`, `userId`, `PULocationID`, `zip code`.
fn is_id(name: &str) -> bool {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let is_word = |word: &&str| {
        matches!(
            *word,
            "id" | "ids" | "zip" | "zipcode" | "postcode" | "uuid" | "isbn" | "sku"
        )
    };
    let ends_in_id = name.strip_suffix("ID").or(name.strip_suffix("Id"));
    let is_camel = ends_in_id.is_some_and(|rest| rest.ends_with(char::is_alphanumeric));
    words.iter().any(is_word) || is_camel
}

/// True for numbers but for a cell in a hundred, or for one or two words that stand for no number.
fn has_strays(column: &ColumnStats) -> bool {
    let (n_texts, n_numbers) = (column.n_texts, column.n_numbers);
    let n_values = n_texts + n_numbers;
    let are_few = n_texts * 100 <= n_values;
    let n_named: u64 = column.tokens.iter().map(|(_, n)| n).sum();
    let are_words = column.tokens.len() <= 2 && n_named == n_texts && n_texts >= 3;
    let is_wordy = column
        .tokens
        .iter()
        .all(|(word, _)| !word.contains(|c: char| c.is_ascii_digit()));
    n_texts > 0 && n_numbers > 0 && (are_few || are_words && is_wordy && n_texts * 10 <= n_values)
}

/// The input for a column.
pub(super) fn input(column: &ColumnStats) -> DraftInput {
    let kind = kind(column);
    let n_values = column.n_numbers + column.n_texts;
    let n_strays = match &kind {
        DraftKind::Number => column.n_texts,
        DraftKind::Time(format) => column.times.strays(format).0,
        _ => 0,
    };
    let reason = match (&kind, &column.first_text, column.distinct.count()) {
        (DraftKind::Number, ..) => shown_range(column.range),
        (DraftKind::Time(_), ..) => match column.times.found() {
            TimesFound::Format(_, range) => range,
            _ => "times".to_owned(),
        },
        (DraftKind::Vector(_), ..) => "a list in every row".into(),
        (DraftKind::Text, ..) => {
            let n_words = column.n_words as f64 / n_values as f64;
            format!("{n_words:.1} words on average")
        }
        (DraftKind::Category, _, Some(n)) if is_code(column) => {
            format!("{n} distinct codes, names and not numbers")
        }
        (DraftKind::Category, Some(text), _) if column.n_numbers > column.n_texts => format!(
            "{} of {n_values} values not a number, first {text}",
            column.n_texts
        ),
        (DraftKind::Category, _, Some(n_distinct)) => format!("{n_distinct} distinct values"),
        (DraftKind::Category, _, None) => format!("over {N_DISTINCT_MAX} distinct values"),
    };
    DraftInput {
        name: column.name.clone(),
        reason,
        n_gaps: match kind {
            DraftKind::Number | DraftKind::Time(_) => column.n_gaps + n_strays,
            DraftKind::Category | DraftKind::Text | DraftKind::Vector(_) => 0,
        },
        examples: column.examples.clone(),
        remarks: remarks(column, &kind),
        sentinels: Vec::new(),
        kind,
    }
}

/// So many cells that are no number or no date.
fn counted_cells(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 cell is no {noun} and is taken as a gap"),
        n => format!("{n} cells are no {noun}s and are taken as gaps"),
    }
}

/// A sentence about cells that are no numbers.
fn strays(column: &ColumnStats) -> Option<String> {
    let tokens = column.tokens.iter();
    let tokens = tokens.map(|(token, n)| format!("{} ({n})", quoted(token)));
    let tokens = tokens.collect::<Vec<String>>().join(", ");
    let cells = counted_cells(column.n_texts, "number");
    (column.n_texts > 0).then(|| format!("{cells}: {tokens}"))
}

/// A sentence about infinite numbers.
fn infinities(column: &ColumnStats) -> Option<String> {
    let cells = match column.n_infinite {
        0 => return None,
        1 => "1 cell is infinite and is taken as a gap".to_owned(),
        n => format!("{n} cells are infinite and are taken as gaps"),
    };
    Some(cells)
}

/// A sentence about numbers with both decimal marks, some of which may be either, where it is so.
fn mixed_marks(column: &ColumnStats) -> Option<String> {
    let n_others = column.marks.n_only_there - column.n_by_other();
    let is_mixed = column.n_numbers > 0 && n_others > 0 && n_others * 2 >= column.n_texts;
    is_mixed.then(|| marks_are_mixed(n_others, column.n_numbers))
}

/// The way on for a column of dates that no format reads.
fn date_hint(name: &str) -> String {
    format!(
        "--as \"{name}=date:FORMAT\" names one, of digits and names of months as in date:%d/%m/%Y"
    )
}

/// Sentences about the values of a column.
pub(super) fn remarks(column: &ColumnStats, kind: &DraftKind) -> Vec<String> {
    let mut remarks = Vec::new();
    if *kind == DraftKind::Number {
        remarks.extend(strays(column));
    }
    match kind {
        DraftKind::Number => {
            remarks.extend(infinities(column));
            remarks.extend(read_by_other(column.n_by_other()));
        }
        DraftKind::Category | DraftKind::Text => remarks.extend(mixed_marks(column)),
        DraftKind::Time(_) | DraftKind::Vector(_) => {}
    }
    if *kind == DraftKind::Category && has_long(column) {
        remarks.push(format!(
            "whole numbers of more digits than a number keeps are read as codes; --as \"{}=number\" if \
             they are amounts",
            column.name
        ));
    }
    if let DraftKind::Time(format) = kind
        && let (n @ 1.., cells) = column.times.strays(format)
    {
        let cells_are = counted_cells(n, "date");
        remarks.push(format!("{cells_are}: {cells}"));
    }
    if matches!(kind, DraftKind::Category | DraftKind::Text) && column.times.are_unread() {
        remarks.push(format!(
            "dates of no format that is known here? {}",
            date_hint(&column.name)
        ));
    }
    if *kind == DraftKind::Number && column.n_percent > 0 {
        let others = match column.n_numbers - column.n_percent {
            0 => String::new(),
            n => format!("; {n} numbers have no percent sign and are read as they stand"),
        };
        remarks.push(format!(
            "percentages, read as points: 12% is 12, and 0.12 under [rows] percent = \"fraction\"{others}"
        ));
    }
    if let Some(share) = column.give_away.of_classes() {
        remarks.push(format!(
            "alone it tells the target in {:.1} % of the rows: leave it out if it is not known \
             before the target is",
            100.0 * share
        ));
    }
    if let Some(r) = column.give_away.of_values() {
        remarks.push(format!(
            "it moves with the target (correlation {r:.4}): leave it out if it is not known before \
             the target is"
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::cli::commands::init::draft::ExcludedColumn;
    use crate::cli::commands::init::tests::drafted;

    /// A column `x` of the given values beside a target `y` that alternates, and `keep`, which is
    /// always of use.
    fn beside(values: impl IntoIterator<Item = String>) -> String {
        let mut text = "x,keep,y\n".to_owned();
        for (row, value) in values.into_iter().enumerate() {
            let y = if row % 3 == 0 { "up" } else { "down" };
            writeln!(text, "\"{value}\",{},{y}", row % 2).unwrap();
        }
        text
    }

    /// The kind or the exclusion of the column `x`.
    fn fate(text: &str) -> String {
        let draft = drafted(text, None).unwrap();
        if let Some(excluded) = draft.excluded.iter().find(|excluded| excluded.name == "x") {
            return excluded.reason.clone();
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
        check(&["1", "2", "inf"], "Number, 1 .. 2, 1 gaps");
        check(&["1", "-Infinity", "inf", "5"], "Number, 1 .. 5, 2 gaps");
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
        check(
            &["9007199254740993", "9007199254740992", "9007199254740993"],
            "Category, 2 distinct codes, names and not numbers, 0 gaps",
        );
        check(
            &["9007199254740992", "1e30", "100000000000000000000"],
            "Number, 9007199254740992 .. 1e30, 0 gaps",
        );
    }

    #[test]
    fn distinct_values_are_a_row_id_only_among_many_words() {
        let check = |n_rows: u64, value: &dyn Fn(u64) -> String, expected: &str| {
            assert_eq!(fate(&beside((0..n_rows).map(value))), expected);
        };
        let id = "a row id (every value is distinct)";
        check(20, &|row| format!("id-{row}"), id);
        check(
            20,
            &|row| format!("{}", 1_234_567_890_123_456_789 + 7 * row),
            id,
        );
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
            7 => "free".to_owned(),
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
            let excluded: Vec<String> = draft
                .excluded
                .iter()
                .map(ExcludedColumn::to_string)
                .collect();
            assert_eq!(excluded.join("; "), expected);
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
        // A regression predicts functions of numbers.
        let scaled = |at: usize| format!("{},{},{}", at % 3, at % 2, at % 3 * 2);
        check(Some(Task::Regression), 30, &scaled, "");
        // A row without a target is no evidence.
        let gap = |at: usize| match at {
            3 => "other,5,".to_owned(),
            at => equal(at),
        };
        check(None, 30, &gap, copy);
    }
}
