//! The file of answers of `--out`: a JSON object for each row that was answered.
//!
//! Invariant: the rows stand in the order of their answers, and a file that cannot be written ends the
//! command.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use crate::cli::rows::lines::shown;

/// The file of answers.
pub(crate) struct AnswersFile {
    name: String,
    file: BufWriter<File>,
}

/// The answer to one row.
pub(crate) struct PrintedAnswer<'a> {
    /// Its line in the file of rows.
    pub line: u64,
    /// The label, value or action.
    pub answer: Value,
    /// The names of the classes, with their probabilities; none of other tasks.
    pub probabilities: Option<(&'a [String], &'a [f32])>,
    /// The probability with which an action was taken.
    pub propensity: Option<f32>,
    /// The target; none where the file has none.
    pub label: Option<&'a str>,
    /// The id of the prediction, of a server.
    pub prediction_id: Option<&'a str>,
}

impl AnswersFile {
    /// Creates the file, in place of one that is there.
    ///
    /// # Errors
    /// It is the file of `rows`, or cannot be written.
    pub(crate) fn create(path: &Path, rows: &Path) -> anyhow::Result<AnswersFile> {
        let name = format!("--out: {}", shown(path));
        ensure!(path != Path::new("-"), "--out: - is no file; name one");
        let place = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
        let is_rows = place(path).is_some_and(|out| place(rows) == Some(out));
        ensure!(!is_rows, "{name}: this is the file of rows");
        let file = File::create(path).with_context(|| name.clone())?;
        let file = BufWriter::new(file);
        Ok(AnswersFile { name, file })
    }

    /// Writes a row.
    pub(crate) fn write(&mut self, row: &PrintedAnswer) -> anyhow::Result<()> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("line", row.line.into());
        put("answer", row.answer.clone());
        if let Some((names, probabilities)) = row.probabilities {
            let named = names.iter().zip(probabilities);
            let named = named.map(|(name, value)| (name.clone(), Value::from(*value)));
            put("probabilities", Value::Object(named.collect()));
        }
        if let Some(propensity) = row.propensity {
            put("propensity", propensity.into());
        }
        put("label", json!(row.label));
        if let Some(id) = row.prediction_id {
            put("prediction_id", id.into());
        }
        let written = writeln!(self.file, "{}", Value::Object(fields));
        written.with_context(|| self.name.clone())
    }

    /// Writes the answers that are still held.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().context(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (rows, other) = (folder.path().join("rows.csv"), folder.path().join("out"));
        std::fs::write(&rows, "x,y\n1,a\n").unwrap();
        std::os::unix::fs::symlink(&rows, &other).unwrap();
        for out in [rows.as_path(), other.as_path(), Path::new("-")] {
            assert!(AnswersFile::create(out, &rows).is_err(), "{out:?}");
        }
        assert_eq!(std::fs::read_to_string(&rows).unwrap(), "x,y\n1,a\n");
        AnswersFile::create(&folder.path().join("new"), &rows).unwrap();
    }
}
