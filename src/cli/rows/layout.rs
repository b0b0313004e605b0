//! The layout of a file: the conversion of its rows into the features of a model.
//!
//! Invariant: a batch that comes out has one column for each input, in their order, and only
//! finite numbers and gaps.

use anyhow::{bail, ensure};
use bytes::Bytes;
use perennial::event::{Batch, Column};
use perennial::model::TimeFormat;

use super::file::Rows;
use super::number::{Decimals, finite, loses_digits};
use super::options::ReadOptions;
use super::row::{Cell, Row, Unusable, find_column, quoted};

/// The kind of an input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
pub(crate) struct Input {
    /// The name of its column; a vector `v` may also come from `v[0]`, `v[1]` and so on.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// True if a row may be without it.
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
    /// Cells that were no number or no date where a gap may be, and the first of them with its line.
    strays: Option<(u64, u64, String)>,
    /// Whole numbers that lost digits, and the first of them with its line.
    long: Option<(u64, u64, String)>,
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
            match Place::find(input, is_there, |name| find_column(columns, name)) {
                Err(_) if input.gaps => Ok(Place::constant(input, "")),
                place => place,
            }
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
                places.push(Place::constant(input, constant));
                continue;
            }
            match Place::find(input, is_there, |name| rows.column(name)) {
                // A file may be older than the input, or be without it.
                Err(_) if input.gaps => places.push(Place::constant(input, "")),
                place => places.push(place?),
            }
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
                Kind::Time(..) => (
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
                &place.long,
                "has more digits than a number keeps",
                "have more digits than a number keeps",
            );
        }
        notes
    }
}

/// How cells are read.
#[derive(Clone, Copy)]
struct Reading<'a> {
    decimals: Decimals,
    options: &'a ReadOptions,
}

