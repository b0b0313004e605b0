//! The statistics of one column, from one pass over a file.
//!
//! Invariant: its size is bounded by `N_DISTINCT_MAX` and the number of classes, never by rows.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::choice::{ChosenKind, ColumnChoice};
use super::extremes::Extremes;
use super::give_away::GiveAway;
use super::hashed::IdentityHasher;
use super::marks::Marks;
use super::target::{Label, TargetStats};
use super::times::TimeCandidates;
use super::units::UnitCount;
use crate::cli::rows::number::{
    Decimals, finite, is_infinite, is_percent, loses_digits, number, trimmed,
};
use crate::cli::rows::{Cell, quoted};

/// Distinct values are counted one by one up to here, and on a sample beyond.
pub(super) const N_DISTINCT_MAX: usize = 10_000;
/// Distinct texts that are not numbers, at most, that are counted one by one.
const TOKENS_MAX: usize = 5;
/// Distinct texts that are gaps, at most, that are counted.
const GAP_TEXTS_MAX: usize = 40;
/// Values that are shown.
const EXAMPLES: usize = 3;
const EXAMPLE_CHARS: usize = 16;

/// The statistics of one column.
pub(super) struct ColumnStats {
    /// The header.
    pub name: String,
    /// Rows with nothing, or with one of the usual tokens for it.
    pub n_gaps: u64,
    /// Gaps that hold an infinite number.
    pub n_infinite: u64,
    /// Rows with a finite number.
    pub n_numbers: u64,
    /// Rows with any other text.
    pub n_texts: u64,
    /// Rows with a list.
    pub n_lists: u64,
    /// The smallest and the largest number.
    pub range: Option<(f64, f64)>,
    /// The ends of the numbers, and how often they come.
    pub extremes: Extremes,
    /// True while every number is whole.
    pub is_whole: bool,
    /// Percentages among the numbers.
    pub n_percent: u64,
    /// Their ends, beside those of the other numbers.
    pub percents: Percents,
    /// Values of digits alone that begin with a zero.
    pub n_zero_first: u64,
    /// True while every value is of digits alone.
    pub is_digits: bool,
    /// Whole numbers that lose digits as a number.
    pub n_inexact: u64,
    /// The decimal mark, as far as the numbers decide it.
    pub marks: Marks,
    /// The texts that are no numbers, while there are few.
    pub tokens: Vec<(String, u64)>,
    /// The unit behind the numbers.
    pub unit: UnitCount,
    /// The distinct texts that are gaps.
    pub gap_texts: Vec<String>,
    /// The formats of times that the values may have.
    pub times: TimeCandidates,
    /// The first distinct values.
    pub examples: Vec<String>,
    /// The prediction of the target by the column alone.
    pub give_away: GiveAway,
    /// Words in all rows but the gaps.
    pub n_words: u64,
    /// The first text that is neither a number nor a gap, as a message may show it.
    pub first_text: Option<String>,
    /// The length of the lists, while they all have the same.
    pub list_length: Option<usize>,
    /// The number of the first row, while the rows are numbered on from there.
    pub counts_from: Option<u64>,
    /// The distinct texts, gaps included.
    pub distinct: DistinctValues,
    /// The comparison with the target.
    pub target_copy: TargetCopy,
    decimals: Decimals,
    /// True if numbers with the other decimal mark are read by it.
    by_either: bool,
}

impl ColumnStats {
    /// The statistics of a column before the first row.
    pub(super) fn new(name: &str, decimals: Decimals) -> ColumnStats {
        ColumnStats {
            name: name.to_owned(),
            decimals,
            by_either: false,
            n_gaps: 0,
            n_infinite: 0,
            n_numbers: 0,
            n_texts: 0,
            extremes: Extremes::default(),
            is_whole: true,
            n_percent: 0,
            percents: Percents::default(),
            n_zero_first: 0,
            is_digits: true,
            n_inexact: 0,
            marks: Marks::default(),
            tokens: Vec::new(),
            unit: UnitCount::default(),
            gap_texts: Vec::new(),
            times: TimeCandidates::new(name),
            examples: Vec::new(),
            give_away: GiveAway::default(),
            n_lists: 0,
            range: None,
            n_words: 0,
            first_text: None,
            list_length: None,
            counts_from: None,
            distinct: DistinctValues::default(),
            target_copy: TargetCopy::default(),
        }
    }

