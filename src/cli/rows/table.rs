//! The rows of a CSV: records under a header, without those that are no rows.
//!
//! Invariant: a record that is passed over is counted under its reason; a row has one cell for each
//! column.

use std::collections::VecDeque;

use super::delimited::next_record;
use super::dialect::{
    Dialect, SEPARATORS, commonest, decimals, dialect, is_number, looks_like_data, number_columns,
};
use super::lines::{Lines, unescaped};
use super::names::{names, numbered};
use super::number::{Decimals, is_gap};
use super::options::ReadOptions;
use super::preamble::form;
use super::row::{Cell, Row, Unusable};
use crate::cli::output::print::counted;

/// Words that begin a row of totals.
const TOTALS: [&str; 8] = [
    "total",
    "totals",
    "grand total",
    "subtotal",
    "sum",
    "summe",
    "gesamt",
    "insgesamt",
];

/// A CSV, after its header.
pub(super) struct CsvTable {
    pub lines: Lines,
    pub columns: Vec<String>,
    pub separator: char,
    pub decimals: Decimals,
    /// True where the first row may be data although it is read as the header.
    pub looks_like_data: bool,
    /// Sentences about the header.
    pub notes: Vec<String>,
    /// The header as it stands in the file; none of a file without one.
    header: Option<Vec<String>>,
    are_numbers: Vec<bool>,
    /// True if each row begins with a name that the header leaves out.
    has_row_names: bool,
    passed: PassedOver,
    /// Words for totals that rows begin with, of which there are few.
    total_names: Vec<String>,
    ready: VecDeque<anyhow::Result<(u64, Vec<String>)>>,
}

/// Records that are no rows, by reason.
#[derive(Default)]
struct PassedOver {
    comments: usize,
    empty: u64,
    headers: u64,
    units: Lot,
    totals: Lot,
}

/// A number of records, and the line of the first.
#[derive(Default)]
struct Lot {
    n: u64,
    first: u64,
}

impl Lot {
    fn add(&mut self, line: u64) {
        if self.n == 0 {
            self.first = line;
        }
        self.n += 1;
    }
}

/// The decimal mark of a file, with a note where it is not the one that was given.
fn decimal_mark(
    sample: &[Vec<String>],
    separator: char,
    options: &ReadOptions,
    notes: &mut Vec<String>,
) -> Decimals {
    let found = decimals(sample);
    let by_default = match separator {
        ',' => Decimals::Point,
        _ => found.unwrap_or_default(),
    };
    let mut decimals = options.decimals.unwrap_or(by_default);
    if let (Some(given), Some(in_file)) = (options.decimals, found)
        && given != in_file
    {
        let (origin, remedy) = if options.decimals_are_described {
            decimals = in_file;
            ("model.toml says", ": read as they stand")
        } else {
            ("--decimals says", "")
        };
        let (given, in_file) = (given.word(), in_file.word());
        notes.push(format!(
            "numbers have a decimal {in_file}, and {origin} {given}{remedy}"
        ));
    }
    decimals
}

/// True where quotes within fields stand behind a backslash: only so do the first records divide alike.
fn has_escapes(lines: &[String], separator: Option<char>) -> bool {
    if !lines.iter().any(|line| line.contains("\\\"")) {
        return false;
    }
    let plain: Vec<String> = lines.iter().map(|line| unescaped(line)).collect();
    let [escaped, as_is] = [&plain[..], lines].map(|lines| uniform(&form(lines, separator).0));
    escaped > 0.99 && escaped > as_is
}

/// The share of the first records that have as many fields as the header, more than one.
fn uniform(form: &Dialect) -> f64 {
    let width = form.first.len();
    if width < 2 || form.sample.is_empty() {
        return 0.0;
    }
    let n_alike = form
        .sample
        .iter()
        .filter(|fields| fields.len() == width)
        .count();
    n_alike as f64 / form.sample.len() as f64
}

