//! The identity of a run's feedback: its ids, its source, and whether it brings the rows themselves.
//!
//! Invariant: two runs share an id only where each line of a file is to be learned once; then the same
//! line of the same content is the same event in both.

use std::path::Path;
use std::time::SystemTime;

use anyhow::ensure;
use perennial::event::{Batch, Column, Time};
use perennial::model::Task;
use perennial::proto::perennial::v1::{FeedbackRequest, Tensor};
use uuid::Uuid;

use crate::cli::client::tensors;
use crate::cli::rows::Input;
use crate::cli::rows::labelled::LabelledRow;

/// The longest id of feedback.
const ID_BYTES_MAX: usize = 128;
/// Letters of the hash of a row.
const CONTENT_BYTES: usize = 16;

/// The options of a run, as far as its feedback goes.
pub(super) struct IdentityArgs<'a> {
    pub rows: &'a Path,
    pub source: Option<String>,
    pub is_once: bool,
    pub backfill: Option<String>,
    pub weight: Option<f64>,
    pub task: &'a Task,
}

/// The identity of a run's feedback.
pub(super) struct RunIdentity {
    /// The prefix of each id, before the line or the row.
    prefix: String,
    is_once: bool,
    source: String,
    backfill: Option<String>,
    weight: Option<f64>,
    /// The newest line, and how many rows began on it: a JSON array may have all on one.
    newest_line: (u64, u64),
}

/// A row that was asked, as its feedback speaks of it.
#[derive(Debug)]
pub(crate) struct AskedRow {
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

impl AskedRow {
    /// Its line; of several rows of a line, with their number.
    pub(super) fn line(&self) -> &str {
        &self.place
    }
}

impl RunIdentity {
    /// The identity of a run.
    ///
    /// # Errors
    /// Each line is to be learned once, and the task is a bandit's: what a row is worth follows from
    /// the action that is answered.
    pub(super) fn new(args: IdentityArgs) -> anyhow::Result<RunIdentity> {
        let is_once = args.is_once || args.backfill.is_some();
        ensure!(
            !is_once || !matches!(args.task, Task::Bandit { .. }),
            "--once and --backfill: the reward of a bandit follows from its own answer; send logged \
             decisions by `perennial feedback --backfill NAME`"
        );
        ensure!(
            args.backfill.is_some() || !is_once || args.rows != Path::new("-"),
            "--once makes ids of the name of the file and its lines: name a file, not -, or a backfill"
        );
        let file = args.rows.file_name().unwrap_or(args.rows.as_os_str());
        let file = match file.to_string_lossy() {
            stdin if stdin == "-" => "stdin".to_owned(),
            file => file.into_owned(),
        };
        let prefix = match (&args.backfill, is_once) {
            (Some(name), _) => format!("{name}/{file}:"),
            (None, true) => format!("{file}:"),
            (None, false) => format!("{}-", Uuid::from_u128(rand::random())),
        };
        Ok(RunIdentity {
            prefix: shortened(prefix),
            is_once,
            source: args.source.unwrap_or_default(),
            backfill: args.backfill,
            weight: args.weight,
            newest_line: (0, 0),
        })
    }

    /// True if each line is to be learned once.
    pub(super) fn is_once(&self) -> bool {
        self.is_once
    }

    /// The next row that was asked.
    pub(super) fn asked(&mut self, row: &LabelledRow, prediction_id: String) -> AskedRow {
        self.newest_line = match self.newest_line {
            (line, n) if line == row.line => (line, n + 1),
            _ => (row.line, 1),
        };
        AskedRow {
            prediction_id,
            place: match self.newest_line {
                (line, 1) => line.to_string(),
                (line, n) => format!("{line}.{n}"),
            },
            content: if self.is_once {
                content(row)
            } else {
                String::new()
            },
            event_time: row.event_time,
            batch: self.is_once.then(|| row.batch.clone()),
        }
    }

