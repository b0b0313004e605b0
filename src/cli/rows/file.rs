//! The rows of a file, in the format that its first bytes show.
//!
//! Invariant: a row has one cell for each column that was known when it was read; columns are only
//! ever added, behind the others.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::columnar::Columnar;
use super::encoding::EncodingOptions;
use super::json_lines::Objects;
use super::lines::{DetectedEncoding, Lines, shown};
use super::number::Decimals;
use super::options::ReadOptions;
use super::parquet_rows;
use super::recognised::ColumnarFormat;
use super::row::{Cell, Row, Unusable, find_column, quoted};
use super::source::{FileContent, is_stdin, open};
use super::table::CsvTable;

/// Columns of JSON, whose keys may differ from row to row.
const COLUMNS_MAX: usize = 10_000;
/// Rows of standard input that are read ahead for a key that the first one lacks.
const ROWS_AHEAD_MAX: usize = 1000;

/// The rows of a file, one after the other; they end after the first error that is not of one row.
pub(crate) struct FileRows {
    path: PathBuf,
    options: ReadOptions,
    body: Body,
    columns: Vec<String>,
    places: HashMap<String, usize>,
    /// Rows read ahead.
    ready: VecDeque<anyhow::Result<Row>>,
    has_ended: bool,
    /// True once all keys of a file of JSON are known.
    is_scanned: bool,
}

enum Body {
    Table(Box<CsvTable>),
    Json(Objects),
    Columnar(Columnar),
}

/// The detected form of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileForm {
    /// The separator of columns; none of formats without one.
    pub separator: Option<char>,
    pub decimals: Decimals,
    pub encoding: DetectedEncoding,
}

impl FileRows {
    /// Opens a file, `-` for standard input, and reads its columns: the header of a CSV, the keys of
    /// the first object.
    ///
    /// # Errors
    /// The file cannot be read, is of no known format, or has no columns.
    pub(crate) fn open(path: &Path, options: &ReadOptions) -> anyhow::Result<FileRows> {
        let mut rows = FileRows {
            path: path.to_owned(),
            options: options.clone(),
            body: body(path, options)?,
            columns: Vec::new(),
            places: HashMap::new(),
            ready: VecDeque::new(),
            has_ended: false,
            is_scanned: false,
        };
        let columns = match &rows.body {
            Body::Table(table) => table.columns.clone(),
            Body::Columnar(columnar) => columnar.columns().to_vec(),
            Body::Json(_) => {
                let first = rows.read()?;
                rows.ensure_no_wrapper()?;
                rows.has_ended |= first.is_none();
                if let Some(first) = first {
                    rows.ready.push_front(Ok(first));
                }
                rows.columns.clone()
            }
        };
        if columns.iter().all(String::is_empty) {
            bail!(is_empty(path));
        }
        rows.columns = columns;
        let places = rows.columns.iter().cloned().zip(0..);
        rows.places = places.collect();
        Ok(rows)
    }

