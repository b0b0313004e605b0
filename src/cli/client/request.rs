//! The predict request of a client.
//!
//! Invariant: every tensor is raw, and one buffer belongs to one input.

use std::collections::HashMap;

use anyhow::Context;
use bytes::Bytes;
use perennial::event::{Batch, Column};
use perennial::proto::inference::InferParameter;
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::infer_parameter::ParameterChoice;
use perennial::proto::inference::model_infer_request::InferInputTensor;
use prost_types::Timestamp;

use crate::cli::rows::ModelInput;

/// A batch to be predicted by a model.
pub(crate) struct PredictRequest<'a> {
    pub model: &'a str,
    /// The model's inputs, in the order of the batch.
    pub inputs: &'a [ModelInput],
    /// The rows.
    pub batch: &'a Batch,
    /// The version that is asked, or champion or candidate; empty for the one that serves.
    pub version: &'a str,
    /// The position up to which everything must have been learned; 0 for no wait.
    pub min_position: u64,
    /// True if the predictions are journaled, so that feedback may follow.
    pub is_journaled: bool,
}

impl PredictRequest<'_> {
    /// The message for the wire.
    pub(crate) fn message(&self) -> ModelInferRequest {
        let (inputs, raw_input_contents) = tensors(self.inputs, self.batch);
        let mut parameters = HashMap::new();
        let mut put = |name: &str, choice| {
            let parameter = InferParameter {
                parameter_choice: Some(choice),
            };
            parameters.insert(name.to_owned(), parameter);
        };
        if self.min_position > 0 {
            let position = self.min_position as i64;
            put("min_position", ParameterChoice::Int64Param(position));
        }
        if !self.is_journaled {
            put("log", ParameterChoice::BoolParam(false));
        }
        ModelInferRequest {
            model_name: self.model.to_owned(),
            model_version: self.version.to_owned(),
            parameters,
            inputs,
            raw_input_contents,
            ..Default::default()
        }
    }
}

/// Converts a batch into tensors and their raw contents.
pub(crate) fn tensors(inputs: &[ModelInput], batch: &Batch) -> (Vec<InferInputTensor>, Vec<Bytes>) {
    let rows = batch.n_rows as i64;
    let tensor = |(input, column): (&ModelInput, &Column)| {
        let (datatype, shape, raw) = match column {
            Column::Numbers(values) => {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                ("FP64", vec![rows], Bytes::from(bytes))
            }
            Column::Strings(texts) | Column::Embedded { texts, .. } => {
                let mut bytes = Vec::new();
                for text in texts {
                    bytes.extend((text.len() as u32).to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
                ("BYTES", vec![rows], Bytes::from(bytes))
            }
            Column::Vectors(bytes) => {
                let length = (bytes.len() / batch.n_rows / size_of::<f32>()) as i64;
                ("FP32", vec![rows, length], bytes.clone())
            }
        };
        let tensor = InferInputTensor {
            name: input.name.clone(),
            datatype: datatype.to_owned(),
            shape,
            ..Default::default()
        };
        (tensor, raw)
    };
    inputs.iter().zip(&batch.columns).map(tensor).unzip()
}

/// A moment as an option names it.
pub(crate) fn moment(text: &str) -> anyhow::Result<Timestamp> {
    let moment = text.parse().ok();
    moment.context("expected a time as 2026-01-31T12:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rows::ModelInputKind;

    #[test]
    fn columns_become_raw_tensors() {
        let check = |kind, column, datatype: &str, shape: &[i64], raw: &[u8]| {
            let inputs = [ModelInput {
                name: "x".into(),
                kind,
                gaps: false,
            }];
            let batch = Batch {
                n_rows: 1,
                columns: vec![column],
            };
            let (tensors, contents) = tensors(&inputs, &batch);
            assert_eq!(tensors[0].name, "x");
            assert_eq!(tensors[0].datatype, datatype);
            assert_eq!(tensors[0].shape, shape);
            assert_eq!(contents, [Bytes::copy_from_slice(raw)]);
        };
        let number = Column::Numbers(vec![1.0]);
        check(
            ModelInputKind::Number,
            number,
            "FP64",
            &[1],
            &1f64.to_le_bytes(),
        );
        let text = Column::Strings(vec!["ab".into()]);
        check(ModelInputKind::Text, text, "BYTES", &[1], b"\x02\0\0\0ab");
        let vector = Column::Vectors(Bytes::from_static(&[0; 12]));
        check(ModelInputKind::Vector(3), vector, "FP32", &[1, 3], &[0; 12]);
    }
}