    /// Feedback about a row, without its signal.
    pub(super) fn subject(&self, row: u64, asked: AskedRow, inputs: &[Input]) -> FeedbackRequest {
        let AskedRow {
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

/// A hash of what a row teaches: its inputs, its target and its time, so that other rows on the same
/// lines of a file of the same name are other events.
fn content(row: &LabelledRow) -> String {
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
    hasher.finalize().to_hex()[..CONTENT_BYTES].to_owned()
}

fn row_tensors(inputs: &[Input], batch: &Batch) -> Vec<Tensor> {
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

    fn identity(is_once: bool, backfill: Option<&str>, file: &str) -> RunIdentity {
        let args = IdentityArgs {
            rows: Path::new(file),
            source: Some("job".to_owned()),
            is_once,
            backfill: backfill.map(str::to_owned),
            weight: Some(2.0),
            task: &Task::Regression,
        };
        RunIdentity::new(args).expect("a regression")
    }

    fn subject(identity: &mut RunIdentity, event_time: Option<Time>) -> FeedbackRequest {
        let row = LabelledRow {
            index: 7,
            line: 9,
            batch: Batch {
                n_rows: 1,
                columns: Vec::new(),
            },
            truth: None,
            label: String::new(),
            event_time,
        };
        let asked = identity.asked(&row, "p".to_owned());
        identity.subject(row.index, asked, &[])
    }

    #[test]
    fn an_id_is_of_the_run_or_of_the_line() {
        let of_run = subject(&mut identity(false, None, "a/rows.csv"), None);
        assert!(of_run.feedback_id.ends_with("-7"), "{}", of_run.feedback_id);
        assert_eq!(of_run.prediction_id.as_deref(), Some("p"));
        assert_eq!((of_run.event_time, of_run.source.as_str()), (None, "job"));
        let once = subject(&mut identity(true, None, "a/rows.csv"), None);
        let (place, hash) = once.feedback_id.rsplit_once(':').expect("a hash");
        assert_eq!((place, hash.len()), ("rows.csv:9", CONTENT_BYTES));
        let mut identity_of_array = identity(true, None, "rows.json");
        let ids = [(); 2].map(|()| subject(&mut identity_of_array, None).feedback_id);
        let [first, second] = &ids;
        assert!(first.starts_with("rows.json:9:"), "{first}");
        assert!(second.starts_with("rows.json:9.2:"), "{second}");
        assert_eq!((once.prediction_id, once.weight), (None, Some(2.0)));
        assert!(once.event_time.is_some());
        let time = Some(Time(-1));
        let backfill = subject(&mut identity(false, Some("may"), "-"), time);
        let id = &backfill.feedback_id;
        assert!(id.starts_with("may/stdin:9:"), "{id}");
        assert_eq!(backfill.backfill.as_deref(), Some("may"));
        let time = backfill.event_time.expect("its own");
        assert_eq!((time.seconds, time.nanos), (-1, 999_999_000));
        let long = subject(&mut identity(true, None, &"x".repeat(200)), None);
        assert!(long.feedback_id.len() <= ID_BYTES_MAX);
    }

    #[test]
    fn other_rows_on_the_same_lines_are_other_events() {
        let of_row = |number: f64, text: &str, label: &str| {
            let row = LabelledRow {
                index: 0,
                line: 2,
                batch: Batch {
                    n_rows: 1,
                    columns: vec![
                        Column::Numbers(vec![number]),
                        Column::Strings(vec![text.to_owned()]),
                    ],
                },
                truth: None,
                label: label.to_owned(),
                event_time: None,
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
    fn a_bandit_is_refused() {
        let actions = vec!["a".to_owned()];
        let args = IdentityArgs {
            rows: Path::new("rows.csv"),
            source: None,
            is_once: true,
            backfill: None,
            weight: None,
            task: &Task::Bandit { actions },
        };
        let refused = RunIdentity::new(args).err().expect("a bandit");
        assert!(refused.to_string().contains("feedback --backfill NAME"));
    }
}
