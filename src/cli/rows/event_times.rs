//! The column of event times, as an option: in a format of its own, in that of the model's input of the
//! same name, or in RFC 3339.
//!
//! Invariant: every time is a moment in UTC; without an offset it is of the zone of that input, or of
//! UTC.

use anyhow::Context;
use perennial::event::Time;
use perennial::model::TimeFormat;

use super::layout::{ModelInput, ModelInputKind};
use super::row::{Cell, Row, Unusable, quoted};

/// The column of event times, and how they are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventTimes {
    pub column: String,
    /// The format of the option; none where the option names none.
    format: Option<TimeFormat>,
    /// Seconds east of UTC, of times without an offset.
    zone_s: i64,
}

/// Parses `COLUMN` or `COLUMN=FORMAT`.
pub(crate) fn event_times(text: &str) -> anyhow::Result<EventTimes> {
    let (column, format) = match text.split_once("=%") {
        None => (text, None),
        Some((column, format)) => {
            let format = TimeFormat::parse(&format!("%{format}"));
            let expected = "expected COLUMN, or COLUMN=FORMAT as in day=%d/%m/%Y";
            (column, Some(format.context(expected)?))
        }
    };
    Ok(EventTimes {
        column: column.to_owned(),
        format,
        zone_s: 0,
    })
}

impl EventTimes {
    /// The event times with the format and the zone of the input of this name, if the option has no format.
    pub(super) fn of_model(mut self, inputs: &[ModelInput]) -> EventTimes {
        let mut inputs = inputs.iter();
        let input = inputs.find(|input| input.name == self.column);
        if let (None, Some(ModelInputKind::Time(format, zone_s))) =
            (&self.format, input.map(|input| &input.kind))
        {
            self.format = Some(format.clone());
            self.zone_s = *zone_s;
        }
        self
    }

    /// The time of a row.
    ///
    /// # Errors
    /// [`Unusable`]: the cell is no time of this format.
    pub(super) fn read(&self, row: &Row, column: usize) -> anyhow::Result<Time> {
        let text = match row.cells.get(column) {
            Some(Cell::Text(text)) => text.trim(),
            _ => "",
        };
        let format = self.format.clone().unwrap_or_default();
        let time = format.read(text, self.zone_s);
        let name = quoted(&self.column);
        time.map(Time).ok_or_else(|| {
            anyhow::Error::new(Unusable {
                reason: format!("column {name}: no event time"),
                sentence: format!(
                    "line {}: column {name}: {} is no time as {format}",
                    row.line,
                    quoted(text),
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
        let format = TimeFormat::parse("%d.%m.%Y %H:%M").expect("a format");
        let input = ModelInput {
            name: "at".to_owned(),
            kind: ModelInputKind::Time(format, 7200),
            gaps: false,
        };
        let row = Row {
            line: 2,
            cells: vec![Cell::Text("31.01.2026 02:00".to_owned())],
        };
        let of_model = event_times("at").expect("an option").of_model(&[input]);
        let time = of_model.read(&row, 0).expect("a time");
        assert_eq!(time.to_string(), "2026-01-31T00:00:00Z");
    }
}
