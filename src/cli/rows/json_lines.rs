//! JSON: an object a line, an array of objects, or objects over several lines.
//!
//! Invariant: no value is dropped unseen; a repeated key is handed on, not resolved here; an object
//! is bounded as a row is.

use std::fmt;

use anyhow::bail;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::lines::Lines;
use super::row::Cell;
use super::row::quoted;

/// One object: its line, and its keys and cells in order.
type Object = (u64, Vec<(String, Cell)>);

/// The objects of a text.
pub(super) struct Objects {
    pub lines: Lines,
    form: JsonLayout,
    /// The rest of the chunk read last.
    rest: String,
    /// True once the array was closed.
    is_closed: bool,
    /// The form of the first object, if it may hold all rows.
    pub wrapper: Option<Wrapper>,
    is_begun: bool,
}

/// An object that holds rows or columns within it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wrapper {
    /// An array of objects under this key.
    Rows(String),
    /// A collection of GeoJSON.
    Features,
    /// Columns, or rows without names.
    Columns,
}

impl Wrapper {
    /// The wrapper that an object is, if it may be one.
    fn of(fields: &[(String, Value)]) -> Option<Wrapper> {
        let is_rows = |value: &Value| {
            let first = value.as_array().and_then(|values| values.first());
            first.is_some_and(Value::is_object)
        };
        let is_columns = |value: &Value| match value {
            Value::Array(values) => values.first().is_some_and(Value::is_array),
            Value::Object(cells) => cells.contains_key("0"),
            _ => false,
        };
        let rows = fields.iter().find(|(_, value)| is_rows(value));
        match rows {
            Some((key, _)) if key == "features" => Some(Wrapper::Features),
            Some((key, _)) => Some(Wrapper::Rows(key.clone())),
            None => {
                let mut values = fields.iter().map(|(_, value)| value);
                let is_one = values.any(is_columns) || are_columns(fields);
                is_one.then_some(Wrapper::Columns)
            }
        }
    }

    /// A sentence that names it and its remedy.
    pub(super) fn sentence(&self) -> String {
        match self {
            Wrapper::Rows(key) => format!(
                "one JSON object, whose rows stand under {}: write that array alone, as by `jq '.[{key:?}]'`",
                quoted(key)
            ),
            Wrapper::Features => {
                "GeoJSON, whose rows stand in its features: write their properties, as \
                                  by `jq -c '.features[].properties'`"
                    .to_owned()
            }
            Wrapper::Columns => {
                "one JSON object of columns, expected an object a row: pandas writes them \
                                 by to_json(orient=\"records\")"
                    .to_owned()
            }
        }
    }
}

/// True for lists of one length, two or more, of which one has something else than numbers: a row may
/// hold vectors.
fn are_columns(fields: &[(String, Value)]) -> bool {
    let lists = fields.iter().map(|(_, value)| value.as_array());
    let Some(lists) = lists.collect::<Option<Vec<_>>>() else {
        return false;
    };
    let length = lists.first().map_or(0, |list| list.len());
    let has_other = |list: &&Vec<Value>| !list.iter().all(Value::is_number);
    lists.len() > 1
        && length > 1
        && lists.iter().all(|list| list.len() == length)
        && lists.iter().any(has_other)
}

#[derive(Clone, Copy, PartialEq)]
enum JsonLayout {
    /// An object a line.
    Lines,
    /// Objects one after the other, in an array or not.
    Stream,
}

impl Objects {
    /// The objects of a text whose first lines are known.
    pub(super) fn new(lines: Lines) -> Objects {
        let first = lines.sample().iter().find(|line| !line.trim().is_empty());
        let is_whole = first.is_none_or(|line| {
            let is_open = |error: serde_json::Error| error.is_eof();
            let parsed = serde_json::from_str::<ObjectFields>(&plain(line));
            line.trim_start().starts_with('{') && !parsed.err().is_some_and(is_open)
        });
        // A torn line at the end of a text is one, and not the start of an object over several.
        let is_lines = is_whole || lines.sample().len() == 1 && !starts_array(lines.sample());
        Objects {
            lines,
            form: if is_lines {
                JsonLayout::Lines
            } else {
                JsonLayout::Stream
            },
            rest: String::new(),
            is_closed: false,
            wrapper: None,
            is_begun: false,
        }
    }

