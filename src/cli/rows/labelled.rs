//! Labelled rows: the rows of a file with their targets.
//!
//! Invariant: each target is one that the task can have.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use perennial::event::{Batch, Time};
use perennial::model::Task;

use super::described::{check_described, ensure_unseen};
use super::event_times::EventTimes;
use super::file::FileRows;
use super::layout::{Layout, ModelInput};
use super::lines::shown;
use super::number::{Decimals, is_gap};
use super::options::ReadOptions;
use super::row::{Row, Unusable, quoted};
use super::signature::ModelSignature;
use super::target::{RowTarget, admit};

/// One row to predict, with its target.
#[derive(Debug)]
pub(crate) struct LabelledRow {
    /// The number of the row, from 0.
    pub index: u64,
    /// The line that it begins on.
    pub line: u64,
    /// Its features.
    pub batch: Batch,
    /// The target; none where it is a gap.
    pub truth: Option<RowTarget>,
    /// The target as the file has it; empty where it is a gap.
    pub label: String,
    /// The time of the event, where a column has it.
    pub event_time: Option<Time>,
}

/// The labelled rows of a file.
pub(crate) struct LabelledRows {
    path: PathBuf,
    rows: FileRows,
    layout: Layout,
    target: (usize, String),
    task: Task,
    decimals: Decimals,
    check: Option<Check>,
    /// The column of event times.
    times: Option<(usize, EventTimes)>,
    next_row: u64,
}

/// Whether a model takes a row; the sentence of its refusal.
pub(crate) type Check = Box<dyn Fn(&Batch) -> Result<(), String> + Send>;

impl LabelledRows {
    /// Opens a file of rows for a model.
    ///
    /// # Errors
    /// The file cannot be read, or lacks the target or an input.
    pub(crate) fn open(
        path: &Path,
        target: &str,
        described: &ModelSignature,
        options: &ReadOptions,
    ) -> anyhow::Result<LabelledRows> {
        ensure_unseen(&described.inputs, &[("--target", target)])?;
        let mut rows = FileRows::open(path, options)?;
        let of_file = || shown(path);
        check_described(&mut rows, &described.inputs, &[target]).with_context(of_file)?;
        let layout = Layout::of_rows(&mut rows, &described.inputs).with_context(of_file)?;
        let column = rows.column(target).with_context(of_file)?;
        Ok(LabelledRows {
            path: path.to_owned(),
            decimals: rows.form().decimals,
            rows,
            layout,
            target: (column, target.to_owned()),
            task: described.task.clone(),
            check: None,
            times: None,
            next_row: 0,
        })
    }

    /// The rows, of which those that the model refuses cannot be used.
    pub(crate) fn checked(self, check: Check) -> LabelledRows {
        LabelledRows {
            check: Some(check),
            ..self
        }
    }

    /// The rows with the times of their events: in the format of the option, or in that of the input of the
    /// same name.
    ///
    /// # Errors
    /// The file has no such column.
    pub(crate) fn timed(
        mut self,
        times: Option<EventTimes>,
        inputs: &[ModelInput],
    ) -> anyhow::Result<LabelledRows> {
        if let Some(times) = times {
            let column = self.rows.column(&times.column);
            let column = column.with_context(|| shown(&self.path))?;
            self.times = Some((column, times.of_model(inputs)));
        }
        Ok(self)
    }

    /// Sentences about the file, for the start.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = self.rows.notes();
        notes.extend(self.layout.notes());
        notes
    }

    /// Notes about the rows that were read, for the end.
    pub(crate) fn closing_notes(&self) -> Vec<String> {
        let mut notes = self.rows.closing_notes();
        notes.extend(self.layout.closing_notes());
        notes
    }

    fn labelled(&mut self, row: &Row) -> anyhow::Result<LabelledRow> {
        let (column, name) = &self.target;
        let text = row.target(*column)?;
        let options = self.rows.options();
        // Another spelling of a label.
        let text = text.map(|text| options.labels.get(text).map_or(text, String::as_str));
        let is_gap = |text: &&str| match &self.task {
            Task::Regression => options.is_gap(name, text, self.decimals),
            // Unless a class is called so.
            task @ Task::Classification { .. } => is_gap(text) && task.index(text).is_none(),
            Task::Bandit { .. } => false,
        };
        let text = text.filter(|text| !is_gap(text));
        // A row that cannot be used must not make its class known.
        let batch = self.layout.batch(row)?;
        if let Some(Err(sentence)) = self.check.as_ref().map(|check| check(&batch)) {
            // The server, too, refuses a row that has its number.
            self.next_row += 1;
            let unusable = Unusable::refused(&sentence);
            return Err(unusable).with_context(|| format!("line {}", row.line));
        }
        let event_time = match &self.times {
            Some((column, times)) => Some(times.read(row, *column)?),
            None => None,
        };
        let truth = text.map(|text| {
            let text = options.without_unit(name, text);
            let target = target(&mut self.task, text, options, self.decimals);
            target.map_err(|why| {
                let (line, name) = (row.line, quoted(name));
                anyhow::Error::new(Unusable {
                    reason: format!("column {name}: no target that the model can have"),
                    sentence: format!("line {line}: column {name}: {why}"),
                })
            })
        });
        let truth = truth.transpose()?;
        self.next_row += 1;
        Ok(LabelledRow {
            index: self.next_row - 1,
            line: row.line,
            batch,
            truth,
            label: text.unwrap_or_default().to_owned(),
            event_time,
        })
    }
}

