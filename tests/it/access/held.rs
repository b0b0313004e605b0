//! Requests that claim much and are never whole.

use std::collections::VecDeque;
use std::fs;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint};

use crate::support::server::{Client, Server};
use crate::support::{AUTO, Workspace, question, rows};

const MIB: usize = 1 << 20;

/// Pieces of a message, and no end.
struct Endless(VecDeque<Bytes>);

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Pending,
        }
    }
}

/// A prediction that claims 60 MiB and sends 50: the status of its answer.
async fn hold(mut channel: Channel) -> Option<String> {
    let claim = [&[0][..], &(60 * MIB as u32).to_be_bytes()].concat();
    let piece = Bytes::from(vec![0; MIB]);
    let pieces = [Bytes::from(claim)].into_iter();
    let body = Endless(pieces.chain(vec![piece; 50]).collect());
    let request = http::Request::post("/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(body))
        .expect("a request");
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .expect("it is there");
    let answer = channel.call(request).await.ok()?;
    let status = answer.headers().get("grpc-status")?;
    Some(status.to_str().expect("a number").to_owned())
}

/// The most memory that a process has held, in MiB.
fn peak(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.expect("its peak")
        .trim()
        .parse::<usize>()
        .expect("a number")
        / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_requests_that_are_never_whole_hold_no_more_than_the_budget() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::of(&workspace);
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    let mut honest = Client::connect(&server.address).await;
    honest.predict(question("m", &batch)).await;
    let rest = peak(server.child.id());
    let mut holders = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address));
        let channel = endpoint
            .expect("a URL")
            .connect()
            .await
            .expect("it listens");
        holders.spawn(hold(channel));
    }
    // All but the first are refused at once: 8 is RESOURCE_EXHAUSTED.
    for _ in 0..15 {
        let next = tokio::time::timeout(Duration::from_secs(60), holders.join_next());
        let refused = next.await.expect("in time").expect("one more");
        assert_eq!(refused.expect("it ends"), Some("8".to_owned()));
    }
    honest.predict(question("m", &batch)).await;
    let held = peak(server.child.id()) - rest;
    assert!(held < 128, "{held} MiB above {rest}");
    holders.abort_all();
    server.stop();
}