impl CsvTable {
    /// Reads as far as the header.
    pub(super) fn open(
        mut lines: Lines,
        options: &ReadOptions,
    ) -> anyhow::Result<Option<CsvTable>> {
        let mut notes = Vec::new();
        if has_escapes(lines.sample(), options.separator) {
            lines.unescape();
            notes.push("a quote within a field stands behind a backslash".to_owned());
        }
        let (mut form, n_preamble) = form(lines.sample(), options.separator);
        let mut separator = form.separator;
        if options.separator_is_described && form.first.len() < 2 {
            let other = dialect(lines.sample(), None);
            if other.first.len() > 1 {
                notes.push(format!(
                    "the columns stand between {:?}, and model.toml says {:?}: read as they stand",
                    other.separator, separator
                ));
                (separator, form) = (other.separator, other);
            }
        }
        for _ in 0..form.n_before {
            lines.next(0)?;
        }
        if n_preamble > 0 && !options.no_header {
            let header = form.n_before + 1;
            notes.push(format!(
                "the header is line {header}: the lines before it are no rows"
            ));
        }
        let header = if options.no_header {
            None
        } else {
            match next_record(&mut lines, separator)? {
                None => return Ok(None),
                Some((_, header)) => Some(header),
            }
        };
        let decimals = decimal_mark(&form.sample, separator, options, &mut notes);
        let mut table = CsvTable {
            lines,
            columns: Vec::new(),
            separator,
            decimals,
            looks_like_data: false,
            notes,
            header,
            are_numbers: Vec::new(),
            has_row_names: false,
            passed: PassedOver {
                comments: form.n_before,
                ..PassedOver::default()
            },
            total_names: Vec::new(),
            ready: VecDeque::new(),
        };
        table.name_columns(form);
        Ok(Some(table))
    }

    /// Names the columns by the header, or by their places.
    fn name_columns(&mut self, mut form: Dialect) {
        let Some(header) = &self.header else {
            form.sample.insert(0, form.first);
            let widths: Vec<usize> = form.sample.iter().map(Vec::len).collect();
            let width = commonest(&widths).map_or(0, |(width, _)| width);
            self.columns = (0..width).map(numbered).collect();
            self.are_numbers = number_columns(&form.sample, width);
            return;
        };
        self.looks_like_data = looks_like_data(header, &form.sample);
        let mut headers: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        if let Some(first) = headers.first_mut().filter(|_| form.is_header_comment) {
            let name = first.trim_start_matches('#').trim();
            if !name.is_empty() {
                *first = name.to_owned();
            }
        }
        let is_longer = |fields: &Vec<String>| fields.len() == headers.len() + 1;
        let is_ended = |fields: &Vec<String>| fields.last().is_some_and(String::is_empty);
        self.has_row_names = form.sample.len() > 1
            && form.sample.iter().all(is_longer)
            && !form.sample.iter().all(is_ended);
        if self.has_row_names {
            headers.insert(0, String::new());
        }
        let has_values = |column: usize| {
            let mut cells = form.sample.iter().filter_map(|fields| fields.get(column));
            cells.any(|cell| !cell.is_empty())
        };
        let (columns, notes) = names(headers, has_values);
        self.are_numbers = number_columns(&form.sample, columns.len());
        self.columns = columns;
        self.notes.extend(notes);
    }

