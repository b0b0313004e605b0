//! The statistics of the target, and the task that they suggest.
//!
//! Invariant: labels are kept as the text of the file, in order of appearance, and bounded.

use std::collections::{BTreeMap, HashMap};

use anyhow::{bail, ensure};
use unicode_normalization_alignments::UnicodeNormalization;

use super::amounts::{Meaning, meaning};
use super::description::shown_range;
use super::draft::DraftTask;
use super::extremes::Extremes;
use super::marks::{Marks, marks_are_mixed, read_by_other};
use super::strays::are_few_strays;
use super::time_formats::{DateEvidence, formats, is_clock, is_of_day};
use super::units::UnitCount;
use crate::cli::output::print::counted;
use crate::cli::rows::number::{Decimals, finite, is_gap, is_percent, loses_digits, number};
use crate::cli::rows::quoted;

/// The most classes or actions that a draft may have.
const N_LABELS_MAX: usize = 1000;
/// The longest label; a longer one is a text, not a class.
const LABEL_BYTES_MAX: usize = 1024;
/// The hint for a target of times.
const LOOKS_LIKE_TIMES: &str =
    "its values look like times: a regression takes numbers, such as minutes or days";
/// The number of rows below which distinct labels are no evidence of an id.
const DISTINCT_ROWS_MIN: u64 = 20;
/// The most distinct integers that are the names of classes.
const N_INTEGER_CLASSES_MAX: usize = 20;

/// The target of one row.
pub(super) struct Label<'a> {
    /// The text in the file.
    pub text: &'a str,
    /// Its value, if it is a number.
    pub number: Option<f64>,
    /// Its place among the distinct labels, while those are within their bound.
    pub class: Option<usize>,
}

/// The statistics of the target.
pub(super) struct TargetStats {
    header: String,
    name: String,
    n_rows: u64,
    n_texts: u64,
    /// Texts that stand for no number in a column of numbers.
    n_gaps: u64,
    /// The spellings of each class, with their numbers.
    labels: Vec<Vec<(String, u64)>>,
    /// The place of a class, and of the spelling.
    class_of: HashMap<String, (usize, usize)>,
    /// The place of a class by the common form of its spellings.
    folded: HashMap<String, usize>,
    /// The row that had the newest class.
    newest: u64,
    /// The ends of the numbers.
    pub extremes: Extremes,
    /// The decimal mark, as far as the numbers decide it.
    pub marks: Marks,
    /// The unit behind the numbers.
    pub unit: UnitCount,
    /// The reason that the values cannot be classes.
    excess: Option<String>,
    /// Percentages among the numbers.
    pub n_percent: u64,
    /// Whole numbers that lose digits as a number.
    n_inexact: u64,
    /// The first value that is not a number, and its line.
    first_text: Option<(String, u64)>,
    is_whole: bool,
    decimals: Decimals,
    /// True if numbers with the other decimal mark are read by it.
    by_either: bool,
}

/// The task for a target, with its reason.
pub(crate) struct TaskChoice {
    pub task: DraftTask,
    pub reason: String,
    /// Classes or actions; none for a regression.
    pub labels: Vec<String>,
    /// Other spellings of labels, each with the label that it means.
    pub spellings: BTreeMap<String, String>,
    /// Sentences for the screen.
    pub remarks: Vec<String>,
}

impl TargetStats {
    /// The statistics before the first row; `by_either` has numbers with the other decimal mark read by it.
    pub(super) fn new(name: &str, decimals: Decimals, by_either: bool) -> TargetStats {
        TargetStats {
            decimals,
            by_either,
            header: name.to_owned(),
            name: quoted(name),
            n_rows: 0,
            n_texts: 0,
            n_gaps: 0,
            labels: Vec::new(),
            class_of: HashMap::new(),
            folded: HashMap::new(),
            newest: 0,
            extremes: Extremes::default(),
            marks: Marks::default(),
            unit: UnitCount::default(),
            excess: None,
            n_percent: 0,
            n_inexact: 0,
            first_text: None,
            is_whole: true,
        }
    }