    /// The next object.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Object>> {
        let text = match self.form {
            JsonLayout::Lines => self.next_line()?,
            JsonLayout::Stream => self.next_in_stream()?,
        };
        let Some((number, text)) = text else {
            return Ok(None);
        };
        let lines = &self.lines;
        let text = if has_long(&text) { plain(&text) } else { text };
        let parsed =
            serde_json::from_str::<ObjectFields>(&text).or_else(|error| match plain(&text) {
                plain if plain == text => Err(error),
                plain => serde_json::from_str(&plain),
            });
        let fields = parsed.map_err(|error| {
            // The parser counts lines from the start of its text, which is one object of ours.
            let error = error.to_string();
            let why = error.split(" at line ").next().unwrap_or(&error);
            lines.refusal(number, format!("not a JSON object: {why}"))
        })?;
        if !self.is_begun {
            self.is_begun = true;
            self.wrapper = Wrapper::of(&fields.0);
        }
        let mut cells = Vec::with_capacity(fields.0.len());
        for (key, value) in fields.0 {
            flatten(key, value, &mut cells);
        }
        Ok(Some((number, cells)))
    }

    /// The next line that is not blank.
    fn next_line(&mut self) -> anyhow::Result<Option<(u64, String)>> {
        while let Some(line) = self.lines.next(0)? {
            if !line.trim().is_empty() {
                return Ok(Some((self.lines.number(), line)));
            }
        }
        Ok(None)
    }

    /// The text of the next object, by its braces.
    fn next_in_stream(&mut self) -> anyhow::Result<Option<(u64, String)>> {
        loop {
            let between = |c: char| c.is_whitespace() || c == ',' || c == '[';
            let trimmed = self.rest.trim_start_matches(between);
            let rest = match trimmed.strip_prefix(']') {
                Some(rest) => {
                    self.is_closed = true;
                    rest.trim_start()
                }
                None => trimmed,
            };
            self.rest = rest.to_owned();
            if !self.rest.is_empty() {
                break;
            }
            match self.lines.next_chunk(0)? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(None),
            }
        }
        let number = self.lines.number();
        if self.is_closed || !self.rest.starts_with('{') {
            let shown: String = self.rest.chars().take(20).collect();
            let why = format!("not a JSON object: {}", quoted(&shown));
            bail!(self.lines.refusal(number, why));
        }
        let mut text = std::mem::take(&mut self.rest);
        let mut braces = Braces::default();
        let mut n_seen = 0;
        loop {
            if let Some(end) = braces.end(&text[n_seen..]) {
                self.rest = text.split_off(n_seen + end);
                return Ok(Some((number, text)));
            }
            n_seen = text.len();
            match self.lines.next_chunk(text.len())? {
                Some(chunk) => text.push_str(&chunk),
                None => return Ok(Some((number, text))),
            }
        }
    }
}

fn starts_array(sample: &[String]) -> bool {
    let first = sample
        .iter()
        .find_map(|line| line.trim_start().chars().next());
    first == Some('[')
}