    /// The statistics with the kind that `choices` give this column, if any.
    pub(super) fn given(mut self, choices: &[ColumnChoice]) -> ColumnStats {
        let chosen = choices.iter().find(|choice| choice.column == self.name);
        self.times = match chosen.map(|choice| &choice.kind) {
            Some(ChosenKind::Time(Some(format))) => self.times.given(format),
            Some(ChosenKind::Time(None)) => self.times.chosen(),
            _ => self.times,
        };
        self
    }

    /// The statistics for a caller whose numbers are read by the other decimal mark, without their unit.
    pub(super) fn reading(mut self, by_either: bool, unit: Option<&String>) -> ColumnStats {
        self.by_either = by_either;
        self.unit = UnitCount::of(unit);
        self
    }

    /// The number of distinct values but for gaps; none where it is over the bound.
    pub(super) fn n_distinct(&self) -> Option<usize> {
        let n = self.distinct.count()?;
        Some(n.saturating_sub(self.gap_texts.len()))
    }

    fn add_gap(&mut self, text: &str) {
        self.n_gaps += 1;
        let is_known = self.gap_texts.iter().any(|known| known == text);
        if !is_known && self.gap_texts.len() < GAP_TEXTS_MAX {
            self.gap_texts.push(text.to_owned());
        }
    }

    /// The number of cells that were read by the other decimal mark.
    pub(super) fn n_by_other(&self) -> u64 {
        if self.by_either {
            self.marks.n_only_there
        } else {
            0
        }
    }

    /// The statistics with a gap in each of the first `n_rows` rows: a key of JSON may first appear in a
    /// later row.
    pub(super) fn absent_from(mut self, n_rows: u64, target: &TargetStats) -> ColumnStats {
        let gap = hash("");
        self.n_gaps += n_rows;
        self.gap_texts.extend((n_rows > 0).then(String::new));
        (0..n_rows.min(2)).for_each(|_| self.distinct.add(gap));
        let classes = target.class_counts();
        self.target_copy = TargetCopy::of_gaps(gap, target.n_rows(), classes.as_deref());
        self.give_away.add_gaps(gap, classes.unwrap_or_default());
        self
    }

    /// Adds the next cell, in the row `row_index` from 0, with the label of the row if it has one.
    pub(super) fn add(&mut self, row_index: u64, cell: &Cell, label: Option<&Label>) {
        let text = match cell {
            Cell::Text(text) => text,
            Cell::List(values) => return self.add_list(row_index, values.len()),
        };
        let is_infinite = is_infinite(text);
        self.n_infinite += u64::from(is_infinite);
        let bare = self.unit.strip(text);
        let number = match number(bare, self.decimals) {
            None if is_infinite => Some(f64::NAN),
            None if self.by_either => self.number_by_other(bare),
            number => number,
        };
        match number {
            Some(number) if number.is_nan() => self.add_gap(text),
            Some(number) => self.add_number(number, bare),
            None => self.add_text(text),
        }
        match number {
            Some(number) if number.is_nan() => {}
            Some(_) => {
                self.n_words += 1;
                self.add_value(text);
            }
            None => {
                self.n_words += count_words(text);
                self.add_value(text);
            }
        }
        if row_index == 0 {
            self.counts_from = [0, 1].into_iter().find(|&n| number == Some(n as f64));
        } else if self.counts_from.map(|n| (n + row_index) as f64) != number {
            self.counts_from = None;
        }
        let hash = hash(text);
        self.distinct.add(hash);
        if let Some(label) = label {
            self.target_copy.add(label, text, number, hash);
            self.give_away.add(hash, number, label.class, label.number);
        }
    }

    fn number_by_other(&mut self, text: &str) -> Option<f64> {
        let number = finite(text, self.decimals.other())?;
        self.marks.add_other();
        Some(number)
    }

    fn add_number(&mut self, number: f64, text: &str) {
        self.n_numbers += 1;
        let (min, max) = self.range.unwrap_or((number, number));
        self.range = Some((min.min(number), max.max(number)));
        self.extremes.add(number);
        self.is_whole &= number.fract() == 0.0;
        self.n_inexact += u64::from(loses_digits(text, number));
        self.marks.add(text, number, self.decimals);
        let is_percent = is_percent(text);
        self.n_percent += u64::from(is_percent);
        self.percents.add(number, text, is_percent);
    }

