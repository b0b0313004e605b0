//! The layout of a file: the conversion of its rows into the features of a model.
//!
//! Invariant: a batch that comes out has one column for each input, in their order, and only
//! finite numbers and gaps.

use anyhow::{bail, ensure};
use bytes::Bytes;
use perennial::event::{Batch, Column};
use perennial::model::TimeFormat;

use super::file::FileRows;
use super::number::{Decimals, finite, is_percent, loses_digits};
use super::options::ReadOptions;
use super::row::{Cell, Row, Unusable, find_column, quoted};

/// The kind of an input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelInputKind {
    /// A finite number or a gap.
    Number,
    /// A category or a text.
    Text,
    /// A time, as a text that is empty for a gap: its format, and its zone in seconds east of UTC.
    Time(TimeFormat, i64),
    /// A list of this many finite 32-bit floats.
    Vector(usize),
}

/// One input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelInput {
    /// The name of its column; a vector `v` may also come from `v[0]`, `v[1]` and so on.
    pub name: String,
    /// Its kind.
    pub kind: ModelInputKind,
    /// True if a row may be without it.
    pub gaps: bool,
}

/// The places of a model's inputs in the rows of a file.
#[derive(Debug)]
pub(crate) struct Layout {
    places: Vec<InputColumns>,
    decimals: Decimals,
    options: ReadOptions,
    /// Rows that were read, and numbers of them with a percent sign.
    n_rows: u64,
    n_percent: u64,
}

#[derive(Debug)]
struct InputColumns {
    input: ModelInput,
    /// One column, or a vector's elements in order.
    columns: Vec<usize>,
    /// True if a vector stands in columns of its own and not in a list.
    spread: bool,
    /// Cells that were no number or no date where a gap may be, and the first of them with its line.
    strays: Option<(u64, u64, String)>,
    /// Whole numbers that lost digits, and the first of them with its line.
    long: Option<(u64, u64, String)>,
    /// Numbers with the other decimal mark than the file's, and the first of them with its line.
    others: Option<(u64, u64, String)>,
    /// The value in every row, of an input that files do not have.
    constant: Option<Cell>,
}

impl Layout {
    /// Finds each input among the columns; columns that the model does not take are ignored.
    ///
    /// # Errors
    /// Names the input that has no column, or the vector whose columns are too many.
    pub(crate) fn new(columns: &[String], inputs: &[ModelInput]) -> anyhow::Result<Layout> {
        let places = inputs.iter().map(|input| {
            let is_there = |name: &str| columns.iter().any(|column| column == name);
            match InputColumns::find(input, is_there, |name| find_column(columns, name)) {
                Err(_) if input.gaps => Ok(InputColumns::constant(input, "")),
                place => place,
            }
        });
        Ok(Layout {
            places: places.collect::<anyhow::Result<_>>()?,
            decimals: Decimals::Point,
            options: ReadOptions::default(),
            n_rows: 0,
            n_percent: 0,
        })
    }

