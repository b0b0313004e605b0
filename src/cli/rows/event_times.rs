//! The column of event times, as an option: in RFC 3339, or in a format of its own.
//!
//! Invariant: every time is a moment in UTC; without an offset it is of UTC.

use anyhow::Context;
use perennial::event::Time;
use perennial::model::TimeFormat;

use super::row::{Cell, Row, Unusable, quoted};

/// The column of event times, and how they are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventTimes {
    pub column: String,
    format: TimeFormat,
}

/// Parses `COLUMN` or `COLUMN=FORMAT`.
pub(crate) fn event_times(text: &str) -> anyhow::Result<EventTimes> {
    let (column, format) = match text.split_once("=%") {
        None => (text, TimeFormat::default()),
        Some((column, format)) => {
            let format = TimeFormat::parse(&format!("%{format}"));
            let expected = "expected COLUMN, or COLUMN=FORMAT as in day=%d/%m/%Y";
            (column, format.context(expected)?)
        }
    };
    Ok(EventTimes {
        column: column.to_owned(),
        format,
    })
}

impl EventTimes {
    /// The time of a row.
    ///
    /// # Errors
    /// [`Unusable`]: the cell is no time of this format.
    pub(super) fn read(&self, row: &Row, column: usize) -> anyhow::Result<Time> {
        let text = match row.cells.get(column) {
            Some(Cell::Text(text)) => text.trim(),
            _ => "",
        };
        let time = self.format.read(text, 0);
        let name = quoted(&self.column);
        time.map(Time).ok_or_else(|| {
            anyhow::Error::new(Unusable {
                reason: format!("column {name}: no event time"),
                sentence: format!(
                    "line {}: column {name}: {} is no time as {}",
                    row.line,
                    quoted(text),
                    self.format
                ),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_times_may_have_a_format() {
        let read = |option: &str, text: &str| {
            let times = event_times(option).expect("an option");
            let row = Row {
                line: 2,
                cells: vec![Cell::Text(text.to_owned())],
            };
            let time = times.read(&row, 0).map(|time| time.to_string());
            (times.column, time.map_err(|error| error.to_string()))
        };
        let time = Ok("2026-01-31T00:00:00Z".to_owned());
        assert_eq!(read("at", "2026-01-31"), ("at".to_owned(), time.clone()));
        assert_eq!(read("a=b=%d/%m/%Y", "31/01/2026"), ("a=b".to_owned(), time));
        let error = read("at", "noon").1.unwrap_err();
        assert!(
            error.starts_with("line 2: column \"at\": \"noon\" is no time as"),
            "{error}"
        );
        assert!(event_times("at=%K").is_err());
    }
}
