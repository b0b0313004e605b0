//! A draft as the text of a model.toml, with its guesses as comments.
//!
//! Invariant: it is valid TOML whatever the names and values are, and a comment stays on its line.

use std::fmt;

use perennial::model::RowFormat;

use super::draft::{Draft, DraftInput, DraftKind, DraftTask, ExcludedColumn, KEYS_MAX, SeriesKey};
use crate::cli::rows::quoted;

/// The width before a comment, unless the setting is longer.
const COMMENT_COLUMN: usize = 27;
/// The width that a list of labels fills.
const LINE_CHARS_MAX: usize = 96;
/// Series that a model remembers by default.
const KEYS_DEFAULT: u64 = 1024;

const POINTERS: &str = "\
# All else has a default: [learner] kind = \"auto\" mixes several models and needs no tuning;
# \"gradient\" trains one [network] with a [memory], \"analytic\" is ridge regression that stores no
# example, and \"neighbours\" asks the nearest of the newest examples.
";
/// The hint below the kind of a text.
const ENCODER: &str = "# encoder = \"FOLDER\"        # a pretrained BERT takes it in, \
    where words alone say too little\n";

/// The hint behind the inputs of a regression that has a category.
const SERIES: &str = "\
# [series]
# key = \"NAME\"             # the input that tells series apart, such as a store: a row then knows the
                            # past of its own series
";

impl Draft {
    /// The text of the model.toml.
    pub(crate) fn to_toml(&self) -> String {
        let source = self.source.escape_debug();
        let mut toml = format!(
            "# Drafted by `perennial init` from {source} ({} rows). \
             Edit freely; each guess says why.\n",
            self.n_rows
        );
        let task = match self.task {
            DraftTask::Classification => "classification",
            DraftTask::Regression => "regression",
            DraftTask::Bandit => "bandit",
        };
        toml += &line(&format!("task = \"{task}\""), &self.task_reason);
        match self.task {
            DraftTask::Classification => {
                toml += &labels("classes", &self.labels);
                let room = (self.labels.len() + 8).div_ceil(8) * 8;
                toml += &line(
                    &format!("# classes_max = {room}"),
                    "room for labels that are yet to come",
                );
            }
            DraftTask::Bandit => toml += &labels("actions", &self.labels),
            DraftTask::Regression => {}
        }
        if !self.excluded.is_empty() {
            toml.push('\n');
        }
        for excluded in &self.excluded {
            toml += &format!("# left out: {excluded}\n");
        }
        for input in &self.inputs {
            toml += &self.input(input);
        }
        toml += &self.rows();
        toml.push('\n');
        let mut kinds = self.inputs.iter().map(|input| &input.kind);
        let has_category = kinds.any(|kind| matches!(kind, DraftKind::Category));
        if let Some(key) = &self.series {
            toml += &series(key);
            toml.push('\n');
        } else if matches!(self.task, DraftTask::Regression) && has_category {
            toml += SERIES;
            toml.push('\n');
        }
        toml + POINTERS
    }

    /// The format of the rows of files.
    fn rows(&self) -> String {
        if self.rows == RowFormat::default() {
            return String::new();
        }
        let rows = toml::to_string(&self.rows).expect("texts in tables are TOML");
        // Tables within it are named from the top.
        let rows = rows.replace("\n[", "\n[rows.");
        let rows = match rows.strip_prefix('[') {
            Some(rest) => format!("[rows.{rest}"),
            None => format!("[rows]\n{rows}"),
        };
        format!("\n# how files are read, as this one was; requests do not pass through it\n{rows}")
    }