    /// The layout of the rows of a file, whose numbers are read as the file writes them.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub(crate) fn of_rows(rows: &mut FileRows, inputs: &[ModelInput]) -> anyhow::Result<Layout> {
        let mut places = Vec::with_capacity(inputs.len());
        for input in inputs {
            let known = rows.columns().to_vec();
            let is_there = |name: &str| known.iter().any(|column| column == name);
            let constant = rows.options().constants.get(&input.name);
            if let Some(constant) = constant.filter(|_| !is_there(&input.name)) {
                places.push(InputColumns::constant(input, constant));
                continue;
            }
            match InputColumns::find(input, is_there, |name| rows.column(name)) {
                // A file may be older than the input, or be without it.
                Err(_) if input.gaps => places.push(InputColumns::constant(input, "")),
                place => places.push(place?),
            }
        }
        Ok(Layout {
            places,
            decimals: rows.form().decimals,
            options: rows.options().clone(),
            n_rows: 0,
            n_percent: 0,
        })
    }

    /// The features of one row.
    ///
    /// # Errors
    /// [`Unusable`], which names line, column and value of a cell that does not fit its input.
    pub(crate) fn batch(&mut self, row: &Row) -> anyhow::Result<Batch> {
        self.n_rows += 1;
        if self.options.percent.is_some() && self.n_percent == 0 {
            let is_one = |cell: &Cell| matches!(cell, Cell::Text(text) if is_percentage(text, self.decimals));
            self.n_percent += u64::from(row.cells.iter().any(is_one));
        }
        let reading = CellFormat {
            decimals: self.decimals,
            options: &self.options,
        };
        let columns = self.places.iter_mut().map(|place| place.read(row, reading));
        Ok(Batch {
            n_rows: 1,
            columns: columns.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Sentences about inputs that the file does not have, for the start.
    pub(crate) fn notes(&self) -> Vec<String> {
        let absent = self.places.iter().filter(|place| {
            let nothing = Cell::Text(String::new());
            place.constant == Some(nothing) && !self.is_constant(&place.input.name)
        });
        let names: Vec<String> = absent.map(|place| quoted(&place.input.name)).collect();
        match &names[..] {
            [] => Vec::new(),
            [name] => vec![format!("no column {name}: it is a gap in every row")],
            names => vec![format!(
                "no columns {}: gaps in every row",
                names.join(", ")
            )],
        }
    }

    fn is_constant(&self, name: &str) -> bool {
        self.options.constants.contains_key(name)
    }

    /// Sentences about cells that were taken as gaps although they hold something, or lost digits.
    pub(crate) fn closing_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(percent) = &self.options.percent
            && (self.n_rows > 0 && self.n_percent == 0)
        {
            notes.push(format!(
                "no number has a percent sign, and model.toml says percent = {percent:?}: the numbers are \
                 read as they stand, whether they are percentages or fractions"
            ));
        }
        for place in &self.places {
            let name = quoted(&place.input.name);
            let mut add = |counted: &Option<(u64, u64, String)>, one: &str, many: &str| {
                if let Some((n, line, first)) = counted {
                    let cells = match n {
                        1 => format!("1 cell {one}"),
                        n => format!("{n} cells {many}, the first"),
                    };
                    let first = quoted(first);
                    notes.push(format!("column {name}: {cells} in line {line}: {first}"));
                }
            };
            let (one, many) = match place.input.kind {
                ModelInputKind::Time(..) => (
                    "is no date and was taken as a gap",
                    "are no dates and were taken as gaps",
                ),
                _ => (
                    "is no number and was taken as a gap",
                    "are no numbers and were taken as gaps",
                ),
            };
            add(&place.strays, one, many);
            add(
                &place.others,
                "has another decimal mark than the file and was read by it",
                "have another decimal mark than the file and were read by it",
            );
            add(
                &place.long,
                "has more digits than a number keeps",
                "have more digits than a number keeps",
            );
        }
        notes
    }
}

/// The format of cells.
#[derive(Clone, Copy)]
struct CellFormat<'a> {
    decimals: Decimals,
    options: &'a ReadOptions,
}

impl InputColumns {
    /// The place of an input that a file does not have.
    fn constant(input: &ModelInput, value: &str) -> InputColumns {
        InputColumns {
            input: input.clone(),
            columns: vec![0],
            spread: false,
            strays: None,
            long: None,
            others: None,
            constant: Some(Cell::Text(value.to_owned())),
        }
    }

    fn find(
        input: &ModelInput,
        is_there: impl Fn(&str) -> bool,
        mut find: impl FnMut(&str) -> anyhow::Result<usize>,
    ) -> anyhow::Result<InputColumns> {
        let mut place = InputColumns {
            input: input.clone(),
            columns: Vec::new(),
            spread: false,
            strays: None,
            long: None,
            others: None,
            constant: None,
        };
        match input.kind {
            ModelInputKind::Vector(length) if is_there(&element(input, 0)) => {
                place.spread = true;
                for index in 0..length {
                    place.columns.push(find(&element(input, index))?);
                }
                let beyond = element(input, length);
                ensure!(
                    !is_there(&beyond),
                    "vector {} has {length} elements, and the file has also a column {}",
                    quoted(&input.name),
                    quoted(&beyond)
                );
            }
            _ => place.columns.push(find(&input.name)?),
        }
        Ok(place)
    }

    fn read(&mut self, row: &Row, reading: CellFormat) -> anyhow::Result<Column> {
        let nothing = Cell::Text(String::new());
        let constant = self.constant.clone();
        let cell = match &constant {
            Some(constant) => constant,
            None => row.cells.get(self.columns[0]).unwrap_or(&nothing),
        };
        match (&self.input.kind, cell) {
            (ModelInputKind::Number, Cell::Text(text)) => {
                let value = self.number(row, text, reading)?;
                Ok(Column::Numbers(vec![value]))
            }
            (ModelInputKind::Text, Cell::Text(text)) => Ok(Column::Strings(vec![text.clone()])),
            (ModelInputKind::Time(..), Cell::Text(text)) => {
                let time = self.time(row, text, reading)?;
                Ok(Column::Strings(vec![time]))
            }
            (ModelInputKind::Vector(_), _) if self.spread => self.elements(row, reading),
            (ModelInputKind::Vector(length), Cell::List(values)) => {
                if values.len() != *length {
                    let why = format!("a list of {}, expected {length}", values.len());
                    bail!(refusal(row, &self.input.name, why));
                }
                self.vector(row, values)
            }
            (ModelInputKind::Vector(_), Cell::Text(text)) => {
                let why = format!("{}, expected a list of numbers", quoted(text));
                bail!(refusal(row, &self.input.name, why));
            }
            (
                ModelInputKind::Number | ModelInputKind::Text | ModelInputKind::Time(..),
                Cell::List(_),
            ) => {
                bail!(refusal(row, &self.input.name, "a list, expected one value"));
            }
        }
    }

