//! Streams of events that come in many small frames, faster than they are read.
//!
//! While the disk stalls nothing is acknowledged, so that a stream is read no further once its
//! window of events is full: what a client may send beyond that lies unread, frame by frame.

use std::sync::atomic::Ordering::Relaxed;

use perennial::proto::perennial::v1::FeedbackRequest;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use tokio::task::spawn_blocking;

use crate::grpc::frames_client::{FramesClient, frames};
use crate::grpc::served::{Served, label, stalling, within};
use crate::support::AUTO;

const UNKNOWN: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

/// Every event of some 60 bytes is acknowledged, although nothing was while they were sent.
async fn all_are_acknowledged(n_streams: usize, n_events: usize, frame_bytes_max: usize) {
    let (disk, stalls, release) = stalling();
    let mut served = Served::start_on(&[("m", AUTO)], disk).await;
    // Dropped first, whatever happens: the server cannot stop on a stalled disk.
    let release = release;
    let event = |stream: usize, index: usize| FeedbackRequest {
        source: String::new(),
        ..label("m", UNKNOWN, &format!("{stream}-{index}"), "a")
    };
    let events = |stream: usize| -> Vec<FeedbackRequest> {
        (0..n_events).map(|index| event(stream, index)).collect()
    };
    let calls = (0..n_streams).map(|stream| frames(&events(stream), frame_bytes_max));
    let (server, calls) = (served.grpc, calls.collect());
    stalls.store(true, Relaxed);
    let sending = spawn_blocking(move || {
        let mut client = FramesClient::open(server, calls);
        let mut left = usize::MAX;
        // Events are read until their window is full, so that more fits for a while.
        loop {
            let still = client.send_what_fits();
            if still == left || still == 0 {
                return (client, still);
            }
            left = still;
        }
    });
    let (client, left) = within(sending).await.expect("no GOAWAY");
    assert!(left > 0, "what lies unread is bounded");
    stalls.store(false, Relaxed);
    drop(release);
    let replies = within(spawn_blocking(move || client.finish())).await;
    for replies in replies.expect("no GOAWAY") {
        assert_eq!(replies.len(), n_events);
        let refused = replies.iter().find(|one| one.status() != Fate::Accepted);
        assert_eq!(refused, None);
    }
    let last = served.client.status("m").await.journal_position;
    served.client.reach("m", last).await;
    let fates = served.client.status("m").await.fates;
    assert_eq!(fates["unmatched"], (n_streams * n_events) as u64);
    served.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_stream_of_small_events_is_acknowledged_to_its_end() {
    all_are_acknowledged(1, 20_000, usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_sixteen_streams_of_small_events_share_a_connection() {
    all_are_acknowledged(16, 2_500, usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_stream_may_come_in_frames_of_one_byte() {
    all_are_acknowledged(1, 4_000, 1).await;
}
