//! From answers to tensors.
//!
//! Invariant: outputs are always raw, exactly those that were asked for, in that order.

use std::collections::HashMap;

use bytes::Bytes;

use super::refusal::Refusal;
use super::texts;
use crate::engine::Answer;
use crate::event::Outputs;
use crate::model::{Datatype, Task, answered_class};
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::model_infer_request::InferRequestedOutputTensor;
use crate::proto::inference::model_infer_response::InferOutputTensor;
use crate::proto::inference::{InferParameter, ModelInferResponse};

/// One tensor that a model answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestedOutput {
    Label,
    Probabilities,
    Value,
    Action,
    Propensity,
    Scores,
    PredictionId,
}

impl RequestedOutput {
    /// Every tensor that models of this task answer with, in order.
    pub(super) fn of(task: &Task) -> &'static [RequestedOutput] {
        use RequestedOutput::*;
        match task {
            Task::Classification { .. } => &[Label, Probabilities, PredictionId],
            Task::Regression => &[Value, PredictionId],
            Task::Bandit { .. } => &[Action, Propensity, Scores, PredictionId],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            RequestedOutput::Label => "label",
            RequestedOutput::Probabilities => "probabilities",
            RequestedOutput::Value => "value",
            RequestedOutput::Action => "action",
            RequestedOutput::Propensity => "propensity",
            RequestedOutput::Scores => "scores",
            RequestedOutput::PredictionId => "prediction_id",
        }
    }

    /// The datatype, where values are of this one.
    pub(super) fn datatype(self, values: Datatype) -> &'static str {
        match self {
            RequestedOutput::Label | RequestedOutput::Action | RequestedOutput::PredictionId => {
                "BYTES"
            }
            RequestedOutput::Value => values.word(),
            _ => Datatype::Fp32.word(),
        }
    }

    /// The shape for so many classes or actions, and rows; -1 in metadata.
    pub(super) fn shape(self, n_names: i64, n_rows: i64) -> Vec<i64> {
        match self {
            RequestedOutput::Probabilities | RequestedOutput::Scores => vec![n_rows, n_names],
            _ => vec![n_rows],
        }
    }
}

/// The outputs that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct OutputSelection(Vec<RequestedOutput>);

impl OutputSelection {
    /// All of the task's, or exactly the named ones.
    pub(crate) fn read(
        task: &Task,
        named: &[InferRequestedOutputTensor],
    ) -> Result<OutputSelection, Refusal> {
        let offered = RequestedOutput::of(task);
        if named.is_empty() {
            return Ok(OutputSelection(offered.to_vec()));
        }
        let refuse = |name: &str, what: String| {
            Err(Refusal::invalid(
                "outputs",
                format!("output \"{name}\": {what}"),
            ))
        };
        let mut selected = Vec::with_capacity(offered.len());
        for InferRequestedOutputTensor { name, .. } in named {
            let Some(&output) = offered.iter().find(|output| output.name() == name) else {
                let names: Vec<_> = offered.iter().map(|output| output.name()).collect();
                return refuse(
                    name,
                    format!("unknown, expected one of {}", names.join(", ")),
                );
            };
            if selected.contains(&output) {
                return refuse(name, "asked for twice".to_owned());
            }
            selected.push(output);
        }
        Ok(OutputSelection(selected))
    }
}

/// The response to a request whose classes or actions are `names`, less the fields that only echo it; values are
/// of the datatype `values`.
pub(in crate::server) fn response(
    (names, values): (&[String], Datatype),
    selection: &OutputSelection,
    answer: &Answer,
) -> ModelInferResponse {
    let n_rows = n_rows(names, &answer.outputs);
    let described = |output: &RequestedOutput| InferOutputTensor {
        name: output.name().to_owned(),
        datatype: output.datatype(values).to_owned(),
        shape: output.shape(names.len() as i64, n_rows as i64),
        ..Default::default()
    };
    let position = InferParameter {
        parameter_choice: Some(ParameterChoice::Int64Param(answer.position as i64)),
    };
    let raw = selection.0.iter().map(|output| match output {
        RequestedOutput::PredictionId => prediction_ids(answer, n_rows),
        RequestedOutput::Value => value_tensor(values, &answer.outputs),
        output => tensor(*output, names, &answer.outputs),
    });
    ModelInferResponse {
        model_version: answer.version.to_string(),
        parameters: HashMap::from([("position".to_owned(), position)]),
        outputs: selection.0.iter().map(described).collect(),
        raw_output_contents: raw.collect(),
        ..Default::default()
    }
}

fn n_rows(names: &[String], outputs: &Outputs) -> usize {
    match outputs {
        Outputs::Probabilities(values) => values.len() / names.len(),
        Outputs::Decisions { chosen, .. } => chosen.len(),
        Outputs::Values(values) => values.len(),
        Outputs::Actions { chosen, .. } => chosen.len(),
    }
}

fn value_tensor(datatype: Datatype, outputs: &Outputs) -> Bytes {
    let Outputs::Values(values) = outputs else {
        unreachable!("a model's answer is of its task")
    };
    match datatype {
        Datatype::Fp32 => floats(&values.iter().map(|value| *value as f32).collect::<Vec<_>>()),
        Datatype::Fp64 => {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            bytes.collect::<Vec<u8>>().into()
        }
    }
}