    fn add_text(&mut self, text: &str) {
        self.n_texts += 1;
        self.unit.add(text, self.decimals);
        self.marks.add_text(text, self.decimals);
        self.first_text.get_or_insert_with(|| quoted(text));
        let text = trimmed(text);
        let known = self.tokens.iter().position(|(known, _)| known == text);
        match known {
            Some(place) => self.tokens[place].1 += 1,
            None if self.tokens.len() < TOKENS_MAX => {
                let shown: String = text.chars().take(40).collect();
                self.tokens.push((shown, 1));
            }
            None => {}
        }
    }

    /// Counts a value that is no gap.
    fn add_value(&mut self, text: &str) {
        let trimmed = trimmed(text);
        let is_digits = trimmed.bytes().all(|byte| byte.is_ascii_digit());
        self.is_digits &= is_digits;
        let is_code = is_digits && trimmed.len() > 1 && trimmed.starts_with('0');
        self.n_zero_first += u64::from(is_code);
        self.times.add(text);
        if self.examples.len() < EXAMPLES {
            let end = trimmed.char_indices().nth(EXAMPLE_CHARS);
            let shown = match end {
                Some((end, _)) => format!("{}...", &trimmed[..end]),
                None => trimmed.to_owned(),
            };
            if !self.examples.contains(&shown) {
                self.examples.push(shown);
            }
        }
    }

    fn add_list(&mut self, row_index: u64, length: usize) {
        if row_index == 0 {
            self.list_length = Some(length);
        } else if self.list_length != Some(length) {
            self.list_length = None;
        }
        self.n_lists += 1;
    }
}

/// Percentages beside numbers without the sign, none of which is over 1.
#[derive(Default)]
pub(super) struct Percents {
    /// A percentage over 1.
    percent: Option<String>,
    /// A number between 0 and 1 without the sign.
    fraction: Option<String>,
    has_more: bool,
}

impl Percents {
    fn add(&mut self, number: f64, text: &str, is_percent: bool) {
        let text = || text.trim().to_owned();
        if is_percent && number > 1.0 {
            self.percent.get_or_insert_with(text);
        } else if !is_percent && number > 0.0 && number < 1.0 {
            self.fraction.get_or_insert_with(text);
        }
        self.has_more |= !is_percent && number.abs() > 1.0;
    }

    /// A percentage and a number, which may be a fraction of one or of a hundred.
    pub(super) fn mixed(&self) -> Option<[&str; 2]> {
        let both = [self.percent.as_deref()?, self.fraction.as_deref()?];
        (!self.has_more).then_some(both)
    }
}

/// The count of distinct values; beyond the bound, a sample of those whose hash ends in enough
/// zeros.
///
/// The sample keeps or drops a value in every row alike, so it shows repetition at any distance.
#[derive(Default)]
pub(super) struct DistinctValues {
    hashes: HashSet<u64, IdentityHasher>,
    n_zeros: u32,
    has_repeated: bool,
}

impl DistinctValues {
    fn add(&mut self, hash: u64) {
        if hash.trailing_zeros() < self.n_zeros {
            return;
        }
        self.has_repeated |= !self.hashes.insert(hash);
        while self.hashes.len() > N_DISTINCT_MAX {
            self.n_zeros += 1;
            self.hashes
                .retain(|hash| hash.trailing_zeros() >= self.n_zeros);
        }
    }

    /// The number of distinct values; none where it is over the bound.
    pub(super) fn count(&self) -> Option<usize> {
        (self.n_zeros == 0).then_some(self.hashes.len())
    }

    /// True if a value was repeated; beyond the bound, a value of the sample.
    pub(super) fn has_repeated(&self) -> bool {
        self.has_repeated
    }
}

/// The comparison of a column with the target: equal, or equal up to a renaming of the classes.
pub(super) struct TargetCopy {
    n_rows: usize,
    is_equal: bool,
    is_renaming: bool,
    /// The value beside each class.
    value_of_class: Vec<u64>,
    values: HashSet<u64, IdentityHasher>,
}

impl Default for TargetCopy {
    fn default() -> TargetCopy {
        TargetCopy {
            n_rows: 0,
            is_equal: true,
            is_renaming: true,
            value_of_class: Vec::new(),
            values: HashSet::default(),
        }
    }
}

