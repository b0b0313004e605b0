//! The answer to one row, decoded from a response.
//!
//! Invariant: a response that violates the protocol is an error, never a panic.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use perennial::model::Task;
use perennial::proto::inference::ModelInferResponse;
use perennial::proto::inference::infer_parameter::ParameterChoice;

use crate::cli::output::answers::PrintedAnswer;
use crate::cli::rows::quoted;
use crate::cli::rows::target::RowTarget;

/// The answer of a model to one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelAnswer {
    /// The label, value or action.
    pub value: AnswerValue,
    /// The probabilities of the classes; none of other tasks.
    pub probabilities: Vec<f32>,
    /// Empty when the prediction was not journaled.
    pub prediction_id: String,
    /// The version of the model that answered.
    pub version: String,
    /// The position of the state that answered.
    pub position: u64,
}

/// The label, value or action that a model answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AnswerValue {
    Label { label: String, probability: f32 },
    Value(f64),
    Action { action: String, propensity: f32 },
}

impl ModelAnswer {
    /// This answer with the probability of its label, which is not the largest where costs decide.
    pub(crate) fn named(mut self, names: &[String]) -> ModelAnswer {
        if let AnswerValue::Label { label, probability } = &mut self.value {
            let place = names.iter().position(|name| name == label);
            let of_label = place.and_then(|place| self.probabilities.get(place));
            of_label.iter().for_each(|p| *probability = **p);
        }
        self
    }

    /// Decodes a response with one row.
    pub(crate) fn decode(response: &ModelInferResponse) -> anyhow::Result<ModelAnswer> {
        let outputs = ResponseOutputs(response);
        let mut probabilities = Vec::new();
        let value = if outputs.has("label") {
            probabilities = outputs.floats("probabilities")?;
            AnswerValue::Label {
                label: outputs.text("label")?,
                probability: probabilities.iter().copied().fold(0.0, f32::max),
            }
        } else if outputs.has("value") {
            AnswerValue::Value(outputs.value()?)
        } else if outputs.has("action") {
            AnswerValue::Action {
                action: outputs.text("action")?,
                propensity: outputs.float("propensity")?,
            }
        } else {
            bail!("the response has neither label, value nor action");
        };
        let position = response.parameters.get("position");
        let position = position.and_then(|parameter| parameter.parameter_choice.as_ref());
        Ok(ModelAnswer {
            value,
            probabilities,
            prediction_id: outputs.text("prediction_id")?,
            version: response.model_version.clone(),
            position: match position {
                Some(&ParameterChoice::Int64Param(position)) => u64::try_from(position)?,
                _ => bail!("the response has no position"),
            },
        })
    }

    /// The answer in the form of a target, for scoring.
    pub(crate) fn target(&self, task: &Task) -> anyhow::Result<RowTarget> {
        let name = match &self.value {
            AnswerValue::Value(value) => return Ok(RowTarget::Value(*value)),
            AnswerValue::Label { label, .. } => label,
            AnswerValue::Action { action, .. } => action,
        };
        let index = task.index(name).or(match task {
            // A class that other clients have added since: no row here is of it.
            Task::Classification {
                classes,
                classes_max,
            } if classes.len() < *classes_max => Some(*classes_max as u32),
            _ => None,
        });
        let unknown = || format!("the answer {} is not in the model's metadata", quoted(name));
        Ok(RowTarget::Name(index.with_context(unknown)?))
    }
}

impl ModelAnswer {
    /// The answer to a row, for the file of answers.
    pub(crate) fn row<'a>(
        &'a self,
        line: u64,
        names: &'a [String],
        label: Option<&'a str>,
    ) -> PrintedAnswer<'a> {
        let (answer, propensity) = match &self.value {
            AnswerValue::Label { label, .. } => (label.clone().into(), None),
            AnswerValue::Value(value) => ((*value).into(), None),
            AnswerValue::Action { action, propensity } => {
                (action.clone().into(), Some(*propensity))
            }
        };
        let probabilities = (names, &self.probabilities[..]);
        PrintedAnswer {
            line,
            answer,
            probabilities: (!self.probabilities.is_empty()).then_some(probabilities),
            propensity,
            label,
            prediction_id: Some(&self.prediction_id),
        }
    }
}

/// The outputs of a response, by name.
struct ResponseOutputs<'a>(&'a ModelInferResponse);

