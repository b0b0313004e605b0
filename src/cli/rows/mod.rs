//! The rows of a file: CSV, JSON, Parquet or Arrow, packed or not, recognised by the bytes.
//!
//! Invariant: a row has one cell for each column, and memory does not grow with the file.
//!
//! In reading order: `bounds`, `source` (bytes, unpacked), `encoding` and `lines` (text), `dialect`, `preamble`,
//! `delimited` and `table` (CSV), `json_lines`, `columnar` (`parquet_rows`,
//! `arrow_rows`), `file` (rows of any of them); `number`,
//! `units` and `row` (cells), `event_times`, `layout` (rows to features), `described`, `labelled` and
//! `decisions` (rows with their rewards).

#[cfg(feature = "arrow")]
mod arrow_rows;
mod bounds;
pub(super) mod columnar;
pub(super) mod decisions;
mod delimited;
mod described;
mod dialect;
mod encoding;
pub(super) mod event_times;
mod file;
mod json_lines;
pub(super) mod labelled;
mod layout;
pub(super) mod lines;
#[cfg(test)]
mod mutated;
mod names;
pub(super) mod number;
pub(super) mod options;
mod parquet_rows;
mod preamble;
mod recognised;
mod row;
pub(super) mod signature;
pub(super) mod source;
mod table;
pub(super) mod target;
pub(super) mod units;
mod zip;

pub(crate) use file::{FileForm, FileRows};
pub(crate) use layout::{Layout, ModelInput, ModelInputKind};
pub(crate) use lines::DetectedEncoding;
pub(crate) use row::{Cell, Row, Unusable, quoted};

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::row::find_column;
    use super::*;

    pub(super) fn temporary(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    pub(super) fn error<T>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.err().expect("should be refused"))
    }

    pub(super) fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Columns and rows in one line, rows with their line numbers.
    pub(super) fn read(bytes: &[u8]) -> anyhow::Result<String> {
        let file = temporary(bytes);
        let mut rows = FileRows::open(file.path(), &Default::default())?;
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

    #[cfg(not(feature = "arrow"))]
    #[test]
    fn an_arrow_file_is_named_where_it_is_not_read() {
        let refusal = error(read(b"ARROW1\0\0"));
        assert!(refusal.contains("save it as Parquet"), "{refusal}");
        crate::cli::passed_over::pass_over("the feature arrow, of rows in Arrow files");
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
        check(b"a,b\n1,2\n3\n", ": line 3: 1 field, expected 2");
        check(b"a,b\r\n\r\n1,2,3\r\n", ": line 3: 3 fields, expected 2");
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
        let got = error(FileRows::open(
            Path::new("no/such.csv"),
            &Default::default(),
        ));
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
        assert_eq!(
            error(find_column(&columns, " A")),
            "no column \" A\", but \"a\", which differs in case or blanks; the file has \"a\", \"b c\""
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