impl TargetCopy {
    /// The comparison after `n_rows` rows with a target and gaps beside it, with the number of rows of
    /// each class, if they are counted.
    fn of_gaps(gap: u64, n_rows: u64, classes: Option<&[u32]>) -> TargetCopy {
        let mut copy = TargetCopy::default();
        if n_rows > 0 {
            copy.n_rows = n_rows as usize;
            copy.is_equal = false;
            copy.is_renaming = matches!(classes, Some([_]));
            copy.value_of_class.push(gap);
            copy.values.insert(gap);
        }
        copy
    }

    fn add(&mut self, label: &Label, text: &str, number: Option<f64>, hash: u64) {
        self.n_rows += 1;
        let same_number = number.is_some() && number == label.number;
        self.is_equal &= text == label.text || same_number;
        if self.is_renaming {
            self.is_renaming = match label.class {
                None => false,
                // Classes are numbered as they appear, so this one is new.
                Some(class) if class == self.value_of_class.len() => {
                    self.value_of_class.push(hash);
                    self.values.insert(hash)
                }
                Some(class) => self.value_of_class.get(class) == Some(&hash),
            };
        }
    }

    /// True if the column equals the target in every row that has one.
    pub(super) fn is_equal(&self) -> bool {
        self.is_equal && self.n_rows > 0
    }

    /// True if each class has its own value in every row; few rows are no evidence of it.
    pub(super) fn is_renaming(&self) -> bool {
        const N_ROWS_MIN: usize = 20;
        let n_classes = self.value_of_class.len();
        self.is_renaming && self.n_rows >= N_ROWS_MIN.max(2 * n_classes)
    }
}

/// The number of words in a text.
fn count_words(text: &str) -> u64 {
    if !text.is_ascii() {
        return text.split_whitespace().count() as u64;
    }
    let is_blank = |byte: u8| matches!(byte, b' ' | 9..=13);
    let mut was_blank = true;
    let mut n_words = 0;
    for byte in text.bytes() {
        n_words += u64::from(was_blank && !is_blank(byte));
        was_blank = is_blank(byte);
    }
    n_words
}

pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::count_words;

    use crate::cli::commands::init::tests::drafted;

    /// The inputs and the excluded columns of rows in which the key `b` comes from `start` on, or
    /// stands as null before.
    fn fate(start: usize, of_row: &dyn Fn(usize) -> [String; 2], as_null: bool) -> String {
        let mut text = String::new();
        for row in 0..60 {
            let [b, y] = of_row(row);
            let b = match (row >= start, as_null) {
                (true, _) => format!(",\"b\":{b}"),
                (false, true) => ",\"b\":null".to_owned(),
                (false, false) => String::new(),
            };
            writeln!(text, "{{\"a\":{},\"y\":{y}{b}}}", row * 7 % 31).unwrap();
        }
        let draft = drafted(&text, None).unwrap();
        let inputs = draft.inputs.iter().map(|input| (&input.name, input.n_gaps));
        let inputs: Vec<_> = inputs.collect();
        let excluded: Vec<String> = draft.excluded.iter().map(ToString::to_string).collect();
        format!("{inputs:?} {excluded:?}")
    }

    #[test]
    fn words_stand_between_blanks() {
        for text in [
            "",
            " ",
            "one",
            " one two\t three\n",
            "\u{e9}\u{a0}two",
            "a\u{b}b",
        ] {
            assert_eq!(count_words(text), text.split_whitespace().count() as u64);
        }
    }

    #[test]
    fn a_key_that_comes_late_is_a_gap_before() {
        let check = |of_row: &dyn Fn(usize) -> [String; 2]| {
            for start in [1, 2, 3, 5, 20, 40] {
                assert_eq!(
                    fate(start, of_row, false),
                    fate(start, of_row, true),
                    "{start}"
                );
            }
        };
        let named = |n: usize| format!("\"{}\"", ["up", "down", "left"][n]);
        check(&|row| [(row % 5).to_string(), named(row / 3 % 3)]);
        check(&|row| [named(row % 3), named(row % 3)]);
        check(&|row| [named(row / 20), named(row / 20)]);
        check(&|row| [row.to_string(), format!("{row}.5")]);
        check(&|row| [format!("[{row},1]"), named(row % 2)]);
    }
}
