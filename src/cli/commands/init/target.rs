//! The statistics of the target, and the task that they suggest.
//!
//! Invariant: labels are kept as the text of the file, in order of appearance, and bounded.

use std::collections::{BTreeMap, HashMap};

use anyhow::{bail, ensure};

use super::amounts::{Meaning, meaning};
use super::description::shown_range;
use super::draft::Task;
use super::extremes::Extremes;
use super::marks::{Marks, marks_are_mixed, read_by_other};
use super::time_formats::{Evidence, formats};
use crate::cli::rows::number::{Decimals, finite, is_gap, is_percent, loses_digits, number};
use crate::cli::rows::quoted;

/// The most classes or actions that a draft may have.
const N_LABELS_MAX: usize = 1000;
/// The longest label; a longer one is a text, not a class.
const LABEL_BYTES_MAX: usize = 1024;
/// Up to this many distinct integers are the names of classes.
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
    /// The place of a class by what its spellings have in common.
    folded: HashMap<String, usize>,
    /// The row that had the newest class.
    newest: u64,
    /// The ends of the numbers.
    pub extremes: Extremes,
    /// The decimal mark, as far as the numbers tell it.
    pub marks: Marks,
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
    pub task: Task,
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
        let mut number = number(text, self.decimals).filter(|number| !number.is_nan());
        if number.is_none() && self.by_either && !is_gap(text) {
            number = finite(text, self.decimals.other()).inspect(|_| self.marks.add_other());
        }
        match number {
            Some(number) => {
                self.is_whole &= number.fract() == 0.0;
                self.n_percent += u64::from(is_percent(text));
                self.n_inexact += u64::from(loses_digits(text, number));
                self.extremes.add(number);
                self.marks.add(text, number, self.decimals);
            }
            None => {
                self.n_texts += 1;
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
        self,
        asked: Option<Task>,
        sentinels: &[(f64, u64)],
    ) -> anyhow::Result<TaskChoice> {
        let name = &self.name;
        ensure!(self.n_rows > 0, "target {name} has no value in any row");
        let n_labels = self.labels.len();
        if let ([only], None) = (&self.labels[..], &self.excess)
            && asked != Some(Task::Bandit)
        {
            let only = quoted(&only[0].0);
            bail!("target {name} is {only} in every row, which leaves nothing to learn");
        }
        let suggested = self.suggested();
        let task = asked.unwrap_or(suggested);
        self.ensure_one_mark(asked)?;
        self.ensure_learnable(task)?;
        let seen = match (task, &self.first_text) {
            (Task::Regression, _) => {
                let range = self.extremes.range_without(sentinels);
                format!("numbers, {}", shown_range(range))
            }
            (_, Some(_)) => format!("{n_labels} distinct values, not numeric"),
            (_, None) if self.is_whole => format!("{n_labels} distinct integers"),
            (_, None) => format!("{n_labels} distinct numbers"),
        };
        let reason = match asked {
            Some(_) => format!("given; target {name}: {seen}"),
            None => format!("target {name}: {seen}{}", self.alternative(task)),
        };
        let remarks = self.remarks(task);
        let (labels, spellings) = match task {
            Task::Regression => (Vec::new(), BTreeMap::new()),
            Task::Classification | Task::Bandit => self.spelled(),
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
    fn suggested(&self) -> Task {
        // Whole numbers of more digits than a number keeps are codes.
        let are_long = self.n_inexact > 0 && self.n_inexact * 100 >= self.n_rows;
        let is_few = self.is_few_integers();
        if self.is_of_numbers()
            && !are_long
            && (!is_few || self.meaning() == Meaning::PerhapsAmounts)
        {
            Task::Regression
        } else {
            Task::Classification
        }
    }

    fn is_few_integers(&self) -> bool {
        self.is_whole && self.excess.is_none() && self.labels.len() <= N_INTEGER_CLASSES_MAX
    }

    /// How to have the other task, where a few whole numbers leave it open.
    fn alternative(&self, task: Task) -> &'static str {
        if self.are_mostly_numbers() && !self.is_of_numbers() && task == Task::Classification {
            return ", most of them numbers; --task regression leaves out the others";
        }
        if !self.is_few_integers() || !self.is_of_numbers() {
            return "";
        }
        match (task, self.meaning()) {
            (Task::Regression, _) => {
                ", few and whole, as amounts are; --task classification if they are names"
            }
            (Task::Classification, Meaning::PerhapsNames) => {
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
        self.n_texts > 0 && n_others * 100 <= self.n_rows && 2 * self.n_texts <= self.n_rows
    }

    /// The kind of the few whole numbers.
    fn meaning(&self) -> Meaning {
        let counts = self.labels.iter().filter_map(|spellings| {
            let value = finite(&spellings[0].0, self.decimals)?;
            Some((value, spellings.iter().map(|(_, n)| n).sum()))
        });
        meaning(&self.header, counts.collect())
    }

    /// The commonest spelling of each class, and the others.
    fn spelled(self) -> (Vec<String>, BTreeMap<String, String>) {
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
        (labels, others)
    }

    /// Sentences about the target.
    fn remarks(&self, task: Task) -> Vec<String> {
        let mut remarks = Vec::new();
        if task != Task::Regression {
            for spellings in self.labels.iter().filter(|spellings| spellings.len() > 1) {
                let shown: Vec<String> = spellings
                    .iter()
                    .map(|(text, n)| format!("{} ({n})", quoted(text)))
                    .collect();
                remarks.push(format!("read as one label: {}", shown.join(", ")));
            }
        }
        if task == Task::Regression && self.n_texts > 0 {
            let (n, text) = (self.n_texts, self.first_text.as_ref());
            let (text, line) = text.map_or(("", 0), |(text, line)| (text.as_str(), *line));
            let targets = match n {
                1 => "1 target is no number, ".to_owned(),
                n => format!("{n} targets are no numbers, the first "),
            };
            remarks.push(format!("{targets}in line {line}: {text}"));
        }
        if task != Task::Regression && self.first_text.as_ref().is_some_and(|one| is_list(&one.0)) {
            remarks.push(
                "its values look like several columns: --separator space divides at blanks"
                    .to_owned(),
            );
        }
        if task == Task::Regression && self.by_either {
            remarks.extend(read_by_other(self.marks.n_only_there));
        }
        if task != Task::Regression && self.first_text.as_ref().is_some_and(|one| is_time(&one.0)) {
            remarks.push(
                "its values look like times: a regression takes numbers, such as minutes or days"
                    .to_owned(),
            );
        }
        if task == Task::Classification && self.n_rows >= 20 && 2 * self.newest > self.n_rows {
            remarks.push(
                "a label came first in the second half of the rows: classes_max leaves room for more"
                    .to_owned(),
            );
        }
        remarks
    }

    /// Refuses numbers with both decimal marks, some of which may be either, unless they are asked to be
    /// names.
    fn ensure_one_mark(&self, asked: Option<Task>) -> anyhow::Result<()> {
        let n_others = if self.by_either {
            0
        } else {
            self.marks.n_only_there
        };
        let are_names = !matches!(asked, None | Some(Task::Regression));
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

    fn ensure_learnable(&self, task: Task) -> anyhow::Result<()> {
        let name = &self.name;
        match (task, &self.first_text, &self.excess) {
            (Task::Regression, Some((text, line)), _)
                if !self.has_strays() && !self.are_mostly_numbers() =>
            {
                bail!("target {name}: a regression needs numbers, and line {line} has {text}")
            }
            (Task::Classification, None, Some(excess)) => {
                bail!("target {name} has {excess}; try --task regression or another column")
            }
            (Task::Classification, Some((text, line)), Some(excess)) => bail!(
                "target {name} has {excess}, too many for classes; try another column, or \
                 --task regression once it holds only numbers (line {line} has {text})"
            ),
            (Task::Bandit, _, Some(excess)) => {
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
    let mut formats = formats(text, Evidence::Values).into_iter();
    formats.any(|format| format.read_as_written(text, 0).is_some())
}

/// What the spellings of a label have in common: its number, or its letters without case and blanks.
fn folded(text: &str) -> String {
    let trimmed = text.trim();
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
mod tests {
    use super::*;
    use crate::cli::commands::init::tests::drafted;

    fn texts(ys: &[&str]) -> Vec<String> {
        ys.iter().map(|y| y.to_string()).collect()
    }

    fn numbered(word: &str, n_labels: usize) -> Vec<String> {
        (0..n_labels).map(|y| format!("{word}{y}")).collect()
    }

    /// Compares the task and its reason, or the refusal.
    fn check(ys: &[String], asked: Option<Task>, expected: &str) {
        let rows = ys.iter().enumerate();
        let rows = rows.map(|(row, y)| format!("{}.5,{y}\n", row % 5));
        let text = format!("x,y\n{}", rows.collect::<String>());
        let got = match drafted(&text, asked) {
            Ok(draft) => format!("{:?}, {}", draft.task, draft.task_reason),
            Err(error) => error.root_cause().to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn the_values_tell_the_task() {
        check(
            &texts(&["up", "down", "NA", "", "up"]),
            None,
            "Classification, target \"y\": 2 distinct values, not numeric",
        );
        check(
            &texts(&["up", "down", "NA", "", "up"]),
            Some(Task::Bandit),
            "Bandit, given; target \"y\": 2 distinct values, not numeric",
        );
        check(
            &[numbered("", 20), numbered("", 20)].concat(),
            None,
            "Classification, target \"y\": 20 distinct integers, taken as names; --task regression if \
             they are amounts",
        );
        check(
            &numbered("", 20),
            None,
            "Regression, target \"y\": numbers, 0 .. 19, few and whole, as amounts are; --task \
             classification if they are names",
        );
        let sales = [15, 8, 4, 2, 1, 1].into_iter().zip(0..);
        let sales = sales.flat_map(|(n, value)| vec![format!("{value}"); 4 * n]);
        check(
            &sales.collect::<Vec<_>>(),
            None,
            "Regression, target \"y\": numbers, 0 .. 5, few and whole, as amounts are; --task \
             classification if they are names",
        );
        check(
            &texts(&["9007199254740993", "9007199254740992"]),
            None,
            "Classification, target \"y\": 2 distinct integers",
        );
        let mut most = numbered("", 30);
        most.extend(texts(&["?1", "?2"]));
        check(
            &most,
            None,
            "Classification, target \"y\": 32 distinct values, not numeric, most of them numbers; --task \
             regression leaves out the others",
        );
        check(
            &most,
            Some(Task::Regression),
            "Regression, given; target \"y\": numbers, 0 .. 29",
        );
        check(
            &numbered("", 21),
            None,
            "Regression, target \"y\": numbers, 0 .. 20",
        );
        check(
            &texts(&["1", "2.5"]),
            None,
            "Regression, target \"y\": numbers, 1 .. 2.5",
        );
        check(
            &texts(&["1", "2"]),
            Some(Task::Regression),
            "Regression, given; target \"y\": numbers, 1 .. 2",
        );
        check(
            &numbered("w", 1000),
            None,
            "Classification, target \"y\": 1000 distinct values, not numeric",
        );
    }

    #[test]
    fn a_target_of_times_says_that_a_regression_takes_numbers() {
        let rows: String = (0..60)
            .map(|n| format!("{},{}:{:02}:00\n", n % 7, n % 3, n % 60))
            .collect();
        let notes = drafted(&format!("x,y\n{rows}"), None).unwrap().notes;
        let expected = "target: its values look like times: a regression takes numbers, such as minutes or days";
        assert!(notes.iter().any(|note| note == expected), "{notes:?}");
    }

    #[test]
    fn a_target_that_cannot_be_learned_is_refused() {
        check(
            &texts(&["up", "down", "NA", "", "up"]),
            Some(Task::Regression),
            "target \"y\": a regression needs numbers, and line 2 has \"up\"",
        );
        check(
            &texts(&["", "NA"]),
            None,
            "target \"y\" has no value in any row",
        );
        check(
            &texts(&["a", "a"]),
            None,
            "target \"y\" is \"a\" in every row, which leaves nothing to learn",
        );
        check(
            &numbered("w", 1001),
            None,
            "target \"y\" has more than 1000 distinct values, too many for classes; try another \
             column, or --task regression once it holds only numbers (line 2 has \"w0\")",
        );
        check(
            &numbered("", 1001),
            Some(Task::Classification),
            "target \"y\" has more than 1000 distinct values; try --task regression or another \
             column",
        );
        check(
            &numbered("", 1001),
            Some(Task::Bandit),
            "target \"y\" has more than 1000 distinct values, too many for actions; try another \
             column",
        );
        check(
            &texts(&["a", &"b".repeat(2000)]),
            None,
            "target \"y\" has a value longer than 1024 bytes, too many for classes; try another \
             column, or --task regression once it holds only numbers (line 2 has \"a\")",
        );
    }
}
