//! Feedback at a fixed rate, and when answers show it.
//!
//! Invariant: an event counts as served at the first answer whose state has its position.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::proto::perennial::v1::learning_client::LearningClient;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_stream::wrappers::ReceiverStream;

use crate::load::{Client, ms};

/// Events that wait to be sent.
const UNSENT_MAX: usize = 1024;
/// Between two questions for the position.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The outcomes of the events.
pub(crate) struct Taught {
    /// Sorted.
    served: Vec<Duration>,
    acknowledged: Vec<Duration>,
}

impl Taught {
    pub(crate) fn served_ms(&self, share: f64) -> f64 {
        ms(&self.served, share)
    }

    pub(crate) fn acknowledged_ms(&self, share: f64) -> f64 {
        ms(&self.acknowledged, share)
    }
}

/// Streams so many events a second, and looks when they are served.
pub(crate) async fn teach(
    client: Client,
    per_second: f64,
    span: Duration,
) -> anyhow::Result<Taught> {
    let n = (per_second * span.as_secs_f64()) as usize;
    let began = Instant::now();
    let planned = move |index: usize| began + Duration::from_secs_f64(index as f64 / per_second);
    let (unsent, events) = mpsc::channel(UNSENT_MAX);
    let sender = client.clone();
    tokio::spawn(async move {
        for index in 0..n {
            sleep_until(planned(index).into()).await;
            if unsent.send(sender.event("beside", index)).await.is_err() {
                return;
            }
        }
    });
    let watcher = client.clone();
    let watching = tokio::spawn(async move {
        let mut reached = Vec::new();
        loop {
            let position = watcher.position().await?;
            let now = Instant::now();
            reached.push((position, now));
            if now > began + span + Duration::from_secs(1) {
                return anyhow::Ok(reached);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let mut learning = LearningClient::new(client.channel.clone());
    let events = ReceiverStream::new(events);
    let mut replies = learning.stream_feedback(events).await?.into_inner();
    let mut taken = Vec::with_capacity(n);
    while let Some(reply) = replies.message().await? {
        let accepted = reply.status() == Fate::Accepted;
        ensure!(accepted, "feedback was not taken: {}", reply.message);
        let sent = planned(taken.len());
        taken.push((reply.position, sent, sent.elapsed()));
    }
    let reached = watching.await??;
    let mut served = Vec::with_capacity(n);
    for (position, sent, _) in &taken {
        let first = reached.partition_point(|(one, _)| one < position);
        let (_, at) = reached.get(first).context("it is never served")?;
        served.push(at.duration_since(*sent));
    }
    let mut acknowledged: Vec<Duration> = taken.iter().map(|(.., after)| *after).collect();
    served.sort_unstable();
    acknowledged.sort_unstable();
    Ok(Taught {
        served,
        acknowledged,
    })
}
