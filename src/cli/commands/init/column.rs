//! One column: the kind of its values, and the reason to exclude it, if any.
//!
//! Invariant: a column is excluded only if it carries no information or repeats the target.

use super::column_stats::{ColumnStats, N_DISTINCT_MAX};
use super::description::{shown, shown_range};
use super::draft::{DraftInput, DraftKind, DraftTask};
use super::marks::{marks_are_mixed, read_by_other};
use super::strays::are_few_strays;
use super::times::TimesFound;
use crate::cli::rows::quoted;

/// A column with at least this many words in a value, on average, is text.
const TEXT_WORDS_MIN: u64 = 3;
/// The reason of a column that is left out since it numbers the rows.
pub(super) const ROW_ID: &str = "a row id";
/// The number of rows below which distinct values are no evidence of a row id.
const ROW_ID_ROWS_MIN: u64 = 20;
/// Fewer whole numbers are no evidence of seconds.
const EPOCHS_MIN: u64 = 20;
/// The number of rows below which a number that rises by one is no evidence of a row id.
const ROW_NUMBER_ROWS_MIN: u64 = 3;

/// The reason to exclude a column, if there is one.
pub(super) fn exclusion_reason(
    column: &ColumnStats,
    task: DraftTask,
    n_rows: u64,
) -> Option<String> {
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
    if task != DraftTask::Regression && column.target_copy.is_renaming() {
        return Some("a copy of the target under other names".into());
    }
    match (column.counts_from, kind(column)) {
        (Some(first), _) if is_row_number(column, n_rows) => Some(format!(
            "{ROW_ID} ({first}, {}, {}, ...)",
            first + 1,
            first + 2
        )),
        // Among numbers, some stray texts must not make distinct values an id.
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
            if column.first_text.as_deref().is_some_and(is_duration) {
                reason += "; durations? as a number of seconds it is an input";
            }
            if let Some(marks) = mixed_marks(column) {
                reason += &format!("; {marks}");
            }
            Some(reason)
        }
        _ => None,
    }
}

/// True for a text, in quotes, of hours, minutes and seconds between colons.
fn is_duration(quoted: &str) -> bool {
    let mut pieces = quoted.trim_matches('"').split(':');
    let has_hours = pieces
        .next()
        .is_some_and(|hours| hours.parse::<u32>().is_ok());
    let rest: Vec<&str> = pieces.collect();
    let is_piece = |piece: &&str| piece.len() == 2 && piece.parse::<u32>().is_ok_and(|n| n < 60);
    has_hours && (1..=2).contains(&rest.len()) && rest.iter().all(is_piece)
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

/// True if a header marks its values as names: `id`, `userId`, `PULocationID`, `zip code`.
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
    let are_few = are_few_strays(n_texts, n_values);
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
    let reason = match (&kind, &column.first_text, column.n_distinct()) {
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
            "{} of {n_values} values not a number, first {text}; --as \"{}=number\" takes those as gaps",
            column.n_texts, column.name
        ),
        (DraftKind::Category, _, Some(n_distinct)) => format!("{n_distinct} distinct values"),
        (DraftKind::Category, _, None) => format!("over {N_DISTINCT_MAX} distinct values"),
    };
    DraftInput {
        name: column.name.clone(),
        reason,
        n_gaps: column.n_gaps + n_strays,
        examples: column.examples.clone(),
        remarks: remarks(column, &kind),
        sentinels: Vec::new(),
        unit: unit(column, &kind),
        kind,
    }
}

/// The unit that is taken off the numbers of an input of this kind.
pub(super) fn unit(column: &ColumnStats, kind: &DraftKind) -> Option<String> {
    let unit = column.unit.known.as_ref();
    unit.filter(|_| *kind == DraftKind::Number).cloned()
}

/// A count of cells that are no number or no date.
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

/// A sentence about numbers that are seconds or milliseconds since 1970, as it seems.
fn epoch(column: &ColumnStats) -> Option<String> {
    const YEARS: std::ops::Range<f64> = 631_152_000.0..4_102_444_800.0;
    let (min, max) = column
        .range
        .filter(|_| column.is_whole && column.n_numbers >= EPOCHS_MIN)?;
    let is_within = |unit: f64| YEARS.contains(&(min / unit)) && YEARS.contains(&(max / unit));
    let units = [(1.0, "%s", "seconds"), (1000.0, "%Q", "milliseconds")];
    let (unit, format, word) = units.into_iter().find(|(unit, ..)| is_within(*unit))?;
    let days = [min, max].map(|value| {
        let micros = (value / unit) as i64 * 1_000_000;
        let shown = perennial::model::rfc_3339_of(micros);
        shown.split('T').next().unwrap_or(&shown).to_owned()
    });
    let ([first, last], name) = (days, &column.name);
    Some(format!(
        "{word} since 1970 ({first} .. {last})? --as \"{name}=date:{format}\" reads them as times"
    ))
}

/// A sentence about whole numbers without a name that leave out few between them and come again, as
/// those of users or items do.
fn nameless_ids(column: &ColumnStats) -> Option<String> {
    const DISTINCT_MIN: usize = 20;
    let (min, max) = column.range.filter(|_| column.is_whole)?;
    let n = column.n_distinct().filter(|n| *n >= DISTINCT_MIN)?;
    let is_dense = min >= 0.0 && 2.0 * n as f64 > max;
    let comes_again = n as u64 * 2 <= column.n_numbers;
    let is_nameless = column.name.starts_with("column_");
    (is_nameless && is_dense && comes_again).then(|| {
        let name = &column.name;
        format!("numbers of users or items? --as \"{name}=category\" takes them as names")
    })
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
            let unit = column.unit.known.as_ref();
            remarks.extend(unit.map(|unit| format!("the unit {} is taken off", quoted(unit))));
            remarks.extend(epoch(column).or_else(|| nameless_ids(column)));
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
    remarks.extend(give_aways(column));
    remarks
}

/// Notes about how far the column alone predicts the target.
fn give_aways(column: &ColumnStats) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(share) = column.give_away.of_classes() {
        remarks.push(format!(
            "alone it tells the target in {:.1} % of the rows: leave it out if it is not known \
             before the target is",
            100.0 * share
        ));
    }
    let moves = |how: &str, r: f64| {
        format!(
            "it moves with the target ({how} {r:.4}): leave it out if it is not known before the \
             target is"
        )
    };
    if let Some(r) = column.give_away.of_values() {
        remarks.push(moves("correlation", r));
    } else if let Some(r) = column.give_away.of_ranks() {
        remarks.push(moves("rank correlation", r));
    }
    remarks
}

#[cfg(test)]
mod tests;
