//! The statistics of the target, and the task that they suggest.
//!
//! Invariant: labels are kept as the text of the file, in order of appearance, and bounded.

use std::collections::HashMap;

use anyhow::{bail, ensure};

use super::description::shown_range;
use super::draft::Task;
use crate::cli::rows::number::{Decimals, number};
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
    name: String,
    n_rows: u64,
    labels: Vec<String>,
    class_of: HashMap<String, usize>,
    /// The reason that the values cannot be classes.
    excess: Option<String>,
    /// The first value that is not a number, and its line.
    first_text: Option<(String, u64)>,
    is_whole: bool,
    range: Option<(f64, f64)>,
    decimals: Decimals,
}

/// The task for a target, with its reason.
pub(crate) struct TaskChoice {
    pub task: Task,
    pub reason: String,
    /// Classes or actions; none for a regression.
    pub labels: Vec<String>,
}

impl TargetStats {
    /// The statistics before the first row.
    pub(super) fn new(name: &str, decimals: Decimals) -> TargetStats {
        TargetStats {
            decimals,
            name: quoted(name),
            n_rows: 0,
            labels: Vec::new(),
            class_of: HashMap::new(),
            excess: None,
            first_text: None,
            is_whole: true,
            range: None,
        }
    }

    /// Adds the next value that is not a gap, and returns it as a label.
    pub(super) fn add<'a>(&mut self, line: u64, text: &'a str) -> Label<'a> {
        self.n_rows += 1;
        let number = number(text, self.decimals).filter(|number| !number.is_nan());
        match number {
            Some(number) => {
                let (min, max) = self.range.unwrap_or((number, number));
                self.range = Some((min.min(number), max.max(number)));
                self.is_whole &= number.fract() == 0.0;
            }
            None => {
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
        if let Some(&class) = self.class_of.get(text) {
            return Some(class);
        }
        if text.len() > LABEL_BYTES_MAX {
            let why = format!("a value longer than {LABEL_BYTES_MAX} bytes");
            self.excess.get_or_insert(why);
        } else if self.labels.len() == N_LABELS_MAX {
            let why = format!("more than {N_LABELS_MAX} distinct values");
            self.excess.get_or_insert(why);
        }
        if self.excess.is_some() {
            return None;
        }
        let class = self.labels.len();
        self.labels.push(text.to_owned());
        self.class_of.insert(text.to_owned(), class);
        Some(class)
    }

    /// The given task, or else the one that the values suggest.
    ///
    /// # Errors
    /// The values leave nothing to learn, or do not suit the task.
    pub(super) fn choose(self, asked: Option<Task>) -> anyhow::Result<TaskChoice> {
        let name = &self.name;
        ensure!(self.n_rows > 0, "target {name} has no value in any row");
        let n_labels = self.labels.len();
        if let ([only], None) = (&self.labels[..], &self.excess) {
            let only = quoted(only);
            bail!("target {name} is {only} in every row, which leaves nothing to learn");
        }
        let is_few_integers =
            self.is_whole && self.excess.is_none() && n_labels <= N_INTEGER_CLASSES_MAX;
        let suggested = match self.first_text {
            None if !is_few_integers => Task::Regression,
            _ => Task::Classification,
        };
        let task = asked.unwrap_or(suggested);
        self.ensure_learnable(task)?;
        let seen = match (task, &self.first_text) {
            (Task::Regression, _) => format!("numbers, {}", shown_range(self.range)),
            (_, Some(_)) => format!("{n_labels} distinct values, not numeric"),
            (_, None) if self.is_whole => format!("{n_labels} distinct integers"),
            (_, None) => format!("{n_labels} distinct numbers"),
        };
        Ok(TaskChoice {
            task,
            reason: match asked {
                Some(_) => format!("given; target {name}: {seen}"),
                None => format!("target {name}: {seen}"),
            },
            labels: match task {
                Task::Regression => Vec::new(),
                Task::Classification | Task::Bandit => self.labels,
            },
        })
    }

    fn ensure_learnable(&self, task: Task) -> anyhow::Result<()> {
        let name = &self.name;
        match (task, &self.first_text, &self.excess) {
            (Task::Regression, Some((text, line)), _) => {
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
            &numbered("", 20),
            None,
            "Classification, target \"y\": 20 distinct integers",
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
