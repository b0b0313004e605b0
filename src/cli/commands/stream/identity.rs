//! The identity of a run's feedback: its ids, its source, and whether it brings the rows themselves.
//!
//! Invariant: the same line of the same file is the same event in every run, whatever the file is
//! called, unless it is to be learned again.

use std::time::SystemTime;

use anyhow::ensure;
use perennial::event::{Batch, Column, Time};
use perennial::model::Task;
use perennial::proto::perennial::v1::{FeedbackRequest, Tensor};
use uuid::Uuid;

use crate::cli::client::tensors;
use crate::cli::rows::ModelInput;
use crate::cli::rows::labelled::LabelledRow;

/// The longest id of feedback.
const ID_BYTES_MAX: usize = 128;
/// Letters of the hash of a row.
const CONTENT_BYTES: usize = 16;
/// Rows by which a file is known; equal rows on the same line behind others are other events.
const FIRST_ROWS: u64 = 20;

/// The options of a run, as far as its feedback goes.
pub(super) struct IdentityArgs<'a> {
    pub source: Option<String>,
    pub is_again: bool,
    pub backfill: Option<String>,
    pub weight: Option<f64>,
    pub has_times: bool,
    pub task: &'a Task,
}

/// The identity of a run's feedback.
pub(super) struct RunIdentity {
    /// The prefix of each id, before the line or the row.
    prefix: String,
    /// True if each line is learned once over all runs.
    is_once: bool,
    /// True if rows may come without an answer that is journaled.
    may_bring_rows: bool,
    source: String,
    backfill: Option<String>,
    weight: Option<f64>,
    /// The newest line, and how many rows began on it: a JSON array may have all on one.
    newest_line: (u64, u64),
    /// A hash of the first rows, and their number.
    first_rows: (blake3::Hash, u64),
}

/// A row that was asked, as its feedback speaks of it.
#[derive(Debug)]
pub(crate) struct RowIdentity {
    /// Empty where the feedback brings the row.
    prediction_id: String,
    /// Its line; of several rows of a line, with their number.
    place: String,
    /// A hash of its content, where each line is to be learned once.
    content: String,
    event_time: Option<Time>,
    /// The row that the feedback brings.
    batch: Option<Batch>,
}

impl RowIdentity {
    /// Its line; of several rows of a line, with their number.
    pub(super) fn line(&self) -> &str {
        &self.place
    }
}

impl RunIdentity {
    /// The identity of a run. Each answer of a bandit is a decision of its own, and so is its reward.
    ///
    /// # Errors
    /// A backfill for a bandit: the reward of a row follows from the action that is answered.
    pub(super) fn new(args: IdentityArgs) -> anyhow::Result<RunIdentity> {
        let is_bandit = matches!(args.task, Task::Bandit { .. });
        ensure!(
            args.backfill.is_none() || !is_bandit,
            "--backfill: the reward of a bandit follows from its own answer; send logged decisions by \
             `perennial feedback --backfill NAME`"
        );
        let is_once = args.backfill.is_some() || !args.is_again && !is_bandit;
        let prefix = match (&args.backfill, is_once) {
            (Some(name), _) => format!("{name}:"),
            (None, true) => String::new(),
            (None, false) => format!("{}-", Uuid::from_u128(rand::random())),
        };
        Ok(RunIdentity {
            prefix: shortened(prefix),
            is_once,
            may_bring_rows: is_once && !args.has_times,
            source: args.source.unwrap_or_default(),
            backfill: args.backfill,
            weight: args.weight,
            newest_line: (0, 0),
            first_rows: (blake3::hash(b""), 0),
        })
    }

    /// True if the feedback names the answer to a row; false for one that brings the row itself, as
    /// that of a backfill does, and that of a row that is most likely known since the one before it was.
    pub(super) fn names_answer(&self, is_known_so_far: bool) -> bool {
        let is_known = is_known_so_far && self.may_bring_rows;
        self.backfill.is_none() && !is_known
    }

    /// The ways on for rows that an earlier run has sent: those that are known, and those that were
    /// retracted since.
    pub(super) fn remedies(&self) -> (&'static str, &'static str) {
        match self.backfill {
            Some(_) => (
                "`perennial fate` shows the fate of each",
                "send corrected rows under another name of the backfill",
            ),
            None => (
                "--again learns them again",
                "--again learns them, as they are in the file now",
            ),
        }
    }

