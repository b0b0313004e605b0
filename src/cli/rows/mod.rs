//! The rows of a file: CSV or JSON lines, plain or gzipped, recognised by the bytes.
//!
//! Invariant: a row has one cell for each column, and memory does not grow with the file.

pub mod decisions;
mod delimited;
mod json_lines;
pub mod labelled;
mod layout;
mod lines;
pub mod signature;
pub mod target;

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, bail};

pub use layout::{Input, Kind, Layout};
use lines::Lines;

/// The value of one column in one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// As it stands in the file; JSON's numbers and booleans as their text, its null as nothing.
    Text(String),
    /// A JSON array.
    List(Vec<f64>),
}

/// One row of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The line it begins on, from 1.
    pub line: u64,
    /// One for each column of the file, in their order.
    pub cells: Vec<Cell>,
}

/// The rows of a file, one after the other; they end after the first error.
pub struct Rows {
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
    pub fn open(path: &Path) -> anyhow::Result<Rows> {
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
    pub fn columns(&self) -> &[String] {
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

impl Row {
    /// The text of the target, or nothing where it is a gap.
    ///
    /// # Errors
    /// It is a list.
    pub fn target(&self, column: usize) -> anyhow::Result<Option<&str>> {
        match &self.cells[column] {
            Cell::List(_) => bail!("line {}: the target is a list", self.line),
            Cell::Text(text) if is_gap(text) => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
        }
    }
}

/// Where a column stands.
///
/// # Errors
/// There is none of that name; the error lists those there are.
pub fn find_column(columns: &[String], name: &str) -> anyhow::Result<usize> {
    const N_LISTED_MAX: usize = 40;
    if let Some(index) = columns.iter().position(|column| column == name) {
        return Ok(index);
    }
    let listed = columns.iter().take(N_LISTED_MAX).map(|name| quoted(name));
    let mut listed = listed.collect::<Vec<_>>().join(", ");
    if columns.len() > N_LISTED_MAX {
        listed += &format!(" and {} more", columns.len() - N_LISTED_MAX);
    }
    bail!("no column {}; the file has {listed}", quoted(name))
}

/// True if a cell holds no value: nothing, `NA` or `nan`. To a category all of these are texts.
pub fn is_gap(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text == "NA" || text.eq_ignore_ascii_case("nan")
}

/// The finite number that a text is, NaN for a gap, nothing for any other text.
pub fn number(text: &str) -> Option<f64> {
    if is_gap(text) {
        return Some(f64::NAN);
    }
    text.trim()
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

/// A text of a file as a message may show it: on one line, and not too much of it.
pub fn quoted(text: &str) -> String {
    const N_SHOWN_MAX: usize = 60;
    match text.char_indices().nth(N_SHOWN_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

fn is_empty(path: &Path) -> String {
    format!("{}: no columns; a CSV begins with a header", path.display())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    pub fn temporary(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    pub fn error<T>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.err().expect("should be refused"))
    }

    pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Columns and rows in one line, rows with their line numbers.
    pub fn read(bytes: &[u8]) -> anyhow::Result<String> {
        let file = temporary(bytes);
        let mut rows = Rows::open(file.path())?;
        let mut shown = rows.columns().join("|");
        for row in rows.by_ref() {
            let row = row?;
            let cells = row.cells.iter().map(|cell| match cell {
                Cell::Text(text) => text.clone(),
                Cell::List(values) => format!("{values:?}"),
            });
            let cells = cells.collect::<Vec<_>>().join("|");
            shown += &format!(" {}: {cells}", row.line);
        }
        assert!(rows.next().is_none(), "rows stay at their end");
        Ok(shown)
    }

    #[test]
    fn a_refusal_names_the_line() {
        let check = |bytes: &[u8], expected: &str| {
            let got = error(read(bytes));
            assert!(got.contains(expected), "{got}, expected {expected}");
        };
        check(b"", ": no columns; a CSV begins with a header");
        check(b"\n\r\n", ": no columns");
        check(b"{}", ": no columns");
        check(b"a,b,a\n", ": line 1: column \"a\" stands there twice");
        check(b"a,b\n1,2\n3\n", ": line 3: 1 fields, expected 2");
        check(b"a,b\r\n\r\n1,2,3\r\n", ": line 3: 3 fields, expected 2");
        check(b"a\nb\n\xff\n", ": line 3: byte 1 is not valid UTF-8");
        check(b"a\nb\n\"c\nd", ": line 3: a quoted field is never closed");
        check(b"a\n\"b\" c\n", ": line 2: text after a closing quote");
        check(
            b"{\"a\":1,\"a\":2}",
            ": line 1: column \"a\" stands there twice",
        );
        check(
            b"{\"a\":1,\"b\":1}\n{\"b\":1,\"b\":1}",
            ": line 2: column \"b\" stands there twice",
        );
        check(
            b"{\"a\":1}\n{\"c\":2}",
            ": line 2: column \"c\" is not in the first",
        );
        check(
            b"{\"a\":{}}",
            ": line 1: column \"a\": a nested object; flatten it",
        );
        check(
            b"{\"a\":[\"x\"]}",
            ": line 1: column \"a\": an array may hold only numbers",
        );
        check(b"{\"a\":1}\n[1]", ": line 2: not a JSON object: ");
        check(
            b"{\"a\":1}\n{\"a\":",
            ": line 2: not a JSON object: EOF while parsing a value",
        );
        let cut = gzipped(b"a\n1\n2\n");
        check(&cut[..cut.len() - 9], "");
    }

    #[test]
    fn a_missing_file_is_named() {
        let got = error(Rows::open(Path::new("no/such.csv")));
        assert!(got.starts_with("no/such.csv: "), "{got}");
    }

    #[test]
    fn a_target_is_found_by_name_and_may_be_a_gap() {
        let columns = ["a".to_owned(), "b c".to_owned()];
        assert_eq!(find_column(&columns, "b c").unwrap(), 1);
        assert_eq!(
            error(find_column(&columns, "label")),
            "no column \"label\"; the file has \"a\", \"b c\""
        );
        let check = |text: &str, expected: Option<&str>| {
            let cells = vec![Cell::Text(text.into())];
            let row = Row { line: 1, cells };
            assert_eq!(row.target(0).unwrap(), expected, "{text}");
        };
        check("up", Some("up"));
        check(" up", Some(" up"));
        check("0", Some("0"));
        check("na", Some("na"));
        check("", None);
        check("NA", None);
        check("NaN", None);
    }
}
