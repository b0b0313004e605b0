//! `perennial stream --open`: rows and feedback are sent without waiting for earlier ones.
//!
//! Invariant: at most [`IN_FLIGHT_MAX`] rows and as many events are in flight, and answers are
//! scored in the order of the rows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::perennial::v1::FeedbackReply;
use perennial::proto::perennial::v1::feedback_reply::Status;
use tokio::task::JoinHandle;
use tonic::Code;

use super::stream_run::{StreamRun, is_sent_before};
use crate::cli::client::{Client, FeedbackStream, IN_FLIGHT_MAX, ModelAnswer};
use crate::cli::rows::Unusable;
use crate::cli::rows::labelled::LabelledRow;
use crate::cli::run::latency::Latencies;
use crate::cli::run::usable::UnusableRows;

impl StreamRun {
    /// Keeps many rows and events in flight; answers are still scored in the order of the rows.
    pub(super) async fn open(
        &mut self,
        rows: impl Iterator<Item = anyhow::Result<LabelledRow>>,
    ) -> anyhow::Result<()> {
        let none = FeedbackReplies {
            latencies: Latencies::new(),
            acknowledged: 0,
            n_taken: 0,
            known_so_far: self.known_so_far.clone(),
            n_known: 0,
            n_retracted: 0,
            refused: self.unusable.of_another_part(),
        };
        let mut feedback =
            FeedbackStream::open(self.client.learning.clone(), none, FeedbackReplies::take);
        let mut asked: VecDeque<PendingAnswer> = VecDeque::with_capacity(IN_FLIGHT_MAX);
        for row in rows {
            if asked.len() == IN_FLIGHT_MAX
                && let Some(first) = asked.pop_front()
            {
                self.settle(first, &mut feedback).await?;
            }
            let Some(row) = self.unusable.sort(row)? else {
                continue;
            };
            let request = self.request(&row.batch).message();
            let answer = ask(self.client.clone(), request);
            asked.push_back(PendingAnswer { row, answer });
        }
        for asked in asked {
            self.settle(asked, &mut feedback).await?;
        }
        self.send_due(u64::MAX, &mut feedback).await?;
        let replies = feedback.finish().await?;
        self.unusable.add(replies.refused);
        self.acknowledgements = replies.latencies;
        self.acknowledged = replies.acknowledged;
        self.n_taken += replies.n_taken;
        self.n_known += replies.n_known;
        self.n_retracted += replies.n_retracted;
        Ok(())
    }

    /// Waits for one answer, scores it, and sends the feedback that is due.
    async fn settle(
        &mut self,
        asked: PendingAnswer,
        feedback: &mut FeedbackInFlight,
    ) -> anyhow::Result<()> {
        let answer = asked.answer.await?;
        let answer = answer.with_context(|| format!("line {}", asked.row.line));
        let Some((answer, took)) = self.unusable.sort(answer)? else {
            self.run.pass_over(&asked.row);
            return Ok(());
        };
        self.judge(&asked.row, answer, took)?;
        self.send_due(asked.row.index, feedback).await?;
        self.last = Some(asked.row.batch);
        Ok(())
    }

    /// Sends the feedback that is due after a row.
    async fn send_due(&mut self, row: u64, feedback: &mut FeedbackInFlight) -> anyhow::Result<()> {
        while let Some(due) = self.run.due(row) {
            let line = due.key.line().to_owned();
            let event = self.feedback(due);
            let sent = Instant::now();
            feedback.send(SentEvent { line, sent }, event).await?;
        }
        Ok(())
    }
}

/// A row whose answer is in flight.
struct PendingAnswer {
    row: LabelledRow,
    answer: JoinHandle<anyhow::Result<(ModelAnswer, Duration)>>,
}

fn ask(
    mut client: Client,
    request: ModelInferRequest,
) -> JoinHandle<anyhow::Result<(ModelAnswer, Duration)>> {
    tokio::spawn(async move {
        let started = Instant::now();
        let answer = client.predict(request).await?;
        Ok((answer, started.elapsed()))
    })
}

/// Feedback in flight.
type FeedbackInFlight = FeedbackStream<SentEvent, FeedbackReplies>;

/// An event in flight: the line of its row, and the time of its sending.
struct SentEvent {
    line: String,
    sent: Instant,
}

/// The replies to feedback.
struct FeedbackReplies {
    latencies: Latencies,
    acknowledged: u64,
    /// Events that the server took, known ones included.
    n_taken: u64,
    /// True while by the newest reply an earlier run had sent the row.
    known_so_far: Arc<AtomicBool>,
    /// Events that an earlier run had sent.
    n_known: u64,
    /// Known events that were retracted since.
    n_retracted: u64,
    /// Events that the server refused.
    refused: UnusableRows,
}

impl FeedbackReplies {
    /// Takes a reply; the events after one that was refused are sent all the same.
    fn take(&mut self, event: SentEvent, reply: FeedbackReply) -> anyhow::Result<()> {
        let status = match reply.status() {
            Status::Refused if is_sent_before(&reply.message) => Status::Duplicate,
            status => status,
        };
        match status {
            Status::Refused => {
                let refused = match Code::from(reply.code) {
                    Code::InvalidArgument => Unusable::refused(&reply.message).into(),
                    _ => anyhow!(reply.message),
                };
                let refused: anyhow::Result<()> = Err(refused);
                let line = event.line;
                let refused = refused.with_context(|| format!("feedback for line {line}"));
                self.refused.sort(refused)?;
                return Ok(());
            }
            Status::Duplicate => self.n_known += 1,
            Status::Retracted => {
                self.n_known += 1;
                self.n_retracted += 1;
            }
            Status::Accepted | Status::Unspecified => {}
        }
        let is_known = matches!(status, Status::Duplicate | Status::Retracted);
        self.known_so_far.store(is_known, Ordering::Relaxed);
        self.n_taken += 1;
        self.latencies.add(event.sent.elapsed());
        self.acknowledged = self.acknowledged.max(reply.position);
        Ok(())
    }
}