    /// The next row that was asked.
    pub(super) fn asked(&mut self, row: &LabelledRow, prediction_id: String) -> RowIdentity {
        self.newest_line = match self.newest_line {
            (line, n) if line == row.line => (line, n + 1),
            _ => (row.line, 1),
        };
        RowIdentity {
            place: match self.newest_line {
                (line, 1) => line.to_string(),
                (line, n) => format!("{line}.{n}"),
            },
            content: if self.is_once {
                self.content(row)
            } else {
                String::new()
            },
            event_time: row.event_time,
            batch: prediction_id.is_empty().then(|| row.batch.clone()),
            prediction_id,
        }
    }

    /// A hash of a row and of those by which its file is known.
    fn content(&mut self, row: &LabelledRow) -> String {
        let (first_rows, n) = &mut self.first_rows;
        let of_row = content(row);
        let mut hasher = blake3::Hasher::new();
        hasher.update(first_rows.as_bytes());
        hasher.update(of_row.as_bytes());
        let hash = hasher.finalize();
        if *n < FIRST_ROWS {
            (*first_rows, *n) = (hash, *n + 1);
        }
        hash.to_hex()[..CONTENT_BYTES].to_owned()
    }

    /// Feedback about a row, without its signal.
    pub(super) fn subject(
        &self,
        row: u64,
        asked: RowIdentity,
        inputs: &[ModelInput],
    ) -> FeedbackRequest {
        let RowIdentity {
            prediction_id,
            place,
            content,
            event_time,
            batch,
        } = asked;
        let place = if self.is_once {
            format!("{place}:{content}")
        } else {
            row.to_string()
        };
        let event_time = event_time.or_else(|| batch.is_some().then(now));
        let of_feedback = FeedbackRequest {
            feedback_id: format!("{}{place}", self.prefix),
            source: self.source.clone(),
            backfill: self.backfill.clone(),
            weight: self.weight,
            event_time: event_time.map(timestamp),
            ..Default::default()
        };
        match batch {
            None => FeedbackRequest {
                prediction_id: Some(prediction_id),
                ..of_feedback
            },
            Some(batch) => FeedbackRequest {
                inputs: row_tensors(inputs, &batch),
                ..of_feedback
            },
        }
    }
}

/// A prefix that leaves room for a number: the hash of one that is longer.
fn shortened(prefix: String) -> String {
    const PLACE_BYTES_MAX: usize = 41 + 1 + CONTENT_BYTES;
    if prefix.len() + PLACE_BYTES_MAX <= ID_BYTES_MAX {
        prefix
    } else {
        format!("{}:", blake3::hash(prefix.as_bytes()).to_hex())
    }
}

/// A hash of a row as an example: its inputs, its target and its time.
fn content(row: &LabelledRow) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for column in &row.batch.columns {
        match column {
            Column::Numbers(numbers) => {
                numbers
                    .iter()
                    .for_each(|number| add(&number.to_bits().to_le_bytes()));
            }
            Column::Strings(texts) => texts.iter().for_each(|text| add(text.as_bytes())),
            Column::Vectors(bytes) => add(bytes),
            other => add(format!("{other:?}").as_bytes()),
        }
    }
    add(row.label.as_bytes());
    add(&row.event_time.map_or(0, |time| time.0).to_le_bytes());
    hasher.finalize()
}

fn row_tensors(inputs: &[ModelInput], batch: &Batch) -> Vec<Tensor> {
    let (tensors, contents) = tensors(inputs, batch);
    let own = tensors.into_iter().zip(contents);
    let own = own.map(|(tensor, contents)| Tensor {
        name: tensor.name,
        datatype: tensor.datatype,
        shape: tensor.shape,
        contents,
    });
    own.collect()
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Time(since.map_or(0, |since| since.as_micros() as i64))
}

