//! The layout of a file: the conversion of its rows into the features of a model.
//!
//! Invariant: a batch that comes out has one column for each input, in their order, and only
//! finite numbers and gaps.

use anyhow::{bail, ensure};
use bytes::Bytes;
use perennial::event::{Batch, Column};

use super::file::Rows;
use super::number::{Decimals, finite};
use super::options::ReadOptions;
use super::row::{Cell, Row, Unusable, find_column, quoted};

/// The kind of an input of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A finite number or a gap.
    Number,
    /// A category or a text.
    Text,
    /// A time, as a text that is empty for a gap.
    Time,
    /// A list of this many finite 32-bit floats.
    Vector(usize),
}

/// One input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    /// The name of its column; a vector `v` may also come from `v[0]`, `v[1]` and so on.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// True for a number that may be a gap.
    pub gaps: bool,
}

/// Where in a file's rows each input of a model stands.
#[derive(Debug)]
pub(crate) struct Layout {
    places: Vec<Place>,
    decimals: Decimals,
    options: ReadOptions,
}

#[derive(Debug)]
struct Place {
    input: Input,
    /// One column, or a vector's elements in order.
    columns: Vec<usize>,
    /// True if a vector stands in columns of its own and not in a list.
    spread: bool,
    /// Cells that were no number where a gap may be, and the first of them with its line.
    strays: Option<(u64, u64, String)>,
    /// The value in every row, of an input that files do not have.
    constant: Option<Cell>,
}

impl Layout {
    /// Finds each input among the columns; columns that the model does not take are ignored.
    ///
    /// # Errors
    /// Names the input that has no column, or the vector whose columns are too many.
    pub(crate) fn new(columns: &[String], inputs: &[Input]) -> anyhow::Result<Layout> {
        let places = inputs.iter().map(|input| {
            let is_there = |name: &str| columns.iter().any(|column| column == name);
            Place::find(input, is_there, |name| find_column(columns, name))
        });
        Ok(Layout {
            places: places.collect::<anyhow::Result<_>>()?,
            decimals: Decimals::Point,
            options: ReadOptions::default(),
        })
    }