    /// Adds the next value that is not a gap, and returns it as a label.
    pub(super) fn add<'a>(&mut self, line: u64, text: &'a str) -> Label<'a> {
        self.n_rows += 1;
        let bare = self.unit.strip(text);
        let mut number = number(bare, self.decimals).filter(|number| !number.is_nan());
        if number.is_none() && self.by_either && !is_gap(text) {
            number = finite(bare, self.decimals.other()).inspect(|_| self.marks.add_other());
        }
        match number {
            Some(number) => {
                self.is_whole &= number.fract() == 0.0;
                self.n_percent += u64::from(is_percent(text));
                self.n_inexact += u64::from(loses_digits(text, number));
                self.extremes.add(number);
                self.marks.add(bare, number, self.decimals);
            }
            None => {
                self.n_texts += 1;
                self.unit.add(text, self.decimals);
                self.marks.add_text(text, self.decimals);
                self.n_gaps += u64::from(is_gap(text));
                self.first_text.get_or_insert_with(|| (quoted(text), line));
            }
        }
        Label {
            text,
            number,
            class: self.class(text),
        }
    }

    fn class(&mut self, text: &str) -> Option<usize> {
        if let Some(&(class, spelling)) = self.class_of.get(text) {
            self.labels[class][spelling].1 += 1;
            return Some(class);
        }
        if self.excess.is_some() {
            return None;
        }
        let folded = folded(text);
        let known = self.folded.get(&folded).copied();
        if text.len() > LABEL_BYTES_MAX {
            let why = format!("a value longer than {LABEL_BYTES_MAX} bytes");
            self.excess.get_or_insert(why);
        } else if self.class_of.len() == N_LABELS_MAX {
            let why = format!("more than {N_LABELS_MAX} distinct values");
            self.excess.get_or_insert(why);
        }
        if self.excess.is_some() {
            return None;
        }
        let class = known.unwrap_or_else(|| {
            self.newest = self.n_rows;
            self.labels.push(Vec::new());
            self.folded.insert(folded, self.labels.len() - 1);
            self.labels.len() - 1
        });
        let spellings = &mut self.labels[class];
        self.class_of
            .insert(text.to_owned(), (class, spellings.len()));
        spellings.push((text.to_owned(), 1));
        Some(class)
    }

    /// The number of rows with a value.
    pub(super) fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The unit of the numbers, where they are too many for the names of classes.
    pub(super) fn unit_found(&self) -> Option<&String> {
        let are_many = self.excess.is_some() || self.labels.len() > N_INTEGER_CLASSES_MAX;
        let found = self.unit.found(self.n_texts, self.n_numbers());
        found.filter(|_| are_many)
    }

    /// The number of rows with a number.
    pub(super) fn n_numbers(&self) -> u64 {
        self.n_rows - self.n_texts
    }

    /// The number of rows of each class; none where there are too many classes.
    pub(super) fn class_counts(&self) -> Option<Vec<u32>> {
        let n_rows =
            |spellings: &Vec<(String, u64)>| spellings.iter().map(|(_, n)| *n as u32).sum();
        self.excess
            .is_none()
            .then(|| self.labels.iter().map(n_rows).collect())
    }

    /// The header of its column.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// True for numbers but for a few values.
    pub(super) fn is_of_numbers(&self) -> bool {
        self.n_texts == 0 || self.has_strays()
    }

    /// The given task, or else the one that the values suggest.
    ///
    /// # Errors
    /// The values leave nothing to learn, or do not suit the task.
    pub(super) fn choose(
        mut self,
        asked: Option<DraftTask>,
        sentinels: &[(f64, u64)],
    ) -> anyhow::Result<TaskChoice> {
        ensure!(
            self.n_rows > 0,
            "target {} has no value in any row",
            self.name
        );
        let suggested = self.suggested();
        let task = asked.unwrap_or(suggested);
        let gaps = match task {
            DraftTask::Classification => self.take_gaps(),
            DraftTask::Regression | DraftTask::Bandit => Vec::new(),
        };
        let name = &self.name;
        let n_labels = self.labels.len();
        if let ([only], None) = (&self.labels[..], &self.excess)
            && asked != Some(DraftTask::Bandit)
        {
            let only = quoted(&only[0].0);
            bail!("target {name} is {only} in every row, which leaves nothing to learn");
        }
        self.ensure_one_mark(asked)?;
        self.ensure_learnable(task)?;
        self.ensure_repeated(task, asked)?;
        let seen = match (task, &self.first_text) {
            (DraftTask::Regression, _) => {
                let range = self.extremes.range_without(sentinels);
                format!("numbers, {}", shown_range(range))
            }
            (_, Some(_)) if self.n_texts > self.n_gaps => {
                format!("{n_labels} distinct values, not numeric")
            }
            _ if self.is_whole => format!("{n_labels} distinct integers"),
            _ => format!("{n_labels} distinct numbers"),
        };
        let reason = match asked {
            Some(_) => format!("given; target {name}: {seen}"),
            None => format!("target {name}: {seen}{}", self.alternative(task)),
        };
        let mut remarks = self.remarks(task);
        remarks.extend(gaps);
        let (labels, spellings) = match task {
            DraftTask::Regression => (Vec::new(), BTreeMap::new()),
            DraftTask::Classification | DraftTask::Bandit => self.spelled(),
        };
        Ok(TaskChoice {
            task,
            reason,
            labels,
            spellings,
            remarks,
        })
    }

    /// The task that the values suggest.
    fn suggested(&self) -> DraftTask {
        // Whole numbers of more digits than a number keeps are codes.
        let are_long = self.n_inexact > 0 && self.n_inexact * 100 >= self.n_rows;
        let is_few = self.is_few_integers();
        if self.is_of_numbers()
            && !are_long
            && (!is_few || self.meaning() == Meaning::PerhapsAmounts)
        {
            DraftTask::Regression
        } else {
            DraftTask::Classification
        }
    }

    fn is_few_integers(&self) -> bool {
        self.is_whole && self.excess.is_none() && self.labels.len() <= N_INTEGER_CLASSES_MAX
    }

    /// The way to the other task, where a few whole numbers leave it open.
    fn alternative(&self, task: DraftTask) -> &'static str {
        if self.are_mostly_numbers() && !self.is_of_numbers() && task == DraftTask::Classification {
            return ", most of them numbers; --task regression leaves out the others";
        }
        if !self.is_few_integers() || !self.is_of_numbers() {
            return "";
        }
        match (task, self.meaning()) {
            (DraftTask::Regression, _) => {
                ", few and whole, as amounts are; --task classification if they are names"
            }
            (DraftTask::Classification, Meaning::PerhapsNames) => {
                ", taken as names; --task regression if they are amounts"
            }
            _ => "",
        }
    }

    /// True for numbers but for a tenth of the rows, which a regression leaves out if it is asked for.
    fn are_mostly_numbers(&self) -> bool {
        self.n_texts * 10 <= self.n_rows
    }

    /// True for numbers but for gaps, half of the rows at most, and one other value in a hundred.
    fn has_strays(&self) -> bool {
        let n_others = self.n_texts - self.n_gaps;
        let are_few = are_few_strays(n_others, self.n_rows);
        self.n_texts > 0 && are_few && 2 * self.n_texts <= self.n_rows
    }

    /// The kind of the few whole numbers.
    fn meaning(&self) -> Meaning {
        let counts = self.labels.iter().filter_map(|spellings| {
            let value = finite(&spellings[0].0, self.decimals)?;
            Some((value, spellings.iter().map(|(_, n)| n).sum()))
        });
        meaning(&self.header, counts.collect())
    }

    /// Takes the usual tokens for no value out of the classes, where the others are clearly those: two or
    /// more, each with a letter or a digit. Returns sentences about them.
    fn take_gaps(&mut self) -> Vec<String> {
        let is_token = |spellings: &Vec<(String, u64)>| {
            let is_none = spellings[0].0.trim().eq_ignore_ascii_case("none");
            is_gap(&spellings[0].0) && !is_none
        };
        let is_name = |spellings: &&Vec<(String, u64)>| {
            spellings[0].0.contains(|c: char| c.is_alphanumeric())
        };
        let others = self.labels.iter().filter(|spellings| !is_token(spellings));
        if self.excess.is_some()
            || others.clone().count() < 2
            || !others.clone().all(|one| is_name(&one))
        {
            return Vec::new();
        }
        let (gaps, labels) = std::mem::take(&mut self.labels)
            .into_iter()
            .partition(is_token);
        self.labels = labels;
        let gaps: Vec<Vec<(String, u64)>> = gaps;
        let mut notes = Vec::new();
        for (text, n) in gaps.iter().flatten() {
            let (rows, text) = (counted(*n, "row"), quoted(text));
            notes.push(format!("{rows} with {text} taken as without a target"));
        }
        let mut labels = self.labels.iter().flatten();
        if let Some((none, n)) = labels.find(|(text, _)| is_gap(text)) {
            let (rows, none) = (counted(*n, "row"), quoted(none));
            notes.push(format!(
                "{none} is taken as a label ({rows}); out of the classes, such rows have no target"
            ));
        }
        notes
    }

    /// Refuses labels that are nearly all distinct, of which none can be learned, unless the task was
    /// given.
    fn ensure_repeated(&self, task: DraftTask, asked: Option<DraftTask>) -> anyhow::Result<()> {
        let n_labels = self.labels.len() as u64;
        let is_distinct = self.n_rows >= DISTINCT_ROWS_MIN && n_labels * 10 >= self.n_rows * 9;
        ensure!(
            !is_distinct
                || task != DraftTask::Classification
                || asked.is_some()
                || self.are_mostly_numbers(),
            "target {} has {n_labels} distinct values in {} rows, as an id or a text has: a class is \
             learned from several rows; choose another column, or say --task classification{}",
            self.name,
            self.n_rows,
            match &self.first_text {
                Some((text, _)) if is_time(text) => format!("; {LOOKS_LIKE_TIMES}"),
                _ => String::new(),
            }
        );
        Ok(())
    }

    /// The commonest spelling of each class, and the others.
    fn spelled(self) -> (Vec<String>, BTreeMap<String, String>) {
        let decimals = self.decimals;
        let mut others = BTreeMap::new();
        let mut labels = Vec::with_capacity(self.labels.len());
        for spellings in self.labels {
            let most = spellings.iter().map(|(_, n)| *n).max();
            let label = spellings.iter().find(|(_, n)| Some(*n) == most);
            let label = label.map_or_else(String::new, |(text, _)| text.clone());
            for (text, _) in spellings {
                if text != label {
                    others.insert(text, label.clone());
                }
            }
            labels.push(label);
        }
        // In an order that is independent of the rows.
        let number = |label: &String| finite(label, decimals);
        labels.sort_by(|one, other| match (number(one), number(other)) {
            (Some(first), Some(second)) => first.total_cmp(&second),
            (first, second) => (first.is_none(), one).cmp(&(second.is_none(), other)),
        });
        (labels, others)
    }

    /// Sentences about the target.
    fn remarks(&self, task: DraftTask) -> Vec<String> {
        let mut remarks = Vec::new();
        if task != DraftTask::Regression {
            for spellings in self.labels.iter().filter(|spellings| spellings.len() > 1) {
                let shown: Vec<String> = spellings
                    .iter()
                    .map(|(text, n)| format!("{} ({n})", quoted(text)))
                    .collect();
                remarks.push(format!("read as one label: {}", shown.join(", ")));
            }
            remarks.extend(look_alikes(
                self.labels.iter().map(|spellings| &*spellings[0].0),
            ));
        }
        if task == DraftTask::Classification && self.ensure_repeated(task, None).is_err() {
            remarks.push(
                "nearly every value is distinct: nothing can be learned from that".to_owned(),
            );
        }
        if task == DraftTask::Regression && self.n_texts > 0 {
            let (n, text) = (self.n_texts, self.first_text.as_ref());
            let (text, line) = text.map_or(("", 0), |(text, line)| (text.as_str(), *line));
            let targets = match n {
                1 => "1 target is no number, ".to_owned(),
                n => format!("{n} targets are no numbers, the first "),
            };
            remarks.push(format!("{targets}in line {line}: {text}"));
        }
        if task != DraftTask::Regression
            && self.first_text.as_ref().is_some_and(|one| is_list(&one.0))
        {
            remarks.push(
                "its values look like several columns: --separator space divides at blanks"
                    .to_owned(),
            );
        }
        if task == DraftTask::Regression && self.by_either {
            remarks.extend(read_by_other(self.marks.n_only_there));
        }
        if task != DraftTask::Regression
            && self.first_text.as_ref().is_some_and(|one| is_time(&one.0))
        {
            remarks.push(LOOKS_LIKE_TIMES.to_owned());
        }
        if task == DraftTask::Classification && self.n_rows >= 20 && 2 * self.newest > self.n_rows {
            remarks.push(
                "a label came first in the second half of the rows: classes_max leaves room for more"
                    .to_owned(),
            );
        }
        remarks
    }

    /// Refuses numbers with both decimal marks, some of which may be either, unless they are asked to be
    /// names.
    fn ensure_one_mark(&self, asked: Option<DraftTask>) -> anyhow::Result<()> {
        let n_others = if self.by_either {
            0
        } else {
            self.marks.n_only_there
        };
        let are_names = !matches!(asked, None | Some(DraftTask::Regression));
        let n_texts = self.n_texts - self.n_gaps;
        let is_mixed = self.n_numbers() > 0 && n_others * 100 >= n_texts.max(1) * 99;
        ensure!(
            are_names || !is_mixed,
            "target {}: {}",
            self.name,
            marks_are_mixed(n_others, self.n_numbers())
        );
        Ok(())
    }

    fn ensure_learnable(&self, task: DraftTask) -> anyhow::Result<()> {
        let name = &self.name;
        match (task, &self.first_text, &self.excess) {
            (DraftTask::Regression, Some((text, line)), _)
                if !self.has_strays() && !self.are_mostly_numbers() =>
            {
                bail!("target {name}: a regression needs numbers, and line {line} has {text}")
            }
            (DraftTask::Classification, None, Some(excess)) => {
                bail!("target {name} has {excess}; try --task regression or another column")
            }
            (DraftTask::Classification, Some((text, line)), Some(excess)) => bail!(
                "target {name} has {excess}, too many for classes; try another column, or \
                 --task regression once it holds only numbers (line {line} has {text})"
            ),
            (DraftTask::Bandit, _, Some(excess)) => {
                bail!("target {name} has {excess}, too many for actions; try another column")
            }
            _ => Ok(()),
        }
    }
}

