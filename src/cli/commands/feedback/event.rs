//! One feedback event as a JSON object with the field names of `FeedbackRequest`.
//!
//! Invariant: an unknown field is refused, so that a misspelt one cannot be lost.

use std::collections::HashMap;

use perennial::proto::perennial::v1::{FeedbackRequest, Signal, Tensor};
use serde_json::{Map, Value};

use crate::cli::client::tensors;
use crate::cli::rows::{Cell, Layout, ModelInput, Row};

/// The refusal of an event.
#[derive(Debug, PartialEq)]
pub(super) struct EventRefusal {
    /// The field at fault; empty for the whole event.
    pub field: String,
    /// The reason, as a sentence.
    pub sentence: String,
}

/// The fields of an event.
const FIELDS: &str = "feedback_id, prediction_id, inputs, action, propensity, source, event_time, tags, \
    label, value, reward, signal, preferred_over, backfill, weight, comment and model";

fn refuse(field: &str, sentence: impl ToString) -> EventRefusal {
    EventRefusal {
        field: field.to_owned(),
        sentence: sentence.to_string(),
    }
}

/// Parses an event; its values are checked by the server.
pub(super) fn parse(
    model: &str,
    inputs: &[ModelInput],
    line: &str,
) -> Result<FeedbackRequest, EventRefusal> {
    let fields = serde_json::from_str::<Map<String, Value>>(line);
    let no_object = |error| refuse("", format_args!("not a JSON object: {error}"));
    let mut fields = EventFields(fields.map_err(no_object)?);
    let named = fields.text("model")?;
    if named.is_some_and(|named| named != model) {
        return Err(refuse(
            "model",
            format_args!("expected {model:?} or nothing"),
        ));
    }
    let inputs = match fields.map("inputs")? {
        Some(row) => self::row(inputs, row)?,
        None => Default::default(),
    };
    let event_time = match fields.text("event_time")? {
        Some(time) => {
            let expected = "expected a time as 2026-01-31T12:00:00Z";
            let time = time.parse().map_err(|_| refuse("event_time", expected))?;
            Some(time)
        }
        None => None,
    };
    let event = FeedbackRequest {
        model: model.to_owned(),
        feedback_id: fields.text("feedback_id")?.unwrap_or_default(),
        prediction_id: fields.text("prediction_id")?,
        inputs,
        action: fields.text("action")?,
        propensity: fields.number("propensity")?,
        source: fields.text("source")?.unwrap_or_default(),
        event_time,
        tags: tags(fields.map("tags")?.unwrap_or_default())?,
        label: fields.label()?,
        value: fields.number("value")?,
        reward: fields.number("reward")?,
        signal: fields.map("signal")?.map(signal).transpose()?,
        preferred_over: fields.text("preferred_over")?,
        backfill: fields.text("backfill")?,
        weight: fields.number("weight")?,
        comment: fields.text("comment")?,
    };
    fields.end("", FIELDS)?;
    Ok(event)
}

/// The fields of an object that are not yet taken; null counts as absent.
struct EventFields(Map<String, Value>);

impl EventFields {
    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, EventRefusal> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(refuse(field, format_args!("{other}, expected a text"))),
        }
    }

    /// The label, which may be written as a number or a truth value.
    fn label(&mut self) -> Result<Option<String>, EventRefusal> {
        match self.take("label") {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(other) => Err(refuse("label", format_args!("{other}, expected a text"))),
        }
    }

    fn number(&mut self, field: &str) -> Result<Option<f64>, EventRefusal> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let number = value.as_f64();
        let expected = || refuse(field, format_args!("{value}, expected a number"));
        number.ok_or_else(expected).map(Some)
    }

    fn map(&mut self, field: &str) -> Result<Option<Map<String, Value>>, EventRefusal> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(refuse(field, format_args!("{other}, expected an object"))),
        }
    }

    fn end(self, prefix: &str, known: &str) -> Result<(), EventRefusal> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => {
                let sentence = format_args!("no such field; there are {known}");
                Err(refuse(&format!("{prefix}{key}"), sentence))
            }
        }
    }
}

fn signal(fields: Map<String, Value>) -> Result<Signal, EventRefusal> {
    let mut fields = EventFields(fields);
    let signal = Signal {
        name: fields.text("name")?.unwrap_or_default(),
        value: fields.number("value")?.unwrap_or_default(),
    };
    fields.end("signal.", "name and value")?;
    Ok(signal)
}

fn tags(fields: Map<String, Value>) -> Result<HashMap<String, String>, EventRefusal> {
    let tags = fields.into_iter().map(|(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        other => Err(refuse(
            "tags",
            format_args!("{name}: {other}, expected a text"),
        )),
    });
    tags.collect()
}