    /// The same of the rows of a file, whose numbers are read as the file writes them.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub(crate) fn of_rows(rows: &mut Rows, inputs: &[Input]) -> anyhow::Result<Layout> {
        let mut places = Vec::with_capacity(inputs.len());
        for input in inputs {
            let known = rows.columns().to_vec();
            let is_there = |name: &str| known.iter().any(|column| column == name);
            let constant = rows.options().constants.get(&input.name);
            if let Some(constant) = constant.filter(|_| !is_there(&input.name)) {
                places.push(Place {
                    input: input.clone(),
                    columns: vec![0],
                    spread: false,
                    strays: None,
                    constant: Some(Cell::Text(constant.clone())),
                });
                continue;
            }
            places.push(Place::find(input, is_there, |name| rows.column(name))?);
        }
        Ok(Layout {
            places,
            decimals: rows.form().decimals,
            options: rows.options().clone(),
        })
    }

    /// The features of one row.
    ///
    /// # Errors
    /// [`Unusable`], which names line, column and value of a cell that does not fit its input.
    pub(crate) fn batch(&mut self, row: &Row) -> anyhow::Result<Batch> {
        let reading = Reading {
            decimals: self.decimals,
            options: &self.options,
        };
        let columns = self.places.iter_mut().map(|place| place.read(row, reading));
        Ok(Batch {
            n_rows: 1,
            columns: columns.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Sentences about cells that were taken as gaps although they hold something.
    pub(crate) fn closing_notes(&self) -> Vec<String> {
        let strays = self.places.iter().filter_map(|place| {
            let (n, line, first) = place.strays.as_ref()?;
            let name = quoted(&place.input.name);
            let taken = match n {
                1 => "1 cell is no number and was taken as a gap".to_owned(),
                n => format!("{n} cells are no numbers and were taken as gaps, the first"),
            };
            Some(format!(
                "column {name}: {taken} in line {line}: {}",
                quoted(first)
            ))
        });
        strays.collect()
    }
}

/// How cells are read.
#[derive(Clone, Copy)]
struct Reading<'a> {
    decimals: Decimals,
    options: &'a ReadOptions,
}

impl Place {
    fn find(
        input: &Input,
        is_there: impl Fn(&str) -> bool,
        mut find: impl FnMut(&str) -> anyhow::Result<usize>,
    ) -> anyhow::Result<Place> {
        let mut place = Place {
            input: input.clone(),
            columns: Vec::new(),
            spread: false,
            strays: None,
            constant: None,
        };
        match input.kind {
            Kind::Vector(length) if is_there(&element(input, 0)) => {
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

    fn read(&mut self, row: &Row, reading: Reading) -> anyhow::Result<Column> {
        let nothing = Cell::Text(String::new());
        let constant = self.constant.clone();
        let cell = match &constant {
            Some(constant) => constant,
            None => row.cells.get(self.columns[0]).unwrap_or(&nothing),
        };
        match (self.input.kind, cell) {
            (Kind::Number, Cell::Text(text)) => {
                let value = self.number(row, text, reading)?;
                Ok(Column::Numbers(vec![value]))
            }
            (Kind::Text, Cell::Text(text)) => Ok(Column::Strings(vec![text.clone()])),
            (Kind::Time, Cell::Text(text)) => {
                let Reading { decimals, options } = reading;
                let is_gap = options.is_gap(&self.input.name, text, decimals);
                let text = if is_gap { "" } else { text.trim() };
                Ok(Column::Strings(vec![text.to_owned()]))
            }
            (Kind::Vector(_), _) if self.spread => self.elements(row, reading),
            (Kind::Vector(length), Cell::List(values)) => {
                if values.len() != length {
                    let why = format!("a list of {}, expected {length}", values.len());
                    bail!(refusal(row, &self.input.name, why));
                }
                self.vector(row, values)
            }
            (Kind::Vector(_), Cell::Text(text)) => {
                let why = format!("{}, expected a list of numbers", quoted(text));
                bail!(refusal(row, &self.input.name, why));
            }
            (Kind::Number | Kind::Text | Kind::Time, Cell::List(_)) => {
                bail!(refusal(row, &self.input.name, "a list, expected one value"));
            }
        }
    }

    /// The number of a cell, NaN for a gap.
    fn number(&mut self, row: &Row, text: &str, reading: Reading) -> anyhow::Result<f64> {
        let Reading { decimals, options } = reading;
        if options.is_gap(&self.input.name, text, decimals) {
            return Ok(f64::NAN);
        }
        if let Some(value) = options.number(text, decimals) {
            return Ok(value);
        }
        if !self.input.gaps {
            return Err(not_a_number(row, &self.input.name, text));
        }
        let first = || (0, row.line, text.to_owned());
        self.strays.get_or_insert_with(first).0 += 1;
        Ok(f64::NAN)
    }

    /// A vector whose elements stand in columns of their own.
    fn elements(&self, row: &Row, reading: Reading) -> anyhow::Result<Column> {
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

fn element(input: &Input, index: usize) -> String {
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
mod tests {
    use super::*;
    use crate::cli::rows::Rows;
    use crate::cli::rows::tests::{error, temporary};

    fn input(name: &str, kind: Kind) -> Input {
        Input {
            name: name.into(),
            kind,
            gaps: false,
        }
    }

    fn batch(text: &str, name: &str, kind: Kind) -> anyhow::Result<Column> {
        let file = temporary(text.as_bytes());
        let mut rows = Rows::open(file.path(), &Default::default()).unwrap();
        let mut layout = Layout::of_rows(&mut rows, &[input(name, kind)])?;
        let row = rows.next().unwrap().unwrap();
        Ok(layout.batch(&row)?.columns.remove(0))
    }

    #[test]
    fn a_cell_becomes_what_its_input_holds() {
        let check = |text: &str, name: &str, kind, expected: Column| {
            assert_eq!(batch(text, name, kind).unwrap(), expected, "{text}");
        };
        let strings = |text: &str| Column::Strings(vec![text.into()]);
        let floats = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes());
        let floats = Column::Vectors(floats.collect::<Vec<u8>>().into());
        let two = Kind::Vector(2);
        check("a,b\n1,2\n", "b", Kind::Number, Column::Numbers(vec![2.0]));
        check(
            "a\n -1e3 \n",
            "a",
            Kind::Number,
            Column::Numbers(vec![-1e3]),
        );
        check("a,b\n1,NA\n", "b", Kind::Text, strings("NA"));
        check("a,b\n1,\n", "b", Kind::Text, strings(""));
        check("{\"a\":null}", "a", Kind::Text, strings(""));
        check("{\"a\":true}", "a", Kind::Text, strings("true"));
        check("v[1],x,v[0]\n-2,9,1.5\n", "v", two, floats.clone());
        check("{\"v\":[1.5,-2]}", "v", two, floats.clone());
        check("{\"v[0]\":1.5,\"v[1]\":-2}", "v", two, floats);
    }

    #[test]
    fn a_gap_is_not_a_number() {
        for gap in [
            "\"\"", "NA", "nan", "NaN", "NAN", " ", "?", "NULL", "None", "-", "\\N", "#N/A",
        ] {
            match batch(&format!("a,b\n{gap},1\n"), "a", Kind::Number).unwrap() {
                Column::Numbers(values) => assert!(values[0].is_nan(), "{gap}"),
                other => panic!("{other:?}"),
            }
        }
    }

    fn check_refused(text: &str, name: &str, kind: Kind, expected: &str) {
        assert_eq!(error(batch(text, name, kind)), expected, "{text}");
    }

    #[test]
    fn a_refusal_names_line_column_and_value() {
        check_refused(
            "a\n1x\n",
            "a",
            Kind::Number,
            "line 2: column \"a\": \"1x\" is not a finite number",
        );
        check_refused(
            "a\ninf\n",
            "a",
            Kind::Number,
            "line 2: column \"a\": \"inf\" is not a finite number",
        );
        check_refused(
            "a,b\n1,2\n",
            "c",
            Kind::Text,
            "no column \"c\"; the file has \"a\", \"b\"",
        );
        check_refused(
            "{\"v\":[1]}",
            "v",
            Kind::Text,
            "line 1: column \"v\": a list, expected one value",
        );
    }

    #[test]
    fn a_vector_has_its_length_and_no_gaps() {
        let two = Kind::Vector(2);
        check_refused(
            "v[0],v[2]\n1,2\n",
            "v",
            two,
            "no column \"v[1]\"; the file has \"v[0]\", \"v[2]\"",
        );
        check_refused(
            "v[0],v[1],v[2]\n1,2,3\n",
            "v",
            two,
            "vector \"v\" has 2 elements, and the file has also a column \"v[2]\"",
        );
        check_refused(
            "v[0],v[1]\n1,NA\n",
            "v",
            two,
            "line 2: column \"v[1]\": \"NA\" is not a finite number",
        );
        check_refused(
            "{\"v\":[1,2,3]}",
            "v",
            two,
            "line 1: column \"v\": a list of 3, expected 2",
        );
        check_refused(
            "{\"v\":[1,1e300]}",
            "v",
            two,
            "line 1: column \"v\": 1e300 is not a finite 32-bit float",
        );
        check_refused(
            "{\"v\":null}",
            "v",
            two,
            "line 1: column \"v\": \"\", expected a list of numbers",
        );
    }
}