impl Place {
    /// The place of an input that a file does not have.
    fn constant(input: &Input, value: &str) -> Place {
        Place {
            input: input.clone(),
            columns: vec![0],
            spread: false,
            strays: None,
            long: None,
            constant: Some(Cell::Text(value.to_owned())),
        }
    }

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
            long: None,
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
        match (&self.input.kind, cell) {
            (Kind::Number, Cell::Text(text)) => {
                let value = self.number(row, text, reading)?;
                Ok(Column::Numbers(vec![value]))
            }
            (Kind::Text, Cell::Text(text)) => Ok(Column::Strings(vec![text.clone()])),
            (Kind::Time(..), Cell::Text(text)) => {
                let time = self.time(row, text, reading)?;
                Ok(Column::Strings(vec![time]))
            }
            (Kind::Vector(_), _) if self.spread => self.elements(row, reading),
            (Kind::Vector(length), Cell::List(values)) => {
                if values.len() != *length {
                    let why = format!("a list of {}, expected {length}", values.len());
                    bail!(refusal(row, &self.input.name, why));
                }
                self.vector(row, values)
            }
            (Kind::Vector(_), Cell::Text(text)) => {
                let why = format!("{}, expected a list of numbers", quoted(text));
                bail!(refusal(row, &self.input.name, why));
            }
            (Kind::Number | Kind::Text | Kind::Time(..), Cell::List(_)) => {
                bail!(refusal(row, &self.input.name, "a list, expected one value"));
            }
        }
    }

    /// The number of a cell, NaN for a gap.
    fn number(&mut self, row: &Row, text: &str, reading: Reading) -> anyhow::Result<f64> {
        let Reading { decimals, options } = reading;
        let name = &self.input.name;
        if let Some(value) = options.number(text, decimals) {
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
    fn time(&mut self, row: &Row, text: &str, reading: Reading) -> anyhow::Result<String> {
        let Reading { decimals, options } = reading;
        let text = text.trim();
        if options.is_gap(&self.input.name, text, decimals) {
            return self.gap(row, text).map(|()| String::new());
        }
        let Kind::Time(format, zone_s) = &self.input.kind else {
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

/// Counts a cell, and keeps the first with its line.
fn count(counted: &mut Option<(u64, u64, String)>, line: u64, text: &str) {
    counted.get_or_insert_with(|| (0, line, text.to_owned())).0 += 1;
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
        let two = || Kind::Vector(2);
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
        check("v[1],x,v[0]\n-2,9,1.5\n", "v", two(), floats.clone());
        check("{\"v\":[1.5,-2]}", "v", two(), floats.clone());
        check("{\"v[0]\":1.5,\"v[1]\":-2}", "v", two(), floats);
    }

    #[test]
    fn a_gap_is_not_a_number() {
        let gaps = [
            "\"\"", "NA", "nan", "NaN", "NAN", " ", "?", "NULL", "None", "-", "\\N", "#N/A",
        ];
        let rows: String = gaps.iter().map(|gap| format!("{gap},1\n")).collect();
        let (cells, notes) = with_gaps(&format!("a,b\n{rows}"), Kind::Number);
        assert_eq!(cells, ["NaN"; 12]);
        assert!(notes.is_empty(), "{notes:?}");
    }

    /// The cells of a column of times or numbers that may be gaps, and what is said at the end.
    fn with_gaps(text: &str, kind: Kind) -> (Vec<String>, Vec<String>) {
        let file = temporary(text.as_bytes());
        let mut rows = Rows::open(file.path(), &Default::default()).unwrap();
        let gaps = Input {
            gaps: true,
            ..input("a", kind)
        };
        let mut layout = Layout::of_rows(&mut rows, &[gaps]).unwrap();
        let cells = rows.map(
            |row| match layout.batch(&row.unwrap()).unwrap().columns.remove(0) {
                Column::Strings(mut texts) => texts.remove(0),
                Column::Numbers(numbers) => numbers[0].to_string(),
                other => panic!("{other:?}"),
            },
        );
        let cells = cells.collect();
        (cells, [layout.notes(), layout.closing_notes()].concat())
    }

    #[test]
    fn stray_cells_are_gaps_and_are_said() {
        let format = TimeFormat::parse("%d/%m/%Y").unwrap();
        let (cells, notes) = with_gaps(
            "a,b\n31/01/2026,1\nlater,1\n,1\n32/01/2026,1\n",
            Kind::Time(format, 0),
        );
        assert_eq!(cells, ["31/01/2026", "", "", ""]);
        let said = "column \"a\": 2 cells are no dates and were taken as gaps, the first in line 3: \
                    \"later\"";
        assert_eq!(notes, [said]);
        let (cells, notes) = with_gaps("a\n1\nx\n9007199254740993\n", Kind::Number);
        assert_eq!(cells, ["1", "NaN", "9007199254740992"]);
        let said = [
            "column \"a\": 1 cell is no number and was taken as a gap in line 3: \"x\"",
            "column \"a\": 1 cell has more digits than a number keeps in line 4: \"9007199254740993\"",
        ];
        assert_eq!(notes, said);
        let (cells, notes) = with_gaps("b\n1\n", Kind::Number);
        assert_eq!(cells, ["NaN"]);
        assert_eq!(notes, ["no column \"a\": it is a gap in every row"]);
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
            "a,b\n?,2\n",
            "a",
            Kind::Number,
            "line 2: column \"a\": \"?\" is a gap, and the input takes none; missing = \"mean\" in \
             model.toml does",
        );
        check_refused(
            "a,b\n,2\n",
            "a",
            Kind::Time(TimeFormat::default(), 0),
            "line 2: column \"a\": a gap, and the input takes none; missing = \"mean\" in model.toml \
             does",
        );
        check_refused(
            "a\nnoon\n",
            "a",
            Kind::Time(TimeFormat::default(), 0),
            "line 2: column \"a\": \"noon\" is no time as 2026-01-31T12:00:00Z",
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
        let two = || Kind::Vector(2);
        check_refused(
            "v[0],v[2]\n1,2\n",
            "v",
            two(),
            "no column \"v[1]\"; the file has \"v[0]\", \"v[2]\"",
        );
        check_refused(
            "v[0],v[1],v[2]\n1,2,3\n",
            "v",
            two(),
            "vector \"v\" has 2 elements, and the file has also a column \"v[2]\"",
        );
        check_refused(
            "v[0],v[1]\n1,NA\n",
            "v",
            two(),
            "line 2: column \"v[1]\": \"NA\" is not a finite number",
        );
        check_refused(
            "{\"v\":[1,2,3]}",
            "v",
            two(),
            "line 1: column \"v\": a list of 3, expected 2",
        );
        check_refused(
            "{\"v\":[1,1e300]}",
            "v",
            two(),
            "line 1: column \"v\": 1e300 is not a finite 32-bit float",
        );
        check_refused(
            "{\"v\":null}",
            "v",
            two(),
            "line 1: column \"v\": \"\", expected a list of numbers",
        );
    }
}