/// The search for the end of an object.
#[derive(Default)]
struct Braces {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Braces {
    /// The place behind the brace that closes the object, if it is in this text.
    fn end(&mut self, text: &str) -> Option<usize> {
        for (place, byte) in text.bytes().enumerate() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'{' if !self.in_text => self.depth += 1,
                b'}' if !self.in_text => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(place + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Digits from which on a whole number may not be one of 64 bits.
const LONG_DIGITS: usize = 19;

/// The text with null in place of numbers that JSON does not have, and with quotes around whole
/// numbers, outside of lists, that a parser would cut to a float.
fn plain(text: &str) -> String {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    let mut plain = String::with_capacity(text.len());
    let (mut in_text, mut is_escaped, mut depth) = (false, false, 0u32);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !in_text && let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) {
            plain.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        if !in_text && (c == '-' || c.is_ascii_digit()) {
            let is_of_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
            let end = rest.find(|c| !is_of_number(c)).unwrap_or(rest.len());
            let number = &rest[..end];
            let is_long = depth == 0 && is_long(number);
            plain.extend(is_long.then_some('"'));
            plain.push_str(number);
            plain.extend(is_long.then_some('"'));
            rest = &rest[end..];
            continue;
        }
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_text => is_escaped = true,
            '"' => in_text = !in_text,
            '[' if !in_text => depth += 1,
            ']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        plain.push(c);
        rest = &rest[c.len_utf8()..];
    }
    plain
}

/// True for a whole number of so many digits that it may not be one of 64 bits.
fn is_long(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.len() >= LONG_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// True for a text in which so many digits follow each other.
fn has_long(text: &str) -> bool {
    let mut n_digits = 0;
    text.bytes().any(|byte| {
        n_digits = if byte.is_ascii_digit() {
            n_digits + 1
        } else {
            0
        };
        n_digits >= LONG_DIGITS
    })
}

/// The cells of a value: an object within an object has its keys behind a point.
fn flatten(key: String, value: Value, cells: &mut Vec<(String, Cell)>) {
    let cell = match value {
        Value::Null => Cell::Text(String::new()),
        Value::Bool(truth) => Cell::Text(truth.to_string()),
        Value::Number(number) => Cell::Text(number.to_string()),
        Value::String(text) => Cell::Text(text),
        Value::Array(values) => match values.iter().map(Value::as_f64).collect::<Option<_>>() {
            Some(numbers) => Cell::List(numbers),
            None => Cell::Text(Value::Array(values).to_string()),
        },
        Value::Object(fields) => {
            for (inner, value) in fields {
                flatten(format!("{key}.{inner}"), value, cells);
            }
            return;
        }
    };
    cells.push((key, cell));
}

/// An object's fields in order, repeated keys included.
struct ObjectFields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for ObjectFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ObjectFields, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = ObjectFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectFields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(ObjectFields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::plain;
    use crate::cli::rows::tests::{error, gzipped, read};

    #[test]
    fn json_comes_as_cells() {
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
        check(
            "{\"a\":NaN,\"b\":\"NaN\"}\n{\"a\":-Infinity}",
            "a|b 1: |NaN 2: |",
        );
        check("{\"a\":{\"b\":1,\"c\":{\"d\":2}}}", "a.b|a.c.d 1: 1|2");
        check("{\"a\":[\"x\",1]}", "a 1: [\"x\",1]");
        check(
            "{\"a\":12345678901234567891}\n{\"a\":123456789012345678901}",
            "a 1: 12345678901234567891 2: 123456789012345678901",
        );
    }

    #[test]
    fn an_array_and_objects_over_several_lines_are_rows() {
        let check = |text: &str, expected: &str| {
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
        };
        check("[{\"a\":1},{\"a\":2}]", "a 1: 1 1: 2");
        check("[\n{\"a\":1},\n{\"a\":2}\n]\n", "a 2: 1 3: 2");
        check("[\n  {\n    \"a\": \"}]\\\"\"\n  }\n]\n", "a 3: }]\"");
        check("{\n  \"a\": 1\n}\n{\n  \"a\": NaN\n}\n", "a 3: 1 6: ");
    }

    #[test]
    fn one_object_that_holds_all_rows_is_named() {
        let check = |text: &str, expected: &str| {
            let got = error(read(text.as_bytes()));
            assert!(got.contains(expected), "{got}, expected {expected}");
        };
        check(
            "{\"data\": [{\"a\":1},{\"a\":2}]}",
            "rows stand under \"data\"",
        );
        check(
            "{\n\"n\": 2,\n\"data\": [\n{\"a\":1}\n]\n}\n",
            "jq '.[\"data\"]'",
        );
        let geo = "{\"type\":\"FeatureCollection\",\"features\":[{\"properties\":{\"a\":1}}]}";
        check(geo, "GeoJSON");
        check(
            "{\"columns\":[\"a\"],\"data\":[[1],[2]]}",
            "orient=\"records\"",
        );
        check("{\"a\":{\"0\":1,\"1\":2}}", "orient=\"records\"");
        check("[[1,2],[3,4]]", "a JSON array of arrays");
        // A row may hold such a value as well.
        let rows = "{\"a\":[{\"b\":1}]}\n{\"a\":[{\"b\":2}]}\n";
        assert!(read(rows.as_bytes()).is_ok());
    }

    #[test]
    fn lists_of_one_length_are_columns_where_one_is_not_of_numbers() {
        let columns = "{\"x\":[1,2],\"y\":[\"a\",\"b\"]}";
        let got = error(read(columns.as_bytes()));
        assert!(got.contains("one JSON object of columns"), "{got}");
        // A row of two vectors, and rows of lists.
        for rows in [
            "{\"v\":[1,2],\"w\":[3,4]}",
            &format!("{columns}\n{columns}"),
        ] {
            assert!(read(rows.as_bytes()).is_ok(), "{rows}");
        }
    }

    #[test]
    fn only_bare_words_are_no_numbers_and_long_numbers_keep_their_digits() {
        let check = |text: &str, expected: &str| assert_eq!(plain(text), expected);
        let long = "12345678901234567890";
        check(
            &format!("{{\"a\":{long},\"b\":[{long}],\"c\":-1.5e3,\"{long}\":1}}"),
            &format!("{{\"a\":\"{long}\",\"b\":[{long}],\"c\":-1.5e3,\"{long}\":1}}"),
        );
        check("{\"NaN\":NaN}", "{\"NaN\":null}");
        check(
            "{\"a\\\"NaN\":[-Infinity,Infinity]}",
            "{\"a\\\"NaN\":[null,null]}",
        );
    }
}
