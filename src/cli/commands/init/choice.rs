//! The kinds that the author gives to columns: `--as column=kind`.

use std::str::FromStr;

use anyhow::{Context, bail};
use perennial::model::TimeFormat;

/// A column with its kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnChoice {
    pub column: String,
    pub kind: ChosenKind,
}

/// The kind of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ChosenKind {
    Number,
    Category,
    Text,
    /// The format, empty for RFC 3339; none where it is inferred from the values.
    Time(Option<String>),
    /// The column is no input.
    Out,
}

impl FromStr for ColumnChoice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<ColumnChoice> {
        let expected = "expected COLUMN=KIND, a kind of number, category, text, date, \
                        date:FORMAT (as date:%d/%m/%Y) or out";
        let place = ["number", "category", "text", "date", "time", "out"]
            .iter()
            .filter_map(|kind| text.rfind(&format!("={kind}")))
            .max();
        let place = place.filter(|place| *place > 0).context(expected)?;
        let (column, kind) = (&text[..place], &text[place + 1..]);
        let kind = match kind.split_once(':').unwrap_or((kind, "")) {
            ("number", "") => ChosenKind::Number,
            ("category", "") => ChosenKind::Category,
            ("text", "") => ChosenKind::Text,
            ("out", "") => ChosenKind::Out,
            ("date" | "time", "") => ChosenKind::Time(None),
            ("date" | "time", format) if TimeFormat::parse(format).is_some() => {
                ChosenKind::Time(Some(format.to_owned()))
            }
            ("date" | "time", _) => bail!("a format has directives as %Y, %m, %d, %H, %M, %S"),
            _ => bail!(expected),
        };
        Ok(ColumnChoice {
            column: column.to_owned(),
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_column_and_a_kind() {
        let check = |text: &str, column: &str, kind: ChosenKind| {
            let column = column.to_owned();
            assert_eq!(
                text.parse::<ColumnChoice>().unwrap(),
                ColumnChoice { column, kind }
            );
        };
        check("zip=category", "zip", ChosenKind::Category);
        check("a=b=number", "a=b", ChosenKind::Number);
        check("id=out", "id", ChosenKind::Out);
        check("day=date", "day", ChosenKind::Time(None));
        let format = Some("%d/%m/%Y %H:%M".to_owned());
        check("day=date:%d/%m/%Y %H:%M", "day", ChosenKind::Time(format));
        for text in [
            "zip",
            "=text",
            "zip=",
            "zip=word",
            "day=date:%x",
            "zip=number:5",
        ] {
            assert!(text.parse::<ColumnChoice>().is_err(), "{text}");
        }
    }
}