    /// The names of the columns by now, in order, each once but for those of nothing.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The place of a column; of JSON, whose first objects may lack it, the file is looked through.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn column(&mut self, name: &str) -> anyhow::Result<usize> {
        if !self.places.contains_key(name) && matches!(self.body, Body::Json(_)) {
            self.look_for(name)?;
        }
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        let found = find_column(&self.columns, name);
        if let (Body::Table(table), Err(_)) = (&self.body, &found)
            && let Some(other) = table.other_separator()
        {
            let other = other.escape_default();
            return found.with_context(|| {
                format!("the columns seem to stand between '{other}': --separator \"{other}\" reads them")
            });
        }
        if self.looks_like_data() {
            found.context("the first row looks like data: with --no-header the columns are column_1, column_2 and so on")
        } else {
            found
        }
    }

    /// The options by which the file is read.
    pub(crate) fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// True where the first row of a CSV was read as its header and looks like data.
    pub(crate) fn looks_like_data(&self) -> bool {
        matches!(&self.body, Body::Table(table) if table.looks_like_data)
    }

    /// The form of the file, as far as it was read.
    pub(crate) fn form(&self) -> FileForm {
        match &self.body {
            Body::Table(table) => FileForm {
                separator: Some(table.separator),
                decimals: table.decimals,
                encoding: table.lines.found(),
            },
            Body::Json(objects) => FileForm {
                separator: None,
                decimals: Decimals::Point,
                encoding: objects.lines.found(),
            },
            Body::Columnar(_) => FileForm {
                separator: None,
                decimals: Decimals::Point,
                encoding: DetectedEncoding::Utf8,
            },
        }
    }

    /// Sentences about the columns, for the start.
    pub(crate) fn notes(&self) -> Vec<String> {
        let (lines, mut notes) = match &self.body {
            Body::Table(table) => (&table.lines, table.notes.clone()),
            Body::Json(objects) => (&objects.lines, Vec::new()),
            Body::Columnar(_) => return Vec::new(),
        };
        notes.extend(lines.note().map(str::to_owned));
        notes
    }

    /// Notes about the rows that were read so far, for the end.
    pub(crate) fn closing_notes(&self) -> Vec<String> {
        let (lines, mut notes) = match &self.body {
            Body::Table(table) => (&table.lines, table.closing_notes()),
            Body::Json(objects) => (&objects.lines, Vec::new()),
            Body::Columnar(_) => return Vec::new(),
        };
        notes.extend(lines.closing_note());
        notes
    }

    /// Refuses one object that holds all rows within it.
    fn ensure_no_wrapper(&mut self) -> anyhow::Result<()> {
        let wrapper = match &mut self.body {
            Body::Json(objects) => objects.wrapper.take(),
            Body::Table(_) | Body::Columnar(_) => None,
        };
        let Some(wrapper) = wrapper else {
            return Ok(());
        };
        let next = self.read();
        self.has_ended = !matches!(next, Ok(Some(_)));
        let is_alone = matches!(next, Ok(None));
        self.ready.extend(next.transpose());
        if is_alone {
            bail!("{}: {}", shown(&self.path), wrapper.sentence());
        }
        Ok(())
    }

    fn read(&mut self) -> anyhow::Result<Option<Row>> {
        match &mut self.body {
            Body::Table(table) => table.next(),
            Body::Columnar(columnar) => columnar.next(),
            Body::Json(objects) => match objects.next()? {
                Some((line, fields)) => self.object(line, fields).map(Some),
                None => Ok(None),
            },
        }
    }

    /// Puts an object's fields where earlier objects had them; a missing one is a gap.
    fn object(&mut self, line: u64, fields: Vec<(String, Cell)>) -> anyhow::Result<Row> {
        let mut cells: Vec<Option<Cell>> = vec![None; self.columns.len()];
        let refusal = |name: &str, why: &str| {
            let (path, name) = (shown(&self.path), quoted(name));
            format!("{path}: line {line}: column {name} {why}")
        };
        for (key, cell) in fields {
            let known = self.places.get(&key).copied();
            let Some(column) = known else {
                if self.columns.len() == COLUMNS_MAX {
                    let why = format!("is one more than {COLUMNS_MAX} keys");
                    bail!(refusal(&key, &why));
                }
                self.places.insert(key.clone(), self.columns.len());
                self.columns.push(key);
                cells.push(Some(cell));
                continue;
            };
            if cells[column].is_some() {
                return Err(anyhow::Error::new(Unusable {
                    reason: "a key that stands there twice".to_owned(),
                    sentence: refusal(&key, "stands there twice"),
                }));
            }
            cells[column] = Some(cell);
        }
        let gap = || Cell::Text(String::new());
        let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(gap));
        Ok(Row {
            line,
            cells: cells.collect(),
        })
    }

    /// Looks for a key that the objects so far do not have: in the whole of a file, in some rows
    /// ahead of standard input.
    fn look_for(&mut self, name: &str) -> anyhow::Result<()> {
        if is_stdin(&self.path) {
            while !self.places.contains_key(name)
                && self.ready.len() < ROWS_AHEAD_MAX
                && !self.has_ended
            {
                let next = self.read();
                self.has_ended = !matches!(next, Ok(Some(_)));
                self.ready.extend(next.transpose());
            }
            return Ok(());
        }
        if self.is_scanned {
            return Ok(());
        }
        self.is_scanned = true;
        let mut others = FileRows::open(&self.path, &self.options)?;
        for next in others.by_ref() {
            if next.is_err_and(|error| !error.is::<Unusable>()) {
                break;
            }
        }
        for name in others.columns {
            if !self.places.contains_key(&name) {
                self.places.insert(name.clone(), self.columns.len());
                self.columns.push(name);
            }
        }
        Ok(())
    }
}

/// Opens the body of a file.
fn body(path: &Path, options: &ReadOptions) -> anyhow::Result<Body> {
    let opened = open(path).with_context(|| shown(path))?;
    let source = match opened {
        FileContent::Text(source) => source,
        FileContent::Columnar(format, path) => {
            let rows = match format {
                ColumnarFormat::Parquet => parquet_rows::open(&path),
                #[cfg(feature = "arrow")]
                ColumnarFormat::Arrow => super::arrow_rows::open(&path),
                #[cfg(not(feature = "arrow"))]
                ColumnarFormat::Arrow => Err(anyhow::anyhow!(
                    "an Arrow or Feather file: save it as Parquet, or build with `--features arrow`"
                )),
            };
            return Ok(Body::Columnar(rows.with_context(|| shown(&path))?));
        }
    };
    let given = options.encoding.map(|encoding| EncodingOptions {
        encoding,
        is_described: options.encoding_is_described,
    });
    let lines = Lines::new(path, source, given)?;
    let chars = lines.sample().iter().flat_map(|line| line.chars());
    let mut chars = chars.filter(|c| !c.is_whitespace());
    match (chars.next(), chars.next()) {
        (Some('{'), _) | (Some('['), Some('{' | ']')) => Ok(Body::Json(Objects::new(lines))),
        (Some('['), Some('[')) => bail!(
            "{}: a JSON array of arrays: write an object a row, with the names of the columns as keys, \
             or a CSV",
            shown(path)
        ),
        _ => {
            let table = CsvTable::open(lines, options)?;
            let table = table.with_context(|| is_empty(path))?;
            Ok(Body::Table(Box::new(table)))
        }
    }
}

impl Iterator for FileRows {
    type Item = anyhow::Result<Row>;

    fn next(&mut self) -> Option<anyhow::Result<Row>> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        if self.has_ended {
            return None;
        }
        let row = self.read();
        self.has_ended = match &row {
            Ok(row) => row.is_none(),
            Err(error) => !error.is::<Unusable>(),
        };
        row.transpose()
    }
}

fn is_empty(path: &Path) -> String {
    format!("{}: no columns; a CSV begins with a header", shown(path))
}