/// True for a text, in quotes, of three numbers or more with blanks between them.
fn is_list(quoted: &str) -> bool {
    let words = quoted.trim_matches('"').split_whitespace();
    let numbers = words.clone().filter(|word| word.parse::<f64>().is_ok());
    numbers.count() >= 3 && words.count() < 20
}

/// True for a text, in quotes, that is a date or a time of day.
fn is_time(quoted: &str) -> bool {
    let text = quoted.trim_matches('"');
    let mut formats = formats(text, DateEvidence::Values).into_iter();
    formats.any(|format| {
        let is_read = format.read_as_written(text, 0).is_some();
        is_read && (!is_of_day(format.written()) || is_clock(text))
    })
}

/// Sentences about labels that may be one: words for true and for false, and letters that differ in
/// their case alone.
fn look_alikes<'a>(labels: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    const WORDS: [[&str; 5]; 2] = [
        ["1", "true", "yes", "t", "y"],
        ["0", "false", "no", "f", "n"],
    ];
    let mut alike: Vec<Vec<&str>> = Vec::new();
    for words in WORDS {
        let is_one = |label: &&str| {
            words
                .iter()
                .any(|word| label.trim().eq_ignore_ascii_case(word))
        };
        alike.push(labels.clone().filter(is_one).collect());
    }
    // As grades or initials, Y and N alone, or 1 and t, would be no such words.
    if alike.iter().all(|one| one.len() < 2) || alike.iter().any(Vec::is_empty) {
        alike.clear();
    }
    let mut letters: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for label in labels.filter(|label| label.trim().chars().count() == 1) {
        letters.entry(label.to_lowercase()).or_default().push(label);
    }
    alike.extend(letters.into_values());
    let several = alike.into_iter().filter(|labels| labels.len() > 1);
    let sentences = several.map(|labels| {
        let (first, other) = (quoted(labels[0]), quoted(labels[1]));
        let all: Vec<String> = labels.iter().map(|label| quoted(label)).collect();
        format!(
            "{} are labels of their own; labels = {{ {other} = {first} }} under [rows] makes one of two",
            all.join(" and ")
        )
    });
    sentences.collect()
}

/// The form that all spellings of a label share: its number, or its letters without case and blanks, with
/// each accent within its letter.
fn folded(text: &str) -> String {
    let composed: String = text.trim().nfc().map(|(c, _)| c).collect();
    let trimmed = composed.as_str();
    let is_code = trimmed.len() > 1 && trimmed.starts_with('0') && !trimmed.starts_with("0.");
    if let (Ok(value), false) = (trimmed.parse::<f64>(), is_code)
        && value.is_finite()
        && !loses_digits(trimmed, value)
    {
        return value.to_string();
    }
    // Single letters may differ in their case alone.
    if trimmed.chars().count() < 2 {
        return trimmed.to_owned();
    }
    let words: Vec<&str> = trimmed.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests;
