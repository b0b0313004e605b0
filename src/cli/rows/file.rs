//! The rows of a file, in the format that its first byte shows.
//!
//! Invariant: a row has one cell for each column.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, bail};

use super::delimited;
use super::json_lines;
use super::lines::Lines;
use super::row::{Cell, Row, quoted};

/// The rows of a file, one after the other; they end after the first error.
pub(crate) struct Rows {
    lines: Lines,
    format: Format,
    columns: Vec<String>,
    /// The first JSON object, read already because its keys are the columns.
    pending: Option<Row>,
    has_ended: bool,
}

#[derive(Clone, Copy)]
enum Format {
    Delimited,
    JsonLines,
}

impl Rows {
    /// Opens a file and reads its columns: the header of a CSV, the keys of the first object.
    ///
    /// # Errors
    /// The file cannot be read, has no columns, or has a name twice.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Rows> {
        let mut lines = Lines::open(path)?;
        let format = match lines.first_byte() {
            Some(b'{') => Format::JsonLines,
            _ => Format::Delimited,
        };
        let (columns, pending) = match format {
            Format::Delimited => {
                let header = delimited::next_record(&mut lines)?;
                let (_, columns) = header.with_context(|| is_empty(path))?;
                (columns, None)
            }
            Format::JsonLines => {
                let object = json_lines::next_object(&mut lines)?;
                let (line, fields) = object.with_context(|| is_empty(path))?;
                let (columns, cells) = fields.into_iter().unzip();
                (columns, Some(Row { line, cells }))
            }
        };
        let mut names = HashSet::new();
        if columns.is_empty() {
            bail!(is_empty(path));
        }
        if let Some(twice) = columns.iter().find(|&column| !names.insert(column)) {
            let why = format!("column {} stands there twice", quoted(twice));
            bail!(lines.refusal(lines.number(), why));
        }
        Ok(Rows {
            lines,
            format,
            columns,
            pending,
            has_ended: false,
        })
    }

    /// The names of the columns, in order, each once.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    fn read(&mut self) -> anyhow::Result<Option<Row>> {
        match self.format {
            Format::Delimited => match delimited::next_record(&mut self.lines)? {
                Some((line, fields)) => self.record(line, fields).map(Some),
                None => Ok(None),
            },
            Format::JsonLines => match json_lines::next_object(&mut self.lines)? {
                Some((line, fields)) => self.object(line, fields).map(Some),
                None => Ok(None),
            },
        }
    }

    fn record(&self, line: u64, fields: Vec<String>) -> anyhow::Result<Row> {
        let (got, expected) = (fields.len(), self.columns.len());
        if got != expected {
            let why = format!("{got} fields, expected {expected} as in the header");
            bail!(self.lines.refusal(line, why));
        }
        let cells = fields.into_iter().map(Cell::Text).collect();
        Ok(Row { line, cells })
    }

    /// Puts an object's fields where the first object had them; a missing one is a gap.
    fn object(&self, line: u64, fields: Vec<(String, Cell)>) -> anyhow::Result<Row> {
        let mut cells: Vec<Option<Cell>> = vec![None; self.columns.len()];
        for (index, (key, cell)) in fields.into_iter().enumerate() {
            let column = match self.columns.get(index) {
                Some(name) if *name == key => Some(index),
                _ => self.columns.iter().position(|name| *name == key),
            };
            let refuse = |why: &str| {
                let why = format!("column {} {why}", quoted(&key));
                Err(self.lines.refusal(line, why))
            };
            match column {
                None => return refuse("is not in the first object"),
                Some(column) if cells[column].is_some() => return refuse("stands there twice"),
                Some(column) => cells[column] = Some(cell),
            }
        }
        let gap = || Cell::Text(String::new());
        let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(gap));
        Ok(Row {
            line,
            cells: cells.collect(),
        })
    }
}

impl Iterator for Rows {
    type Item = anyhow::Result<Row>;

    fn next(&mut self) -> Option<anyhow::Result<Row>> {
        if self.has_ended {
            return None;
        }
        let row = match self.pending.take() {
            Some(row) => Ok(Some(row)),
            None => self.read(),
        };
        self.has_ended = !matches!(row, Ok(Some(_)));
        row.transpose()
    }
}

fn is_empty(path: &Path) -> String {
    format!("{}: no columns; a CSV begins with a header", path.display())
}