    fn input(&self, input: &DraftInput) -> String {
        let mut toml = format!("\n[[input]]\nname = {}\n", string(&input.name));
        let kind = match &input.kind {
            DraftKind::Time(_) => "time",
            DraftKind::Number => "number",
            DraftKind::Category => "category",
            DraftKind::Text => "text",
            DraftKind::Vector(_) => "vector",
        };
        toml += &line(&format!("kind = \"{kind}\""), &input.reason);
        if let DraftKind::Vector(length) = input.kind {
            toml += &format!("length = {length}\n");
        }
        match &input.kind {
            DraftKind::Text => toml += ENCODER,
            DraftKind::Time(format) if !format.is_empty() => {
                toml += &line(&format!("format = {}", string(format)), "as in the file");
            }
            _ => {}
        }
        let takes_gaps = matches!(input.kind, DraftKind::Number | DraftKind::Time(_));
        if input.n_gaps > 0 && takes_gaps {
            let reason = format!("{} of {} rows have a gap", input.n_gaps, self.n_rows);
            toml += &line("missing = \"mean\"", &reason);
        }
        for remark in &input.remarks {
            toml += &format!("# {}\n", one_line(remark));
        }
        toml
    }
}

impl fmt::Display for ExcludedColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", quoted(&self.name), self.reason)
    }
}

/// The numbers that a column lies between, as a comment shows them.
pub(super) fn shown_range(range: Option<(f64, f64)>) -> String {
    match range {
        Some((min, max)) => format!("{} .. {}", shown(min), shown(max)),
        None => "no numbers".into(),
    }
}

/// The table of the key of series.
fn series(key: &SeriesKey) -> String {
    let SeriesKey {
        name,
        n_keys,
        n_times,
    } = key;
    let reason = format!("{n_keys} series at {n_times} times: each comes once at a time");
    let mut toml = "[series]\n".to_owned();
    toml += &line(&format!("key = {}", string(name)), &reason);
    if *n_keys > KEYS_DEFAULT {
        let room = n_keys + n_keys / 8;
        toml += &line(
            &format!("keys_max = {}", room.min(KEYS_MAX)),
            "room for them",
        );
    }
    toml
}

/// A number as a comment shows it.
pub(super) fn shown(number: f64) -> String {
    if number == 0.0 || (1e-5..1e16).contains(&number.abs()) {
        number.to_string()
    } else {
        format!("{number:e}")
    }
}

fn line(setting: &str, comment: &str) -> String {
    let comment = one_line(comment);
    format!("{setting:<COMMENT_COLUMN$} # {comment}\n")
}

/// A text without the characters that would end a comment.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// The labels on one line where they fit, on filled lines otherwise.
fn labels(key: &str, labels: &[String]) -> String {
    let comment = "in the order of the alphabet";
    let strings: Vec<String> = labels.iter().map(|label| string(label)).collect();
    let setting = format!("{key} = [{}]", strings.join(", "));
    if setting.chars().count() + comment.len() <= LINE_CHARS_MAX {
        return line(&setting, comment);
    }
    let mut toml = line(&format!("{key} = ["), comment);
    let mut row = String::new();
    for string in strings {
        if !row.is_empty() && row.chars().count() + string.chars().count() + 2 > LINE_CHARS_MAX {
            toml += &format!("   {row}\n");
            row.clear();
        }
        row += &format!(" {string},");
    }
    toml + &format!("   {row}\n]\n")
}

