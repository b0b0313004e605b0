//! Bytes that are no message of their method: the sender is at fault, it is counted, and others are served.

use std::fs::{self, File};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use axum::http;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use perennial::engine::Clock;
use perennial::proto::inference::ModelInferResponse;
use perennial::proto::perennial::v1::FeedbackReply;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::grpc::served::Served;
use crate::support::server::Server;
use crate::support::{AUTO, Workspace, question, rows};

/// Field 1, of which each of these methods makes a text, as bytes that are none.
fn broken() -> Vec<u8> {
    vec![0xff; 3]
}

fn check(status: &Status) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let expected = "the message is none of this method: failed to decode Protobuf message: ";
    assert!(status.message().starts_with(expected), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_broken_bytes_are_the_senders_fault_and_counted() {
    let server = Served::start(&[("m", AUTO)]).await;
    let mut client = Grpc::new(server.client.channel.clone());
    for path in [
        "/inference.GRPCInferenceService/ModelInfer",
        "/perennial.v1.Learning/SubmitFeedback",
        "/perennial.v1.Registry/ListVersions",
    ] {
        client.ready().await.expect("it is connected");
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Vec<u8>, ModelInferResponse>::default();
        let answer = client.unary(Request::new(broken()), path, codec).await;
        check(&answer.expect_err("bytes that are no message"));
    }
    client.ready().await.expect("it is connected");
    let path = PathAndQuery::from_static("/perennial.v1.Learning/StreamFeedback");
    let codec = ProstCodec::<Vec<u8>, FeedbackReply>::default();
    let events = tokio_stream::iter([broken()]);
    let replies = client.streaming(Request::new(events), path, codec).await;
    let mut replies = replies.expect("a stream").into_inner();
    check(&replies.message().await.expect_err("it ends the stream"));
    let page = server.get("/metrics");
    for (flow, n) in [("predict", 1), ("feedback", 2)] {
        let of_flow =
            format!("{{flow=\"{flow}\",code=\"INVALID_ARGUMENT\",field=\"\",reason=\"\"}}");
        let line = format!("perennial_refused_total{of_flow} {n}\n");
        assert!(page.contains(&line), "{page}");
    }
    server.goes_on_and_stops("m").await;
}

/// Bodies that are no whole message of their call: torn in its prefix or behind it, of a flag that there is
/// none of, and compressed by nothing that the call names.
#[tokio::test(flavor = "multi_thread")]
async fn p9_a_torn_message_is_the_senders_fault_too() {
    let server = Served::start(&[("m", AUTO)]).await;
    let mut channel = server.client.channel.clone();
    let bodies: [&[u8]; 4] = [
        &[0, 0, 0],
        &[0, 0, 0, 0, 9, 10, 1],
        &[2, 0, 0, 0, 1, 0],
        &[1, 0, 0, 0, 1, 0],
    ];
    for path in [
        "/inference.GRPCInferenceService/ModelInfer",
        "/perennial.v1.Learning/SubmitFeedback",
        "/perennial.v1.Learning/StreamFeedback",
        "/perennial.v1.Registry/ListVersions",
    ] {
        for body in bodies {
            let body = Full::new(Bytes::copy_from_slice(body));
            let request = http::Request::post(format!("http://localhost{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Body::new(body))
                .expect("a request");
            poll_fn(|context| channel.poll_ready(context))
                .await
                .expect("it is connected");
            let answer = channel.call(request).await.expect("an answer");
            let (head, body) = answer.into_parts();
            let trailers = body.collect().await.expect("it ends");
            let status = Status::from_header_map(&head.headers)
                .or_else(|| Status::from_header_map(trailers.trailers()?))
                .expect("a status");
            assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status}");
            let expected = "the message is none of this method: ";
            assert!(status.message().starts_with(expected), "{path}: {status}");
        }
    }
    server.goes_on_and_stops("m").await;
}

/// The folder that a workspace lies in is named in no sentence over the wire, but in the status.
#[tokio::test(flavor = "multi_thread")]
async fn p9_a_refusal_names_no_folder_of_the_server_and_no_code_of_a_terminal() {
    let workspace = Workspace::new(&[("m", AUTO), ("bad", "task = 3\n")]);
    let models = workspace.models();
    let folder = models
        .parent()
        .and_then(Path::to_str)
        .expect("UTF-8")
        .to_owned();
    let mut server = Served::in_workspace(workspace, Clock::default()).await;
    let batch = rows(1, 0.0).next().expect("a row").0;
    let refusal = server.client.ask(question("bad", &batch)).await;
    let refusal = refusal.expect_err("it has no description");
    let expected = "model \"bad\" is unavailable: model.toml: ";
    assert!(refusal.message().starts_with(expected), "{refusal}");
    let status = server.client.status("bad").await;
    assert!(status.reason.contains(&folder), "{}", status.reason);
    let refusal = server.client.ask(question("\u{1b}[31m\n", &batch)).await;
    let refusal = refusal.expect_err("there is no such model");
    let expected = "no model \"\\u{1b}[31m\\n\"";
    assert!(refusal.message().starts_with(expected), "{refusal}");
    // The sentence stands in a header, which the client would refuse.
    let refusal = server
        .client
        .ask(question(&"é".repeat(1 << 20), &batch))
        .await;
    let refusal = refusal.expect_err("there is no such model");
    assert_eq!(refusal.code(), Code::NotFound, "{refusal}");
    assert!(refusal.message().len() < 2100);
    server.goes_on_and_stops("m").await;
}

/// A frame of PING: an answer to one (1), or one that asks (0).
fn ping(flags: u8, content: u8) -> Vec<u8> {
    [&[0, 0, 8, 6, flags, 0, 0, 0, 0][..], &[content; 8]].concat()
}

#[test]
fn p8_frames_that_nobody_asked_for_fill_no_log() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let path = workspace.data().with_file_name("log");
    let log = File::create(&path).expect("it is made");
    let server = Server::logging(&workspace.models(), &workspace.data(), log.into());
    let mut stream = TcpStream::connect(&server.address).expect("it listens");
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .expect("a bound");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let frames = [&preface[..], &ping(1, 3).repeat(1000), &ping(0, 7)].concat();
    stream.write_all(&frames).expect("it reads");
    // The answer to the last one.
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("a frame");
        let mut content = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut content).expect("its content");
        if head[3] == 6 && content == [7; 8] {
            break;
        }
    }
    server.stop();
    let log = fs::read_to_string(path).expect("UTF-8");
    assert!(log.contains("INFO perennial"), "{log}");
    assert!(log.lines().count() < 20, "{log}");
}