    /// The number of a cell, NaN for a gap.
    fn number(&mut self, row: &Row, text: &str, reading: CellFormat) -> anyhow::Result<f64> {
        let CellFormat { decimals, options } = reading;
        let name = &self.input.name;
        let text = options.without_unit(name, text);
        let by_file = options.number_by(text, decimals);
        if let Some(value) = by_file.or_else(|| options.number_by(text, decimals.other())) {
            if by_file.is_none() {
                count(&mut self.others, row.line, text);
            }
            if options.is_named_gap(name, text, decimals) {
                return self.gap(row, text).map(|()| f64::NAN);
            }
            if loses_digits(text, value) {
                count(&mut self.long, row.line, text);
            }
            return Ok(value);
        }
        if options.is_gap(name, text, decimals) {
            return self.gap(row, text).map(|()| f64::NAN);
        }
        if !self.input.gaps {
            return Err(not_a_number(row, name, text));
        }
        count(&mut self.strays, row.line, text);
        Ok(f64::NAN)
    }

    /// The text of a time, empty for a gap.
    fn time(&mut self, row: &Row, text: &str, reading: CellFormat) -> anyhow::Result<String> {
        let CellFormat { decimals, options } = reading;
        let text = text.trim();
        if options.is_gap(&self.input.name, text, decimals) {
            return self.gap(row, text).map(|()| String::new());
        }
        let ModelInputKind::Time(format, zone_s) = &self.input.kind else {
            unreachable!("only a time is read as one");
        };
        if format.read(text, *zone_s).is_some() {
            return Ok(text.to_owned());
        }
        if !self.input.gaps {
            let why = format!("{} is no time as {format}", quoted(text));
            return Err(unusable(row, &self.input.name, "no time", why));
        }
        count(&mut self.strays, row.line, text);
        Ok(String::new())
    }

    /// Refuses a gap where there may be none.
    fn gap(&self, row: &Row, text: &str) -> anyhow::Result<()> {
        if self.input.gaps {
            return Ok(());
        }
        let cell = match text.trim() {
            "" => "a gap".to_owned(),
            text => format!("{} is a gap", quoted(text)),
        };
        let why =
            format!("{cell}, and the input takes none; missing = \"mean\" in model.toml does");
        Err(unusable(
            row,
            &self.input.name,
            "a gap that the input does not take",
            why,
        ))
    }

    /// A vector whose elements stand in columns of their own.
    fn elements(&self, row: &Row, reading: CellFormat) -> anyhow::Result<Column> {
        let mut values = Vec::with_capacity(self.columns.len());
        for (index, &column) in self.columns.iter().enumerate() {
            let value = match row.cells.get(column) {
                Some(Cell::Text(text)) => finite(text, reading.decimals)
                    .ok_or_else(|| not_a_number(row, &element(&self.input, index), text))?,
                None => return Err(not_a_number(row, &element(&self.input, index), "")),
                Some(Cell::List(_)) => {
                    let name = element(&self.input, index);
                    bail!(refusal(row, &name, "a list, expected one number"))
                }
            };
            values.push(value);
        }
        self.vector(row, &values)
    }

    fn vector(&self, row: &Row, values: &[f64]) -> anyhow::Result<Column> {
        let mut bytes = Vec::with_capacity(values.len() * size_of::<f32>());
        for &value in values {
            let float = value as f32;
            if !float.is_finite() {
                let why = format!("{value:?} is not a finite 32-bit float");
                bail!(refusal(row, &self.input.name, why));
            }
            bytes.extend(float.to_le_bytes());
        }
        Ok(Column::Vectors(Bytes::from(bytes)))
    }
}

/// True for a number with a percent sign.
fn is_percentage(text: &str, decimals: Decimals) -> bool {
    is_percent(text) && finite(text, decimals).is_some()
}

/// Counts a cell, and keeps the first with its line.
fn count(counted: &mut Option<(u64, u64, String)>, line: u64, text: &str) {
    counted.get_or_insert_with(|| (0, line, text.to_owned())).0 += 1;
}

fn element(input: &ModelInput, index: usize) -> String {
    format!("{}[{index}]", input.name)
}

fn not_a_number(row: &Row, column: &str, text: &str) -> anyhow::Error {
    let why = format!("{} is not a finite number", quoted(text));
    unusable(row, column, "not a finite number", why)
}

fn refusal(row: &Row, column: &str, why: impl std::fmt::Display) -> anyhow::Error {
    unusable(row, column, "a value that the input cannot hold", why)
}

fn unusable(row: &Row, column: &str, reason: &str, why: impl std::fmt::Display) -> anyhow::Error {
    let (line, column) = (row.line, quoted(column));
    let sentence = match line {
        0 => format!("{column}: {why}"),
        line => format!("line {line}: column {column}: {why}"),
    };
    anyhow::Error::new(Unusable {
        reason: format!("column {column}: {reason}"),
        sentence,
    })
}

#[cfg(test)]
mod tests;
