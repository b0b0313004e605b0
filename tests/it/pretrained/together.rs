//! Events of one stream that bring their own inputs, before their encoder.

use std::time::SystemTime;

use bytes::Bytes;
use perennial::event::{Column, Event, Subject};
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