    /// The next row.
    ///
    /// # Errors
    /// [`Unusable`] for a row of another width; the rows after it can still be read.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Row>> {
        loop {
            let next = match self.ready.pop_front() {
                Some(ready) => Some(ready?),
                None => next_record(&mut self.lines, self.separator)?,
            };
            let Some((line, mut fields)) = next else {
                return Ok(None);
            };
            if fields.iter().all(|field| field.trim().is_empty()) {
                self.passed.empty += 1;
                continue;
            }
            if self.header.as_ref() == Some(&fields) {
                self.passed.headers += 1;
                continue;
            }
            let n_columns = self.columns.len();
            let is_extra = |fields: &Vec<String>| fields.len() > n_columns;
            while is_extra(&fields) && fields.last().is_some_and(|field| field.trim().is_empty()) {
                fields.pop();
            }
            if self.is_of_units(&fields) {
                self.passed.units.add(line);
                continue;
            }
            if self.is_total(&fields) {
                self.passed.totals.add(line);
                continue;
            }
            return self.row(line, fields).map(Some);
        }
    }

    fn row(&self, line: u64, mut fields: Vec<String>) -> anyhow::Result<Row> {
        let n_columns = self.columns.len();
        // Spreadsheets leave out separators after the last value of a row, where names are missing.
        while fields.len() < n_columns && self.columns[fields.len()].is_empty() {
            fields.push(String::new());
        }
        if fields.len() != n_columns {
            let n = fields.len();
            let as_in = match self.header {
                Some(_) => " as in the header",
                None => "",
            };
            let fields = counted(n as u64, "field");
            let why = format!("{fields}, expected {n_columns}{as_in}");
            return Err(anyhow::Error::new(Unusable {
                reason: format!("another number of fields than {n_columns}"),
                sentence: format!("{}: line {line}: {why}", self.lines.name()),
            }));
        }
        let cells = fields.into_iter().map(Cell::Text).collect();
        Ok(Row { line, cells })
    }

    /// True for a row with a text in each of two or more columns of numbers, as one of units.
    fn is_of_units(&self, fields: &[String]) -> bool {
        let numbers = fields.iter().zip(&self.are_numbers);
        let mut cells = numbers.filter_map(|(cell, of_numbers)| of_numbers.then_some(cell));
        let is_text = |cell: &String| !is_number(cell) && !is_gap(cell);
        let first = cells.next().is_some_and(is_text);
        first && cells.next().is_some_and(is_text) && cells.all(is_text)
    }

    /// True for a row of totals: the last of the file, or one with the word where a number belongs.
    fn is_total(&mut self, fields: &[String]) -> bool {
        let Some(place) = fields.iter().position(|field| !field.trim().is_empty()) else {
            return false;
        };
        let word = fields[place].trim().trim_end_matches(':');
        let is_total = TOTALS.iter().any(|total| word.eq_ignore_ascii_case(total));
        if !is_total {
            return false;
        }
        if self.are_numbers.get(place) == Some(&true) || self.has_words_for_numbers(fields) {
            return true;
        }
        if !fields.iter().any(|field| is_number(field)) {
            return false;
        }
        // A category that is called so.
        if self.is_name(word) {
            return false;
        }
        if self.ready.is_empty()
            && let Some(next) = next_record(&mut self.lines, self.separator).transpose()
        {
            self.ready.push_back(next);
        }
        self.ready.is_empty()
    }

    /// True if a row before began with a word for totals, which is then a name; notes this one.
    fn is_name(&mut self, word: &str) -> bool {
        let word = word.to_lowercase();
        let is_known = self.total_names.contains(&word);
        if !is_known {
            self.total_names.push(word);
        }
        is_known
    }

    /// True for a row without a number where numbers belong, and with a word there.
    fn has_words_for_numbers(&self, fields: &[String]) -> bool {
        let numbers = fields.iter().zip(&self.are_numbers);
        let mut cells = numbers.filter_map(|(cell, of_numbers)| of_numbers.then_some(cell));
        let is_word = |cell: &&String| !is_number(cell) && !is_gap(cell);
        !cells.clone().any(|cell| is_number(cell)) && cells.any(|cell| is_word(&cell))
    }

    /// A character that seems to stand between the columns, where none was found to.
    pub(super) fn other_separator(&self) -> Option<char> {
        const OTHERS: [char; 8] = ['^', ':', '~', '!', '#', '/', '\u{1}', '\u{1f}'];
        let sample = self.lines.sample();
        let parts = |other: &char| {
            let form = dialect(sample, Some(*other));
            form.first.len() > 1 && !form.sample.is_empty() && uniform(&form) > 0.99
        };
        let is_one = self.columns.len() == 1;
        let usual = SEPARATORS.into_iter().filter(|one| *one != self.separator);
        let mut others = usual.chain(OTHERS);
        others.find(|other| is_one && parts(other))
    }

    /// Notes about the lines that were passed over.
    pub(super) fn closing_notes(&self) -> Vec<String> {
        let passed = &self.passed;
        let mut notes = Vec::new();
        let mut add = |n: u64, [noun, what]: [&str; 2]| {
            if n > 0 {
                notes.push(format!("passed over: {} {what}", counted(n, noun)));
            }
        };
        add(passed.comments as u64, ["line", "before the header"]);
        add(passed.empty, ["row", "of nothing"]);
        add(passed.headers, ["row", "equal to the header"]);
        for (Lot { n, first }, what) in [
            (&passed.units, "of texts where numbers belong"),
            (&passed.totals, "of totals"),
        ] {
            if *n > 0 {
                let place = if *n == 1 { "in" } else { "the first in" };
                let rows = counted(*n, "row");
                notes.push(format!("passed over: {rows} {what}, {place} line {first}"));
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::rows::FileRows;
    use crate::cli::rows::tests::{read, temporary};

    fn check(text: &str, expected: &str) {
        assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn separators_are_detected_and_blanks_around_fields_do_not_count() {
        check("x;z\n1,5;2\n3,5;4\n", "x|z 2: 1,5|2 3: 3,5|4");
        check("\"x\";\"z\"\n1;\"a;b\"\n", "x|z 2: 1|a;b");
        check("x\tz\n1\t\"a\" b\n", "x|z 2: 1|\"a\" b");
        check("x|z\n1|2\n", "x|z 2: 1|2");
        check("sep=;\nx;z\n1;2\n", "x|z 3: 1|2");
        check("x, z\n1, \"a, b\"\n", "x|z 2: 1|a, b");
        check("# by hand\nx,z\n1,2\n", "x|z 3: 1|2");
        check(
            "Sales of May\n\nx;z\n1,5;2\n3;4\n5;6\n",
            "x|z 4: 1,5|2 5: 3|4 6: 5|6",
        );
        check("x,z\r1,2\r3,4\r", "x|z 2: 1|2 3: 3|4");
    }

    #[test]
    fn headers_of_nothing_and_twice_are_mended() {
        check("label,text,,,\nham,a,,,\n", "label|text||| 2: ham|a|||");
        check("x,x\n1,2\n", "x|x.2 2: 1|2");
        check(",x\n0,5\n1,6\n", "column_1|x 2: 0|5 3: 1|6");
        check("x,z\n1,2,3\n2,3,4\n", "column_1|x|z 2: 1|2|3 3: 2|3|4");
        check("x,z\n1,2,\n3,4,\n", "x|z 2: 1|2 3: 3|4");
    }

    #[test]
    fn what_is_no_row_is_passed_over_and_counted() {
        let text = "day,x,z\n(d),(mm),(m)\n1,2,3\n,,\nday,x,z\n2,3,4\n3,5,6\nTotal,8,9\n";
        let file = temporary(text.as_bytes());
        let mut rows = FileRows::open(file.path(), &ReadOptions::default()).unwrap();
        let lines: Vec<u64> = rows.by_ref().map(|row| row.unwrap().line).collect();
        assert_eq!(lines, [3, 6, 7]);
        let expected = [
            "passed over: 1 row of nothing",
            "passed over: 1 row equal to the header",
            "passed over: 1 row of texts where numbers belong, in line 2",
            "passed over: 1 row of totals, in line 8",
        ];
        assert_eq!(rows.closing_notes(), expected);
        // A category may be called so, in the middle of a file.
        check("c,x\ntotal,1\nb,2\n", "c|x 2: total|1 3: b|2");
        check(
            "c,x\nTotal,1\nb,2\nTotal,3\nc,4\nTotal,5\n",
            "c|x 2: Total|1 3: b|2 4: Total|3 5: c|4 6: Total|5",
        );
    }

    #[test]
    fn a_total_of_words_is_no_row() {
        check(
            "k,x,z\na,1,2\nb,3,4\nc,5,6\nTotal,-,see notes\n",
            "k|x|z 2: a|1|2 3: b|3|4 4: c|5|6",
        );
        // A gap is no word.
        check(
            "k,x\na,1\nb,3\nc,5\ntotal,\nd,4\n",
            "k|x 2: a|1 3: b|3 4: c|5 5: total| 6: d|4",
        );
    }

    #[test]
    fn a_title_may_be_padded_with_separators() {
        check(
            "Report of May,,\nx,z,y\n1,2,a\n3,4,b\n5,6,a\n",
            "x|z|y 3: 1|2|a 4: 3|4|b 5: 5|6|a",
        );
        check(
            "Report,,\nby hand,,\n,,\nx,z,y\n1,2,a\n3,4,b\n5,6,a\n",
            "x|z|y 5: 1|2|a 6: 3|4|b 7: 5|6|a",
        );
    }

    #[test]
    fn quotes_behind_a_backslash_are_read_where_all_stand_so() {
        let text = "x,t,y\n1,\"he said \\\"no\\\"\",a\n2,\"a \\\\ b\",b\n";
        check(text, "x|t|y 2: 1|he said \"no\"|a 3: 2|a \\ b|b");
        // A path that ends in a backslash.
        check("x,t\n1,\"c:\\d\\\"\n2,b\n", "x|t 2: 1|c:\\d\\ 3: 2|b");
    }

    #[test]
    fn a_row_with_a_torn_quote_is_one_that_cannot_be_used() {
        let head = format!("x,t\n1,a\n{}", "2,b\n".repeat(400));
        let file = temporary(format!("{head}3,\"so \\\"he\\\" said\"\n4,c\n").as_bytes());
        let mut rows = FileRows::open(file.path(), &ReadOptions::default()).unwrap();
        let read: Vec<_> = rows.by_ref().collect();
        assert_eq!(read.len(), 403);
        let bad = read[401].as_ref().unwrap_err();
        assert!(bad.is::<Unusable>(), "{bad}");
        assert!(read[402].is_ok());
    }

    #[test]
    fn another_separator_is_named_where_a_column_is_missed() {
        let check = |separator: char, name: &str| {
            let text = "x,z,y\n1,2,a\n3,4,b\n".replace(',', &separator.to_string());
            let file = temporary(text.as_bytes());
            let mut rows = FileRows::open(file.path(), &ReadOptions::default()).unwrap();
            let error = format!("{:#}", rows.column("y").unwrap_err());
            let named = format!("--separator \"{name}\"");
            assert!(error.contains(&named), "{error}");
        };
        check('^', "^");
        check(':', ":");
        let file = temporary(b"x,z,y\n1,2,a\n3,4,b\n");
        let given = ReadOptions {
            separator: Some(';'),
            ..ReadOptions::default()
        };
        let mut rows = FileRows::open(file.path(), &given).unwrap();
        let error = format!("{:#}", rows.column("y").unwrap_err());
        assert!(error.contains("--separator \",\" reads them"), "{error}");
        let file = temporary(b"text\nall is well\nnothing is\n");
        let mut rows = FileRows::open(file.path(), &ReadOptions::default()).unwrap();
        let error = format!("{:#}", rows.column("y").unwrap_err());
        assert!(!error.contains("--separator"), "{error}");
    }

    #[test]
    fn a_file_without_a_header_has_numbered_columns() {
        let file = temporary(b"5.1,3.5,a\n4.9,3.0,b\n4.7,3.2,a\n4.6,3.1,b\n");
        let options = ReadOptions {
            no_header: true,
            ..ReadOptions::default()
        };
        let rows = FileRows::open(file.path(), &options).unwrap();
        assert_eq!(rows.columns(), ["column_1", "column_2", "column_3"]);
        assert_eq!(rows.count(), 4);
        let mut rows = FileRows::open(file.path(), &ReadOptions::default()).unwrap();
        assert!(rows.looks_like_data());
        let error = format!("{:#}", rows.column("y").unwrap_err());
        assert!(error.contains("--no-header"), "{error}");
    }

    #[test]
    fn other_encodings_are_detected_and_noted() {
        let note = |bytes: &[u8]| {
            let file = temporary(bytes);
            let mut rows = FileRows::open(file.path(), &ReadOptions::default()).unwrap();
            let first = rows.next().unwrap().unwrap();
            assert_eq!(first.cells[0], Cell::Text("K\u{f6}ln".to_owned()));
            assert!(rows.all(|row| row.is_ok()));
            rows.closing_notes().join("; ")
        };
        assert_eq!(note("city,x\nK\u{f6}ln,1\n".as_bytes()), "");
        assert_eq!(note(b"city,x\nK\xf6ln,1\n"), "read as windows-1252");
        let mixed = b"city,x\nK\xf6ln,1\nK\xc3\xb6ln,1\n";
        assert!(note(mixed).starts_with("1 line is not valid UTF-8 and was read as"));
        let utf_16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
            let text = "city,x\nK\u{f6}ln,1\n".encode_utf16().flat_map(bytes);
            [mark.to_vec(), text.collect()].concat()
        };
        assert_eq!(
            note(&utf_16(b"\xff\xfe", u16::to_le_bytes)),
            "read as UTF-16LE"
        );
        assert_eq!(
            note(&utf_16(b"\xfe\xff", u16::to_be_bytes)),
            "read as UTF-16BE"
        );
        assert_eq!(note(&utf_16(b"", u16::to_le_bytes)), "read as UTF-16LE");
        let named = ReadOptions {
            encoding: perennial::model::encoding_named("utf-8"),
            ..ReadOptions::default()
        };
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"city,x\nK\xf6ln,1\n").unwrap();
        let error = FileRows::open(file.path(), &named).unwrap().next().unwrap();
        let error = format!("{:#}", error.unwrap_err());
        assert!(
            error.ends_with("line 2: byte 2 is not valid UTF-8"),
            "{error}"
        );
    }
}