fn timestamp(time: Time) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.0.div_euclid(1_000_000),
        nanos: (time.0.rem_euclid(1_000_000) * 1000) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(is_again: bool, backfill: Option<&str>) -> RunIdentity {
        let args = IdentityArgs {
            source: Some("job".to_owned()),
            is_again,
            backfill: backfill.map(str::to_owned),
            weight: Some(2.0),
            has_times: false,
            task: &Task::Regression,
        };
        RunIdentity::new(args).expect("a regression")
    }

    fn row(line: u64, text: &str) -> LabelledRow {
        LabelledRow {
            index: 7,
            line,
            batch: Batch {
                n_rows: 1,
                columns: vec![Column::Strings(vec![text.to_owned()])],
            },
            truth: None,
            label: String::new(),
            event_time: None,
        }
    }

    fn subject(identity: &mut RunIdentity, answer: &str, row: &LabelledRow) -> FeedbackRequest {
        let asked = identity.asked(row, answer.to_owned());
        identity.subject(row.index, asked, &[])
    }

    #[test]
    fn an_id_is_of_the_line_and_what_the_file_says() {
        let again = subject(&mut identity(true, None), "p", &row(9, "a"));
        assert!(again.feedback_id.ends_with("-7"), "{}", again.feedback_id);
        assert_eq!(again.prediction_id.as_deref(), Some("p"));
        assert_eq!((again.event_time, again.source.as_str()), (None, "job"));
        let once = subject(&mut identity(false, None), "p", &row(9, "a"));
        let (place, hash) = once.feedback_id.split_once(':').expect("a hash");
        assert_eq!((place, hash.len()), ("9", CONTENT_BYTES));
        assert_eq!(
            (once.prediction_id.as_deref(), once.weight),
            (Some("p"), Some(2.0))
        );
        // Of a row that was not journaled, the feedback brings the row.
        let brought = subject(&mut identity(false, None), "", &row(9, "a"));
        assert_eq!(brought.feedback_id, once.feedback_id);
        assert_eq!(brought.prediction_id, None);
        assert!(brought.event_time.is_some());
        let mut of_array = identity(false, None);
        let ids = [(); 2].map(|()| subject(&mut of_array, "p", &row(1, "a")).feedback_id);
        assert!(
            ids[0].starts_with("1:") && ids[1].starts_with("1.2:"),
            "{ids:?}"
        );
        let timed = LabelledRow {
            event_time: Some(Time(-1)),
            ..row(9, "a")
        };
        let backfill = subject(&mut identity(false, Some("may")), "", &timed);
        let id = &backfill.feedback_id;
        assert!(id.starts_with("may:9:"), "{id}");
        assert_eq!(backfill.backfill.as_deref(), Some("may"));
        let time = backfill.event_time.expect("its own");
        assert_eq!((time.seconds, time.nanos), (-1, 999_999_000));
        let long = identity(false, Some(&"x".repeat(200)));
        assert!(long.prefix.len() + 41 + 1 + CONTENT_BYTES <= ID_BYTES_MAX);
    }

    /// The ids of a file of these rows.
    fn ids(rows: &[String]) -> Vec<String> {
        let mut identity = identity(false, None);
        let rows = rows.iter().zip(2..);
        let ids =
            rows.map(|(text, line)| subject(&mut identity, "p", &row(line, text)).feedback_id);
        ids.collect()
    }

    #[test]
    fn equal_rows_of_another_file_are_other_events() {
        let file: Vec<String> = (0..60).map(|n| (n % 2).to_string()).collect();
        let shared = |other: &[String]| {
            let ids = (ids(&file), ids(other));
            ids.0.iter().filter(|id| ids.1.contains(*id)).count()
        };
        assert_eq!(shared(&file.clone()), 60);
        assert_eq!(shared(&[&file[..], &file[..]].concat()), 60, "it has grown");
        let changed = |at: usize| {
            let mut other = file.clone();
            "other".clone_into(&mut other[at]);
            other
        };
        // A row with other content is another event, and so are all behind one by which the
        // file is known.
        assert_eq!(shared(&changed(40)), 59);
        assert_eq!(shared(&changed(0)), 0);
        assert_eq!(shared(&changed(5)), 5);
    }

    #[test]
    fn what_a_row_teaches_is_its_inputs_its_target_and_its_time() {
        let of_row = |number: f64, text: &str, label: &str| {
            let row = LabelledRow {
                batch: Batch {
                    n_rows: 1,
                    columns: vec![
                        Column::Numbers(vec![number]),
                        Column::Strings(vec![text.to_owned()]),
                    ],
                },
                label: label.to_owned(),
                ..row(2, "")
            };
            content(&row)
        };
        let first = of_row(1.0, "a", "b");
        assert_eq!(first, of_row(1.0, "a", "b"));
        for other in [
            of_row(2.0, "a", "b"),
            of_row(1.0, "ab", ""),
            of_row(1.0, "a", "c"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn each_answer_of_a_bandit_is_a_decision_of_its_own() {
        let actions = vec!["a".to_owned()];
        let new = |backfill: Option<&str>| {
            RunIdentity::new(IdentityArgs {
                source: None,
                is_again: false,
                backfill: backfill.map(str::to_owned),
                weight: None,
                has_times: false,
                task: &Task::Bandit {
                    actions: actions.clone(),
                },
            })
        };
        let id = |mut identity| subject(&mut identity, "p", &row(9, "a")).feedback_id;
        assert_ne!(id(new(None).expect("a run")), id(new(None).expect("a run")));
        let refused = new(Some("may")).err().expect("a bandit");
        assert!(refused.to_string().contains("feedback --backfill NAME"));
    }
}