impl ResponseOutputs<'_> {
    fn place(&self, name: &str) -> Option<usize> {
        let mut outputs = self.0.outputs.iter();
        outputs.position(|output| output.name == name)
    }

    fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    fn raw(&self, name: &str) -> anyhow::Result<&Bytes> {
        let place = self.place(name);
        let raw = place.and_then(|place| self.0.raw_output_contents.get(place));
        raw.with_context(|| format!("the response has no output {name}"))
    }

    /// The one text of an output.
    fn text(&self, name: &str) -> anyhow::Result<String> {
        let raw = self.raw(name)?;
        let text = raw
            .split_first_chunk()
            .filter(|(length, text)| u32::from_le_bytes(**length) as usize == text.len());
        let (_, text) = text.with_context(|| format!("output {name}: expected one text"))?;
        String::from_utf8(text.to_vec()).with_context(|| format!("output {name}"))
    }

    fn floats(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        let (floats, rest) = self.raw(name)?.as_chunks();
        ensure!(
            rest.is_empty() && !floats.is_empty(),
            "output {name}: expected 32-bit floats"
        );
        Ok(floats
            .iter()
            .map(|float| f32::from_le_bytes(*float))
            .collect())
    }

    /// The one value of a regression, of 32 or of 64 bits.
    fn value(&self) -> anyhow::Result<f64> {
        let place = self.place("value");
        if place.is_none_or(|place| self.0.outputs[place].datatype != "FP64") {
            return Ok(self.float("value")?.into());
        }
        let raw = self.raw("value")?;
        let bytes = raw.as_ref().try_into();
        let bytes = bytes.with_context(|| {
            let n = raw.len();
            format!("output value: {n} bytes, expected one 64-bit float")
        })?;
        Ok(f64::from_le_bytes(bytes))
    }

    /// The one number of an output.
    fn float(&self, name: &str) -> anyhow::Result<f32> {
        match self.floats(name)?.as_slice() {
            &[float] => Ok(float),
            floats => bail!("output {name}: {} numbers, expected one", floats.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use perennial::proto::inference::InferParameter;
    use perennial::proto::inference::model_infer_response::InferOutputTensor;

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    fn floats(floats: &[f32]) -> Vec<u8> {
        floats.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn decode(outputs: Vec<(&str, Vec<u8>)>) -> anyhow::Result<ModelAnswer> {
        ModelAnswer::decode(&response(outputs))
    }

    fn response(outputs: Vec<(&str, Vec<u8>)>) -> ModelInferResponse {
        let position = InferParameter {
            parameter_choice: Some(ParameterChoice::Int64Param(7)),
        };
        let outputs = [outputs, vec![("prediction_id", text("id"))]].concat();
        ModelInferResponse {
            model_version: "3".into(),
            parameters: [("position".to_owned(), position)].into(),
            outputs: outputs
                .iter()
                .map(|(name, _)| InferOutputTensor {
                    name: (*name).to_owned(),
                    ..Default::default()
                })
                .collect(),
            raw_output_contents: outputs.into_iter().map(|(_, raw)| raw.into()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn an_answer_is_read_by_the_names_of_its_outputs() {
        let check = |outputs, value| {
            let probabilities = match &value {
                AnswerValue::Label { .. } => vec![0.25, 0.75],
                _ => Vec::new(),
            };
            let expected = ModelAnswer {
                value,
                probabilities,
                prediction_id: "id".into(),
                version: "3".into(),
                position: 7,
            };
            assert_eq!(decode(outputs).unwrap(), expected);
        };
        let (label, probability) = ("b".to_owned(), 0.75);
        check(
            vec![
                ("probabilities", floats(&[0.25, 0.75])),
                ("label", text("b")),
            ],
            AnswerValue::Label { label, probability },
        );
        check(vec![("value", floats(&[1.5]))], AnswerValue::Value(1.5));
        let (action, propensity) = ("ä".to_owned(), 0.5);
        check(
            vec![("action", text("ä")), ("propensity", floats(&[0.5]))],
            AnswerValue::Action { action, propensity },
        );
    }

    #[test]
    fn the_probability_is_that_of_the_label_also_where_costs_decide() {
        let outputs = vec![
            ("probabilities", floats(&[0.75, 0.25])),
            ("label", text("b")),
        ];
        let names = ["a", "b"].map(str::to_owned);
        let answer = decode(outputs).expect("an answer").named(&names);
        let (label, probability) = ("b".to_owned(), 0.25);
        assert_eq!(answer.value, AnswerValue::Label { label, probability });
    }

    #[test]
    fn a_broken_response_is_an_error() {
        let check = |outputs, expected: &str| {
            let error = format!("{:#}", decode(outputs).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(vec![], "neither label, value nor action");
        check(vec![("value", vec![0; 3])], "output value: expected 32-bit");
        check(vec![("value", vec![])], "output value: expected 32-bit");
        check(vec![("value", vec![0; 8])], "output value: 2 numbers");
        let mut wide = response(vec![("value", vec![0; 4])]);
        wide.outputs[0].datatype = "FP64".into();
        let error = format!("{:#}", ModelAnswer::decode(&wide).unwrap_err());
        assert!(error.contains("4 bytes, expected one 64-bit"), "{error}");
        wide.raw_output_contents[0] = 0.1f64.to_le_bytes().to_vec().into();
        let answer = ModelAnswer::decode(&wide).expect("a value");
        assert_eq!(answer.value, AnswerValue::Value(0.1));
        check(vec![("action", text("a"))], "no output propensity");
        let label = |raw: &[u8]| {
            let probabilities = ("probabilities", floats(&[1.0]));
            vec![probabilities, ("label", raw.to_vec())]
        };
        check(label(b"\x02\0\0\0a"), "output label: expected one text");
        check(label(b"\x02"), "output label: expected one text");
        check(label(b"\x01\0\0\0\xff"), "output label: invalid utf-8");
    }
}
