//! `perennial stream --open`: rows and feedback are sent without waiting for earlier ones.
//!
//! Invariant: at most [`IN_FLIGHT_MAX`] rows and as many events are in flight, and answers are
//! scored in the order of the rows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::perennial::v1::FeedbackReply;
use perennial::proto::perennial::v1::feedback_reply::Status;
use tokio::task::JoinHandle;

use super::stream_run::StreamRun;
use crate::cli::client::{Answer, Client, FeedbackStream, IN_FLIGHT_MAX};
use crate::cli::output::print::{counted, were};
use crate::cli::rows::labelled::LabelledRow;
use crate::cli::run::latency::Latencies;

impl StreamRun {
    /// Keeps many rows and events in flight; answers are still scored in the order of the rows.
    pub(super) async fn open(
        &mut self,
        rows: impl Iterator<Item = anyhow::Result<LabelledRow>>,
    ) -> anyhow::Result<()> {
        let none = FeedbackReplies {
            latencies: Latencies::new(),
            acknowledged: 0,
            n_known: 0,
            n_retracted: 0,
            n_refused: 0,
            refusal: None,
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
        while let Some(due) = self.run.due(u64::MAX) {
            let event = self.feedback(due);
            feedback.send(Instant::now(), event).await?;
        }
        let replies = feedback.finish().await?;
        if let Some(why) = replies.refusal {
            let n = replies.n_refused;
            let (events, were) = (counted(n, "feedback event"), were(n));
            bail!("{events} {were} refused: {why}");
        }
        self.acknowledgements = replies.latencies;
        self.acknowledged = replies.acknowledged;
        self.n_known += replies.n_known;
        self.n_retracted += replies.n_retracted;
        Ok(())
    }

    /// Waits for one answer, scores it, and sends the feedback that is due.
    async fn settle(
        &mut self,
        asked: PendingAnswer,
        feedback: &mut Feedback,
    ) -> anyhow::Result<()> {
        let answer = asked.answer.await?;
        let answer = answer.with_context(|| format!("line {}", asked.row.line));
        let Some((answer, took)) = self.unusable.sort(answer)? else {
            self.run.pass_over(&asked.row);
            return Ok(());
        };
        self.judge(&asked.row, answer, took)?;
        while let Some(due) = self.run.due(asked.row.index) {
            let event = self.feedback(due);
            feedback.send(Instant::now(), event).await?;
        }
        self.last = Some(asked.row.batch);
        Ok(())
    }
}

/// A row whose answer is in flight.
struct PendingAnswer {
    row: LabelledRow,
    answer: JoinHandle<anyhow::Result<(Answer, Duration)>>,
}

fn ask(
    mut client: Client,
    request: ModelInferRequest,
) -> JoinHandle<anyhow::Result<(Answer, Duration)>> {
    tokio::spawn(async move {
        let started = Instant::now();
        let answer = client.predict(request).await?;
        Ok((answer, started.elapsed()))
    })
}

/// Feedback in flight, each event with the time of its sending.
type Feedback = FeedbackStream<Instant, FeedbackReplies>;

/// The replies to feedback.
struct FeedbackReplies {
    latencies: Latencies,
    acknowledged: u64,
    /// Events that an earlier run had sent.
    n_known: u64,
    /// Those of them that were retracted since.
    n_retracted: u64,
    n_refused: u64,
    /// The reason of the first refusal.
    refusal: Option<String>,
}

impl FeedbackReplies {
    fn take(&mut self, sent: Instant, reply: FeedbackReply) {
        self.latencies.add(sent.elapsed());
        self.acknowledged = self.acknowledged.max(reply.position);
        match reply.status() {
            Status::Refused => {
                self.n_refused += 1;
                self.refusal.get_or_insert(reply.message);
            }
            Status::Duplicate => self.n_known += 1,
            Status::Retracted => {
                self.n_known += 1;
                self.n_retracted += 1;
            }
            Status::Accepted | Status::Unspecified => {}
        }
    }
}
