//! Strangers, and callers who hold all of their share: others are served beside them.

use std::collections::VecDeque;
use std::time::Duration;

use perennial::proto::perennial::v1::FeedbackRequest;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::server;
use perennial::store::Disk;
use tokio::task::spawn_blocking;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use crate::grpc::frames_client::{FramesClient, MODEL_INFER, frames};
use crate::grpc::overload::{metric, row};
use crate::grpc::served::{Served, label, question, within};
use crate::support::AUTO;

const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const UNKNOWN: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
const OK: &str = concat!(
    "perennial_calls_total{service=\"inference.GRPCInferenceService\",",
    "method=\"ModelInfer\",code=\"OK\"}"
);

async fn bounded(config: server::Config) -> Served {
    Served::start_bounded(&[("m", AUTO)], Disk::default(), config).await
}

/// Waits until no byte of a request counts any more.
async fn give_back(served: &Served) {
    within(async {
        while metric(served, "perennial_request_bytes") > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_health_checks_that_never_come_take_no_place_of_a_prediction() {
    let mut served = bounded(server::Config {
        requests_max: 64,
        ..server::Config::default()
    })
    .await;
    let server = served.grpc;
    // Headers, and never a body.
    let calls = vec![VecDeque::new(); 500];
    let parked = spawn_blocking(move || FramesClient::open_at(server, HEALTH_CHECK, calls));
    let parked = within(parked).await.expect("none is refused");
    let reply = served.client.ask(question("m", &row())).await;
    assert_eq!(reply.expect("it has its place").ids.len(), 1);
    drop(parked);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_an_answer_that_nobody_reads_holds_its_place_and_counts() {
    let mut served = bounded(server::Config {
        requests_max: 32,
        ..server::Config::default()
    })
    .await;
    let server = served.grpc;
    let calls = frames(&vec![question("m", &row()); 20], usize::MAX);
    let n_bytes: usize = calls.iter().map(|frame| frame.len() - 5).sum();
    let calls = calls.into_iter().map(|frame| [frame].into()).collect();
    let unread = spawn_blocking(move || {
        let mut client = FramesClient::open_unread(server, MODEL_INFER, calls);
        client.send_what_fits();
        client
    });
    let unread = within(unread).await.expect("none is refused");
    within(async {
        while metric(&served, OK) < 20 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let bytes = metric(&served, "perennial_request_bytes");
    assert!(bytes >= n_bytes as u64, "{bytes} of {n_bytes}");
    drop(unread);
    give_back(&served).await;
    served
        .client
        .ask(question("m", &row()))
        .await
        .expect("an answer");
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_reply_echoes_no_more_of_an_id_than_an_id_may_have() {
    let mut served = Served::start(&[("m", AUTO)]).await;
    let long = label("m", UNKNOWN, &"é".repeat(1 << 20), "a");
    let sound = label("m", UNKNOWN, "sound", "a");
    let replies = served.client.stream(vec![long.clone(), sound]).await;
    let answered: Vec<_> = replies
        .iter()
        .map(|reply| (reply.feedback_id.len(), reply.status()))
        .collect();
    assert_eq!(answered, [(128, Fate::Refused), (5, Fate::Accepted)]);
    give_back(&served).await;
    served
        .client
        .submit(long)
        .await
        .expect_err("it is too long");
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_connection_without_calls_is_asked_to_end_and_a_quiet_stream_is_a_call() {
    let served = bounded(server::Config {
        connection_idle_max: Some(Duration::from_millis(200)),
        connection_age_grace: Duration::from_millis(200),
        ..server::Config::default()
    })
    .await;
    let server = served.grpc;
    let replies = spawn_blocking(move || {
        let event = |index| label("m", UNKNOWN, &format!("event-{index}"), "a");
        let events: Vec<FeedbackRequest> = (0..10).map(event).collect();
        let quiet = FramesClient::open(server, vec![frames(&events, 1000)]);
        for _ in 0..2 {
            let mut idle = FramesClient::open(server, vec![]);
            idle.wait_for_goaway();
            assert!(idle.closes());
        }
        quiet.finish()
    });
    let replies = within(replies).await.expect("no panic");
    assert_eq!(replies[0].len(), 10);
    let closed = "perennial_closed_connections_total{reason=\"idle\"}";
    assert!(metric(&served, closed) >= 2);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_call_of_no_method_is_counted() {
    let served = Served::start(&[("m", AUTO)]).await;
    let mut channel = served.client.channel.clone();
    let request = http::Request::post("/no.Such/Method")
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .expect("a request");
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .expect("it is there");
    let answer = within(channel.call(request)).await.expect("an answer");
    assert_eq!(answer.headers()["grpc-status"], "12");
    let refused = "perennial_refused_total{flow=\"call\",code=\"UNIMPLEMENTED\",field=\"\",reason=\"method\"}";
    assert_eq!(metric(&served, refused), 1);
    served.goes_on_and_stops("m").await;
}