/// A TOML basic string.
fn string(text: &str) -> String {
    let mut string = String::from('"');
    for c in text.chars() {
        match c {
            '"' => string += "\\\"",
            '\\' => string += "\\\\",
            '\n' => string += "\\n",
            '\r' => string += "\\r",
            '\t' => string += "\\t",
            c if c.is_control() => string += &format!("\\u{:04X}", c as u32),
            c => string.push(c),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(task: DraftTask, labels: &[&str]) -> Draft {
        Draft {
            source: "rows.csv".into(),
            n_rows: 1000,
            task,
            task_reason: "target \"y\": 2 distinct values, not numeric".into(),
            labels: labels.iter().map(|label| label.to_string()).collect(),
            inputs: vec![DraftInput {
                name: "amount".into(),
                kind: DraftKind::Number,
                reason: "-1.5 .. 204".into(),
                n_gaps: 12,
                examples: Vec::new(),
                remarks: Vec::new(),
                sentinels: Vec::new(),
                unit: None,
            }],
            excluded: vec![ExcludedColumn {
                name: "id".into(),
                reason: "a row id (1, 2, 3, ...)".into(),
                examples: Vec::new(),
            }],
            target: "y".into(),
            series: None,
            rows: RowFormat::default(),
            notes: Vec::new(),
        }
    }

    fn parsed(draft: &Draft) -> toml::Table {
        let toml = draft.to_toml();
        toml::from_str(&toml).expect(&toml)
    }

    #[test]
    fn a_draft_reads_as_a_person_would_write_it() {
        let mut draft = draft(DraftTask::Classification, &["up", "down"]);
        draft.inputs.push(DraftInput {
            name: "v".into(),
            kind: DraftKind::Vector(4),
            reason: "a list in every row".into(),
            n_gaps: 0,
            examples: Vec::new(),
            remarks: Vec::new(),
            sentinels: Vec::new(),
            unit: None,
        });
        draft.inputs.push(DraftInput {
            name: "t".into(),
            kind: DraftKind::Text,
            reason: "words".into(),
            n_gaps: 0,
            examples: Vec::new(),
            remarks: Vec::new(),
            sentinels: Vec::new(),
            unit: None,
        });
        let expected = r#"# Drafted by `perennial init` from rows.csv (1000 rows). Edit freely; each guess says why.
task = "classification"     # target "y": 2 distinct values, not numeric
classes = ["up", "down"]    # in the order of the alphabet
# classes_max = 16          # room for labels that are yet to come

# left out: "id": a row id (1, 2, 3, ...)

[[input]]
name = "amount"
kind = "number"             # -1.5 .. 204
missing = "mean"            # 12 of 1000 rows have a gap

[[input]]
name = "v"
kind = "vector"             # a list in every row
length = 4

[[input]]
name = "t"
kind = "text"               # words
# encoder = "FOLDER"        # a pretrained BERT takes it in, where words alone say too little

"#;
        assert_eq!(draft.to_toml(), expected.to_owned() + POINTERS);
    }

    #[test]
    fn any_text_survives_as_a_string_and_in_comments() {
        let check = |task, key: &str, text: &str, labels: &[&str]| {
            let mut draft = draft(task, labels);
            draft.source = text.into();
            draft.inputs[0].name = text.into();
            draft.excluded[0].name = text.into();
            let table = parsed(&draft);
            let got = table[key].as_array().unwrap().iter();
            let got: Vec<&str> = got.map(|label| label.as_str().unwrap()).collect();
            assert_eq!(got, labels);
            assert_eq!(table["input"][0]["name"].as_str(), Some(text));
            assert_eq!(table.len(), 3, "a comment became a key: {text:?}");
        };
        let long = "x".repeat(300);
        let texts = [
            "",
            " ",
            "a b",
            "it's",
            "say \"hi\"",
            "\\",
            "\\u0041",
            "a\nb = 1",
            "a\r\nb",
            "\t",
            "#",
            "]",
            "\0\u{1}\u{1b}\u{7f}\u{85}\u{2028}\u{feff}",
            "é 漢 🦀",
            "\"\"\"",
            "'''",
            &long,
        ];
        for text in texts {
            check(DraftTask::Classification, "classes", text, &[text]);
            check(DraftTask::Bandit, "actions", text, &texts);
        }
    }

    #[test]
    fn many_labels_fill_lines() {
        let labels: Vec<String> = (0..77).map(|n| format!("class number {n}")).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let draft = draft(DraftTask::Classification, &labels);
        let toml = draft.to_toml();
        let widest = toml.lines().map(|line| line.chars().count()).max();
        assert!(widest.unwrap() <= LINE_CHARS_MAX + 4, "{toml}");
        assert_eq!(parsed(&draft)["classes"].as_array().unwrap().len(), 77);
    }

    #[test]
    fn a_regression_has_no_labels() {
        let table = parsed(&draft(DraftTask::Regression, &[]));
        assert_eq!(table["task"].as_str(), Some("regression"));
        assert_eq!(table.len(), 2);
    }
}
