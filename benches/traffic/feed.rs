//! Feedback through one stream, as fast as it is taken or at a rate.
//!
//! Invariant: an event that is not accepted fails the bench; with a rate, latency counts from the
//! moment at which an event was due, so that a wait before it was sent is not hidden.

#![allow(dead_code)]

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use perennial::proto::perennial::v1::FeedbackRequest;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::quantile::quantile;
use crate::support::server::Client;

/// Events that wait to be sent.
const UNSENT_MAX: usize = 1024;

/// The replies.
pub(crate) struct Fed {
    /// From due to acknowledged, rising; from the first event on where there is no rate.
    pub latencies: Vec<Duration>,
    pub took: Duration,
    pub last_position: u64,
}

impl Fed {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn quantile(&self, share: f64) -> Duration {
        quantile(&self.latencies, share)
    }
}

/// Sends every event, `per_second` if given, and waits for every reply.
pub(crate) async fn feed(
    client: &mut Client,
    events: impl Iterator<Item = FeedbackRequest> + Send + 'static,
    per_second: Option<f64>,
) -> anyhow::Result<Fed> {
    let (unsent, sent) = mpsc::channel(UNSENT_MAX);
    let started = Instant::now();
    let due = move |index: usize| match per_second {
        Some(per_second) => started + Duration::from_secs_f64(index as f64 / per_second),
        None => started,
    };
    tokio::spawn(async move {
        for (index, event) in events.enumerate() {
            tokio::time::sleep_until(due(index).into()).await;
            if unsent.send(event).await.is_err() {
                return;
            }
        }
    });
    let replies = client.learning.stream_feedback(ReceiverStream::new(sent));
    let mut replies = replies.await?.into_inner();
    let (mut latencies, mut last_position) = (Vec::new(), 0);
    while let Some(reply) = replies.message().await.context("the stream broke")? {
        ensure!(
            reply.status() == Fate::Accepted,
            "refused: {}",
            reply.message
        );
        latencies.push(due(latencies.len()).elapsed());
        last_position = reply.position;
    }
    ensure!(!latencies.is_empty(), "no event was sent");
    latencies.sort_unstable();
    Ok(Fed {
        latencies,
        took: started.elapsed(),
        last_position,
    })
}
