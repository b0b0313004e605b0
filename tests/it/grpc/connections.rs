//! Connections that take their calls back, and those that have grown old.

use std::io::ErrorKind;
use std::time::Duration;

use perennial::proto::perennial::v1::FeedbackRequest;
use perennial::server;
use perennial::store::Disk;
use tokio::task::spawn_blocking;

use crate::grpc::frames_client::{FramesClient, frames};
use crate::grpc::served::{Served, label, within};
use crate::support::AUTO;

const UNKNOWN: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

fn events(n: usize) -> Vec<FeedbackRequest> {
    let event = |index| label("m", UNKNOWN, &format!("event-{index}"), "a");
    (0..n).map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_calls_that_are_taken_back_end_no_other_call_of_their_connection() {
    let served = Served::start(&[("m", AUTO)]).await;
    let server = served.grpc;
    let replies = spawn_blocking(move || {
        let mut client = FramesClient::open(server, vec![frames(&events(10), 1000)]);
        for _ in 0..8 {
            client.take_back(500).expect("it is open");
            client.ping();
        }
        client.finish()
    });
    let replies = within(replies).await.expect("no GOAWAY");
    assert_eq!(replies[0].len(), 10);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_connection_that_only_takes_calls_back_is_closed() {
    let served = Served::start(&[("m", AUTO)]).await;
    let server = served.grpc;
    let closed = spawn_blocking(move || {
        let mut client = FramesClient::open(server, vec![]);
        // Unread bytes fill the socket long before that.
        let mut all = (0..1000).map(|_| client.take_back(900));
        all.find_map(Result::err)
    });
    let closed = within(closed).await.expect("no panic");
    let kind = closed.map(|error| error.kind());
    let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(kind.is_some_and(|kind| closed.contains(&kind)), "{kind:?}");
    served.goes_on_and_stops("m").await;
}

fn aging(grace: Duration) -> server::Config {
    server::Config {
        connection_age_max: Some(Duration::from_millis(200)),
        connection_age_grace: grace,
        ..server::Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_call_of_a_connection_that_has_grown_old_goes_on() {
    let bounds = aging(Duration::from_secs(3600));
    let served = Served::start_bounded(&[("m", AUTO)], Disk::default(), bounds).await;
    let server = served.grpc;
    let replies = spawn_blocking(move || {
        let mut client = FramesClient::open(server, vec![frames(&events(10), 1000)]);
        client.wait_for_goaway();
        client.finish()
    });
    let replies = within(replies).await.expect("its call goes on");
    assert_eq!(replies[0].len(), 10);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_connection_that_has_grown_old_is_closed_after_its_grace() {
    let bounds = aging(Duration::from_millis(200));
    let served = Served::start_bounded(&[("m", AUTO)], Disk::default(), bounds).await;
    let server = served.grpc;
    let closed = spawn_blocking(move || {
        let mut quiet = FramesClient::open(server, vec![frames(&events(1), 1000)]);
        quiet.wait_for_goaway();
        quiet.closes()
    });
    assert!(within(closed).await.expect("no panic"));
    served.stop().await;
}
