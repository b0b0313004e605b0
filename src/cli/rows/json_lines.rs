//! JSON lines: the fields of one object.
//!
//! Invariant: no value is dropped unseen; a repeated key is handed on, not resolved here.

use std::fmt;

use anyhow::bail;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::lines::Lines;
use super::row::Cell;
use super::row::quoted;

/// One object: its line, and its keys and cells in order.
type Object = (u64, Vec<(String, Cell)>);

/// The next object; blank lines between objects are passed over.
pub(super) fn next_object(lines: &mut Lines) -> anyhow::Result<Option<Object>> {
    let line = loop {
        match lines.next(0)? {
            None => return Ok(None),
            Some(line) if line.trim().is_empty() => continue,
            Some(line) => break line,
        }
    };
    let number = lines.number();
    let fields = serde_json::from_str::<Fields>(&line).map_err(|error| {
        // The parser counts lines from the start of its text, which is one line of ours.
        let error = error.to_string();
        let why = error.split(" at line ").next().unwrap_or(&error);
        lines.refusal(number, format!("not a JSON object: {why}"))
    })?;
    let mut cells = Vec::with_capacity(fields.0.len());
    for (key, value) in fields.0 {
        match cell(value) {
            Ok(cell) => cells.push((key, cell)),
            Err(why) => bail!(lines.refusal(number, format!("column {}: {why}", quoted(&key)))),
        }
    }
    Ok(Some((number, cells)))
}

fn cell(value: Value) -> Result<Cell, &'static str> {
    Ok(match value {
        Value::Null => Cell::Text(String::new()),
        Value::Bool(truth) => Cell::Text(truth.to_string()),
        Value::Number(number) => Cell::Text(number.to_string()),
        Value::String(text) => Cell::Text(text),
        Value::Array(values) => {
            let numbers = values.iter().map(Value::as_f64).collect::<Option<_>>();
            Cell::List(numbers.ok_or("an array may hold only numbers")?)
        }
        Value::Object(_) => return Err("a nested object; flatten it into columns"),
    })
}

/// An object's fields in order, repeated keys included.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::rows::tests::{gzipped, read};

    #[test]
    fn json_lines_come_as_cells() {
        let check = |text: &str, expected: &str| {
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
            let packed = gzipped(text.as_bytes());
            assert_eq!(read(&packed).unwrap(), expected, "gzipped {text:?}");
        };
        check("{\"a\":1,\"b\":\"x\"}\n", "a|b 1: 1|x");
        check("\n {\"b\":true}\n\n{\"b\":null}", "b 2: true 4: ");
        check(
            "{\"a\":0.5,\"b\":1e3}\n{\"b\":2}",
            "a|b 1: 0.5|1000.0 2: |2",
        );
        check("{\"a\":1,\"b\":2}\n{\"b\":3,\"a\":4}", "a|b 1: 1|2 2: 4|3");
        check("\u{feff}{\"v\":[1,2.5]}\r\n", "v 1: [1.0, 2.5]");
        check("{\"v\":[]}", "v 1: []");
    }
}