/// Inputs are written as in a file of rows: a name and its value.
fn row(inputs: &[ModelInput], fields: Map<String, Value>) -> Result<Vec<Tensor>, EventRefusal> {
    let mut names = Vec::new();
    let mut cells = Vec::new();
    for (name, value) in fields {
        if !inputs.iter().any(|input| input.name == name) {
            return Err(refuse(
                "inputs",
                format_args!("the model has no input {name:?}"),
            ));
        }
        cells.push(match value {
            Value::Null => Cell::Text(String::new()),
            Value::String(text) => Cell::Text(text),
            Value::Number(number) => Cell::Text(number.to_string()),
            Value::Bool(value) => Cell::Text(value.to_string()),
            list @ Value::Array(_) => {
                let list = serde_json::from_value(list);
                Cell::List(list.map_err(|error| refuse("inputs", error))?)
            }
            Value::Object(_) => {
                return Err(refuse(
                    "inputs",
                    format_args!("{name}: an object, expected a value"),
                ));
            }
        });
        names.push(name);
    }
    let is_there = |input: &&ModelInput| {
        let rest = |name: &String| name.strip_prefix(&input.name).map(str::to_owned);
        let is_of = |rest: String| rest.is_empty() || rest.starts_with('[');
        names.iter().filter_map(rest).any(is_of)
    };
    let is_missing = |input: &&ModelInput| !input.gaps && !is_there(input);
    if let Some(missing) = inputs.iter().find(is_missing) {
        return Err(refuse(
            "inputs",
            format_args!("{:?} is missing", missing.name),
        ));
    }
    let layout = Layout::new(&names, inputs);
    let batch = layout.and_then(|mut layout| layout.batch(&Row { line: 0, cells }));
    let batch = batch.map_err(|error| refuse("inputs", format_args!("{error:#}")))?;
    let (tensors, contents) = tensors(inputs, &batch);
    let own = tensors
        .into_iter()
        .zip(contents)
        .map(|(tensor, contents)| Tensor {
            name: tensor.name,
            datatype: tensor.datatype,
            shape: tensor.shape,
            contents,
        });
    Ok(own.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rows::ModelInputKind;

    fn inputs() -> [ModelInput; 1] {
        [ModelInput {
            name: "x".into(),
            kind: ModelInputKind::Number,
            gaps: false,
        }]
    }

    #[test]
    fn fields_go_where_the_protocol_has_them() {
        let line = r#"{"feedback_id": "f", "prediction_id": "p", "label": "a", "source": "s",
            "event_time": "1970-01-01T00:00:01Z", "tags": {"k": "v"}, "value": 1,
            "reward": null, "signal": {"name": "click", "value": 2.5}, "action": "b",
            "propensity": 0.5, "inputs": {"x": 1.5}, "weight": 2, "comment": "seen twice"}"#;
        let event = parse("m", &inputs(), line).unwrap();
        let texts = [&event.model, &event.feedback_id, &event.source];
        assert_eq!(texts, ["m", "f", "s"]);
        assert_eq!(event.prediction_id.as_deref(), Some("p"));
        assert_eq!(event.label.as_deref(), Some("a"));
        assert_eq!((event.value, event.reward), (Some(1.0), None));
        assert_eq!(event.event_time.unwrap().seconds, 1);
        assert_eq!(event.tags["k"], "v");
        assert_eq!(event.signal.unwrap().value, 2.5);
        assert_eq!(event.weight, Some(2.0));
        assert_eq!(event.comment.as_deref(), Some("seen twice"));
        assert_eq!(event.inputs[0].name, "x");
        assert_eq!(event.inputs[0].contents, 1.5f64.to_le_bytes().as_slice());
    }

    #[test]
    fn a_label_may_be_a_number() {
        for (written, label) in [("1", "1"), ("true", "true"), ("1.5", "1.5"), ("\"1\"", "1")] {
            let line = format!("{{\"label\": {written}}}");
            let event = parse("m", &inputs(), &line).expect("an event");
            assert_eq!(event.label.as_deref(), Some(label));
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        let check = |line: &str, field: &str, sentence: &str| {
            let refusal = parse("m", &inputs(), line).unwrap_err();
            assert_eq!(refusal.field, field, "{line}");
            assert!(refusal.sentence.contains(sentence), "{}", refusal.sentence);
        };
        check("{", "", "not a JSON object: EOF");
        check("[]", "", "invalid type");
        check(
            r#"{"lable": "a"}"#,
            "lable",
            "no such field; there are feed",
        );
        check(r#"{"label": [1]}"#, "label", "[1], expected a text");
        check(r#"{"value": "1"}"#, "value", "expected a number");
        check(r#"{"model": "n"}"#, "model", "expected \"m\"");
        check(r#"{"event_time": "noon"}"#, "event_time", "expected a time");
        check(r#"{"tags": {"k": 1}}"#, "tags", "k: 1, expected a text");
        check(
            r#"{"signal": {"weight": 1}}"#,
            "signal.weight",
            "no such field",
        );
        check(r#"{"inputs": {"y": 1}}"#, "inputs", "no input \"y\"");
        check(r#"{"inputs": {"x": "a"}}"#, "inputs", "not a finite number");
        check(r#"{"inputs": {}}"#, "inputs", "\"x\" is missing");
    }
}