fn tensor(output: RequestedOutput, names: &[String], outputs: &Outputs) -> Bytes {
    match (output, outputs) {
        (RequestedOutput::Label, Outputs::Probabilities(_) | Outputs::Decisions { .. }) => {
            let answered = |row| answered_class(outputs, row, names.len());
            texts::write((0..).map_while(answered).map(|place| names[place].as_str()))
        }
        (RequestedOutput::Action, Outputs::Actions { chosen, .. }) => {
            texts::write(chosen.iter().map(|&action| names[action as usize].as_str()))
        }
        (RequestedOutput::Probabilities, Outputs::Probabilities(values))
        | (
            RequestedOutput::Probabilities,
            Outputs::Decisions {
                probabilities: values,
                ..
            },
        )
        | (
            RequestedOutput::Propensity,
            Outputs::Actions {
                propensities: values,
                ..
            },
        )
        | (RequestedOutput::Scores, Outputs::Actions { scores: values, .. }) => floats(values),
        _ => unreachable!("a model's answer is of its task"),
    }
}

fn floats(values: &[f32]) -> Bytes {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    bytes.into()
}

/// An id for each row, or empty texts when the answer is not journaled.
fn prediction_ids(answer: &Answer, n_rows: usize) -> Bytes {
    if answer.ids.is_empty() {
        return vec![0; n_rows * size_of::<u32>()].into();
    }
    let mut bytes = Vec::with_capacity(n_rows * (size_of::<u32>() + 36));
    for id in &answer.ids {
        texts::push(&mut bytes, id.hyphenated(&mut [0; 36]));
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PredictionId;

    fn classification() -> Task {
        Task::Classification {
            classes: vec!["no".into(), "yes".into()],
            classes_max: 2,
        }
    }

    fn answer(ids: Vec<PredictionId>, outputs: Outputs) -> Answer {
        Answer {
            ids,
            outputs,
            names: Default::default(),
            version: 3,
            position: 7,
        }
    }

    #[test]
    fn answers_become_raw_tensors() {
        let task = classification();
        let selection = OutputSelection::read(&task, &[]).expect("all");
        let outputs = Outputs::Probabilities(vec![0.25, 0.75, 0.5, 0.5]);
        let form = (task.names(), Datatype::Fp64);
        let response = response(form, &selection, &answer(vec![], outputs));
        let shapes: Vec<_> = response
            .outputs
            .iter()
            .map(|o| (o.name.as_str(), &o.shape[..]))
            .collect();
        assert_eq!(
            shapes,
            [
                ("label", &[2][..]),
                ("probabilities", &[2, 2]),
                ("prediction_id", &[2])
            ]
        );
        let raw = &response.raw_output_contents;
        assert_eq!(&raw[0][..], b"\x03\0\0\0yes\x02\0\0\0no");
        assert_eq!(raw[1], floats(&[0.25, 0.75, 0.5, 0.5]));
        assert_eq!(&raw[2][..], [0; 8]);
        assert_eq!(response.model_version, "3");
        let position = response.parameters["position"].parameter_choice.clone();
        assert_eq!(position, Some(ParameterChoice::Int64Param(7)));
    }

    #[test]
    fn values_are_of_the_datatype_of_the_description() {
        let check = |datatype: Datatype, expected: &[u8]| {
            let selection = OutputSelection::read(&Task::Regression, &[]).expect("all");
            let answer = answer(vec![], Outputs::Values(vec![1.5]));
            let response = response((&[], datatype), &selection, &answer);
            assert_eq!(response.outputs[0].datatype, datatype.word());
            assert_eq!(&response.raw_output_contents[0][..], expected);
        };
        check(Datatype::Fp32, &1.5f32.to_le_bytes());
        check(Datatype::Fp64, &1.5f64.to_le_bytes());
    }

    #[test]
    fn a_journaled_row_has_its_id() {
        let ids = answer(vec![PredictionId(1)], Outputs::Values(vec![1.0]));
        let raw = prediction_ids(&ids, 1);
        assert_eq!(&raw[..4], [36, 0, 0, 0]);
        assert_eq!(&raw[4..], b"00000000-0000-0000-0000-000000000001");
    }

    #[test]
    fn p9_outputs_are_exactly_those_asked_for() {
        let check = |names: &[&str], expected: Result<&[RequestedOutput], &str>| {
            let named = names.iter().map(|name| InferRequestedOutputTensor {
                name: (*name).to_owned(),
                ..Default::default()
            });
            let got = OutputSelection::read(&classification(), &named.collect::<Vec<_>>());
            let expected = expected.map(|outputs| OutputSelection(outputs.to_vec()));
            let got = got.map_err(|refusal| refusal.message);
            assert_eq!(got, expected.map_err(str::to_owned));
        };
        check(
            &["prediction_id", "label"],
            Ok(&[RequestedOutput::PredictionId, RequestedOutput::Label]),
        );
        check(
            &["label", "label"],
            Err("output \"label\": asked for twice"),
        );
        let offered = "expected one of label, probabilities, prediction_id";
        check(
            &["value"],
            Err(&format!("output \"value\": unknown, {offered}")),
        );
    }
}