impl Iterator for LabelledRows {
    type Item = anyhow::Result<LabelledRow>;

    fn next(&mut self) -> Option<anyhow::Result<LabelledRow>> {
        let labelled = match self.rows.next()? {
            // Such an error names its file already.
            Err(error) => Err(error),
            Ok(row) => {
                let labelled = self.labelled(&row);
                labelled.with_context(|| shown(&self.path))
            }
        };
        Some(labelled)
    }
}

/// Parses a target of a task; an unknown class takes the next free place.
fn target(
    task: &mut Task,
    text: &str,
    options: &ReadOptions,
    decimals: Decimals,
) -> anyhow::Result<RowTarget> {
    if let Task::Regression = task {
        return match options.number(text, decimals) {
            Some(value) => Ok(RowTarget::Value(value)),
            None => bail!("{} is not a finite number", quoted(text)),
        };
    }
    match (admit(task, text), task) {
        (Some(place), _) => Ok(RowTarget::Name(place)),
        (None, Task::Bandit { .. }) => {
            bail!("{} is not one of the model's actions", quoted(text))
        }
        (None, _) => bail!(
            "{} is not one of the model's classes, and all places of classes_max are taken",
            quoted(text)
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use perennial::model::Spec;

    use super::*;

    fn read(toml: &str, text: &str) -> anyhow::Result<Vec<Option<RowTarget>>> {
        let input = "[[input]]\nname = 'x'\nkind = 'number'\n";
        let spec = Spec::parse(&format!("{toml}\n{input}")).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let rows = LabelledRows::open(
            file.path(),
            "y",
            &ModelSignature::of(&spec),
            &ReadOptions::default(),
        )?;
        rows.map(|row| Ok(row?.truth)).collect()
    }

    const CLASSES: &str = "task = 'classification'\nclasses = ['a', 'b']";
    const NUMBER: &str = "task = 'regression'";

    #[test]
    fn targets_are_those_of_the_task() {
        let names = [Some(RowTarget::Name(1)), None, Some(RowTarget::Name(0))];
        for gap in [
            "", "?", "NULL", "null", "-", ".", "N/A", "None", "NA", "\\N",
        ] {
            let text = format!("x,y\n1,b\n2,{gap}\n3,a\n");
            assert_eq!(read(CLASSES, &text).unwrap(), names, "{gap}");
            let open = format!("{CLASSES}\nclasses_max = 4");
            assert_eq!(read(&open, &text).unwrap(), names, "{gap}");
        }
        let named = "task = 'classification'\nclasses = ['a', '-']";
        let names = [1, 0].map(|place| Some(RowTarget::Name(place)));
        assert_eq!(read(named, "x,y\n1,-\n2,a\n").unwrap(), names);
        let values = [Some(RowTarget::Value(-2.5)), None];
        assert_eq!(read(NUMBER, "x,y\n1,-2.5\n2,NA\n").unwrap(), values);
    }

    #[test]
    fn new_classes_take_the_free_places() {
        let open = format!("{CLASSES}\nclasses_max = 4");
        let all = "x,y\n1,c\n2,b\n3,d\n4,c\n";
        let names = [2, 1, 3, 2].map(|place| Some(RowTarget::Name(place)));
        assert_eq!(read(&open, all).unwrap(), names);
        let error = format!("{:#}", read(&open, &format!("{all}5,e\n")).unwrap_err());
        assert!(
            error.contains(": line 6: column \"y\": \"e\" is not"),
            "{error}"
        );
    }

    #[test]
    fn a_target_that_the_model_sees_is_refused() {
        let check = |input: &str, target: &str, expected: bool| {
            let toml = format!("{NUMBER}\n[[input]]\n{input}\n");
            let spec = Spec::parse(&toml).unwrap();
            let signature = ModelSignature::of(&spec);
            let file = crate::cli::rows::tests::temporary(b"x,v[0],v[1],y\n1,2,3,4\n");
            let options = ReadOptions::default();
            let opened = LabelledRows::open(file.path(), target, &signature, &options);
            let refused = opened.err().map(|error| format!("{error:#}"));
            let is_named = |error: String| error.contains("the model sees it as its input");
            assert_eq!(refused.is_some_and(is_named), expected, "{input} {target}");
        };
        check("name = 'x'\nkind = 'number'", "x", true);
        check("name = 'x'\nkind = 'number'", "y", false);
        check("name = 'v'\nkind = 'vector'\nlength = 2", "v[1]", true);
        check("name = 'v'\nkind = 'vector'\nlength = 2", "y", false);
    }

    #[test]
    fn a_bad_target_is_named_with_line_and_column() {
        let check = |toml: &str, text: &str, expected: &str| {
            let error = format!("{:#}", read(toml, text).unwrap_err());
            assert!(error.ends_with(expected), "{error}");
        };
        let bad = ": line 2: column \"y\": \"c\" is not one of the model's classes, and all \
            places of classes_max are taken";
        check(CLASSES, "x,y\n1,c\n", bad);
        let bad = ": line 3: column \"y\": \"inf\" is not a finite number";
        check(NUMBER, "x,y\n1,2\n1,inf\n", bad);
        check(
            NUMBER,
            "x,z\n1,2\n",
            ": no column \"y\"; the file has \"x\", \"z\"",
        );
    }
}
