//! Events of one stream that bring their own inputs, before their encoder.

use std::time::SystemTime;

use bytes::Bytes;
use perennial::event::{Column, Event, Subject};
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::model_infer_request::InferInputTensor;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::proto::perennial::v1::{FeedbackReply, FeedbackRequest, Tensor};
use perennial::store::Reader;

use crate::pretrained::onnx::{vectors, wave, workspace};
use crate::support::onnx::{Onnx, Set};
use crate::support::server::{Client, Server};

const N_EVENTS: usize = 400;
/// The event whose vector is not finite.
const BAD: usize = 100;

/// A product of matrices of so many rows makes a call last longer than an event's way to it.
const N_LONG: usize = 256;

/// `[x * x, n]` of `x [n, 1]`: a vector tells how many rows were encoded together.
fn counting() -> Onnx {
    let mut file = Onnx::new();
    file.input("x", 1, &[-1, 1]);
    file.ints("first", &[1], &[0]);
    file.node("Shape", &["x"], "shape", &[]);
    file.node("Gather", &["shape", "first"], "n", &[]);
    file.node("Cast", &["n"], "n_rows", &[("to", Set::Int(1))]);
    file.floats("zero", &[], &[0.0]);
    let table = wave(N_LONG * N_LONG, 0);
    file.floats("table", &[N_LONG, N_LONG], &table);
    file.node("Mul", &["x", "zero"], "zeros", &[]);
    let all = [("keepdims", Set::Int(0))];
    file.node("ReduceSum", &["zeros"], "nothing", &all);
    file.node("Add", &["table", "nothing"], "matrix", &[]);
    file.node("MatMul", &["matrix", "matrix"], "product", &[]);
    file.node("ReduceSum", &["product"], "sum", &all);
    file.node("Mul", &["sum", "zero"], "long", &[]);
    file.node("Add", &["n_rows", "long"], "n_told", &[]);
    file.node("Add", &["zeros", "n_told"], "together", &[]);
    file.node("Mul", &["x", "x"], "square", &[]);
    let along = [("axis", Set::Int(1))];
    file.node("Concat", &["square", "together"], "y", &along);
    file
}

/// So many rows to be predicted.
fn asked(n_rows: usize) -> ModelInferRequest {
    let values = (0..n_rows).flat_map(|row| (row as f32).to_le_bytes());
    ModelInferRequest {
        model_name: "auto".to_owned(),
        inputs: vec![InferInputTensor {
            name: "v".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![n_rows as i64, 1],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![values.collect::<Vec<u8>>().into()],
        ..ModelInferRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_batch_is_encoded_in_slices_between_which_others_are() {
    const N_ROWS: usize = 2000;
    let workspace = workspace(&counting(), 1);
    let server = Server::of(&workspace);
    let mut client = Client::connect(&server.address).await;
    let (mut first, mut second) = (client.inference.clone(), client.inference.clone());
    let batch = tokio::spawn(async move { first.model_infer(asked(N_ROWS)).await });
    let mut n_single = 0;
    while !batch.is_finished() {
        let answer = second.model_infer(asked(1)).await;
        answer.expect("there is room for one row");
        n_single += 1;
    }
    // A slice has 64 rows: some are answered while the batch is encoded, and not only before or behind it.
    assert!(n_single > 4, "{n_single}");
    let answer = batch
        .await
        .expect("no panic")
        .expect("an answer")
        .into_inner();
    assert_eq!(answer.outputs[0].shape[0], N_ROWS as i64);
    client
        .inference
        .model_infer(asked(1))
        .await
        .expect("it goes on");
    server.stop();
    let journal = workspace.data().join("auto/journal");
    let end = perennial::store::verify(&journal)
        .expect("it is sound")
        .last_position;
    let mut reader = Reader::open(&journal, 1, end).expect("a sound journal");
    let mut found = vec![];
    while let Some(entry) = reader.next(end).expect("a sound entry") {
        if let Event::Prediction(prediction) = entry.event
            && prediction.batch.n_rows == N_ROWS
        {
            found = vectors(&prediction.batch);
        }
    }
    assert_eq!(found.len(), N_ROWS);
    for (row, vector) in found.iter().enumerate() {
        assert_eq!(vector[0], (row * row) as f32);
        assert!(vector[1] <= 64.0, "{} rows at once", vector[1]);
    }
}

fn event(index: usize) -> FeedbackRequest {
    let value = if index == BAD { 1e30 } else { index as f32 };
    FeedbackRequest {
        model: "auto".to_owned(),
        feedback_id: index.to_string(),
        inputs: vec![Tensor {
            name: "v".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 1],
            contents: Bytes::copy_from_slice(&value.to_le_bytes()),
        }],
        event_time: Some(SystemTime::now().into()),
        label: Some(["in", "out"][index % 2].to_owned()),
        ..FeedbackRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_stream_is_encoded_together() {
    let workspace = workspace(&counting(), 1);
    let server = Server::of(&workspace);
    let mut client = Client::connect(&server.address).await;
    let events = tokio_stream::iter((0..N_EVENTS).map(event));
    let replies = client.learning.stream_feedback(events).await;
    let mut replies = replies.expect("a stream").into_inner();
    let mut positions = Vec::new();
    for index in 0..N_EVENTS {
        let reply: FeedbackReply = replies.message().await.unwrap().expect("a reply");
        assert_eq!(reply.feedback_id, index.to_string());
        match index {
            BAD => assert!(reply.message.contains("not finite"), "{}", reply.message),
            _ => {
                assert_eq!(reply.status(), Fate::Accepted, "{}", reply.message);
                positions.push(reply.position);
            }
        }
    }
    assert!(positions.is_sorted(), "{positions:?}");
    server.stop();
    let last = *positions.last().expect("some were accepted");
    let journal = workspace.data().join("auto/journal");
    let mut reader = Reader::open(&journal, positions[0], last).expect("a sound journal");
    let mut n_calls = 0.0;
    while let Some(entry) = reader.next(last).expect("a sound entry") {
        let Event::Feedback(feedback) = entry.event else {
            continue;
        };
        let Subject::Inputs { batch, .. } = &feedback.subject else {
            panic!("it brings its inputs")
        };
        assert!(matches!(batch.columns[0], Column::Vectors(_)));
        let [square, n_rows] = vectors(batch)[0][..] else {
            panic!("two values")
        };
        let value: f32 = feedback.feedback_id.parse().unwrap();
        assert_eq!(square, value * value);
        n_calls += 1.0 / n_rows;
    }
    // Each call counts once: its rows a share of it each.
    assert!(n_calls < N_EVENTS as f32 / 4.0, "{n_calls} calls");
}
