//! Any bytes as the messages that clients send: the body of a fuzz target.

use std::sync::LazyLock;

use prost::Message;
use tonic::Status;

use super::audits::selector;
use super::feedback::feedback;
use super::outputs::OutputSelection;
use super::parameters::RequestParameters;
use super::refusal::Refusal;
use super::tensors::{RequestTensors, batch};
use crate::event::Time;
use crate::model::Spec;
use crate::proto::inference::ModelInferRequest;
use crate::proto::perennial::v1::{FeedbackRequest, RetractRequest};

/// Rows of one request.
const ROWS_MAX: usize = 64;

/// A description of each task, with every kind of input.
static SPECS: LazyLock<[Spec; 3]> = LazyLock::new(|| {
    let tasks = [
        "task = 'classification'\nclasses = ['a', 'b']\nclasses_max = 3\n",
        "task = 'regression'\n",
        "task = 'bandit'\nactions = ['a', 'b']\n",
    ];
    let signals = [
        "",
        "",
        "[feedback]\nwindow_s = 60\n[feedback.signals]\nclick = { reward = 1.0 }\n",
    ];
    let inputs = "[[input]]\nname = 'n'\nkind = 'number'\nmissing = 'mean'\n\
                  [[input]]\nname = 'c'\nkind = 'category'\n\
                  [[input]]\nname = 't'\nkind = 'time'\n\
                  [[input]]\nname = 'v'\nkind = 'vector'\nlength = 2\n";
    [0, 1, 2].map(|task| {
        let toml = format!("{}{inputs}{}", tasks[task], signals[task]);
        Spec::parse(&toml).expect("a description")
    })
});

/// A message of each kind, by the first byte. A refusal becomes an answer.
pub(crate) fn messages(bytes: &[u8]) {
    let Some((kind, message)) = bytes.split_first() else {
        return;
    };
    for spec in &*SPECS {
        let read = match kind % 3 {
            0 => ModelInferRequest::decode(message).map(|request| predict(spec, request)),
            1 => FeedbackRequest::decode(message).map(|request| {
                let now = (Time(0), Time(1 << 50));
                feedback(request, spec, spec.task.names(), now).map(drop)
            }),
            _ => RetractRequest::decode(message).map(|request| selector(&request).map(drop)),
        };
        if let Ok(Err(refusal)) = read {
            Status::from(refusal).into_http::<()>();
        }
    }
}

fn predict(spec: &Spec, request: ModelInferRequest) -> Result<(), Refusal> {
    RequestParameters::read(&request.parameters)?;
    OutputSelection::read(&spec.task, &request.outputs)?;
    let tensors = RequestTensors {
        inputs: request.inputs,
        raw: request.raw_input_contents,
    };
    let batch = batch(spec, tensors, ROWS_MAX)?;
    assert_eq!(batch.columns.len(), spec.inputs.len());
    Ok(())
}
