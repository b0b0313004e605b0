//! `perennial stream --open`: rows and feedback are sent without waiting for what came before.
//!
//! Invariant: at most [`IN_FLIGHT_MAX`] rows and as many events are on their way, and rows are
//! judged in their order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::bail;
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::perennial::v1::{FeedbackReply, feedback_reply};
use tokio::task::JoinHandle;

use super::Run;
use crate::cli::client::{Answer, Client, FeedbackStream, IN_FLIGHT_MAX};
use crate::cli::rows::labelled::Lesson;
use crate::cli::run::latency::Latencies;

impl Run {
    /// Many rows and events on their way; rows are still judged in their order.
    pub async fn open(
        &mut self,
        lessons: impl Iterator<Item = anyhow::Result<Lesson>>,
    ) -> anyhow::Result<()> {
        let none = Replies {
            latencies: Latencies::new(),
            acknowledged: 0,
            n_refused: 0,
            refusal: None,
        };
        let mut feedback = FeedbackStream::open(&self.client, none, Replies::take);
        let mut asked: VecDeque<Asked> = VecDeque::with_capacity(IN_FLIGHT_MAX);
        for lesson in lessons {
            if asked.len() == IN_FLIGHT_MAX
                && let Some(first) = asked.pop_front()
            {
                self.settle(first, &mut feedback).await?;
            }
            let lesson = lesson?;
            let request = self.question(&lesson.batch).request();
            let answer = ask(self.client.clone(), request);
            asked.push_back(Asked { lesson, answer });
        }
        for asked in asked {
            self.settle(asked, &mut feedback).await?;
        }
        while let Some(due) = self.course.due(u64::MAX) {
            let event = self.feedback(due);
            feedback.send(Instant::now(), event).await?;
        }
        let replies = feedback.finish().await?;
        if let Some(why) = replies.refusal {
            bail!("{} feedback events were refused: {why}", replies.n_refused);
        }
        self.acknowledgements = replies.latencies;
        self.acknowledged = replies.acknowledged;
        Ok(())
    }

    /// Waits for one answer, judges it, and sends what is due.
    async fn settle(&mut self, asked: Asked, feedback: &mut Feedback) -> anyhow::Result<()> {
        let (answer, took) = asked.answer.await??;
        self.judge(&asked.lesson, answer, took)?;
        while let Some(due) = self.course.due(asked.lesson.row) {
            let event = self.feedback(due);
            feedback.send(Instant::now(), event).await?;
        }
        self.last = Some(asked.lesson.batch);
        Ok(())
    }
}

/// A row whose answer is on its way.
struct Asked {
    lesson: Lesson,
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

/// Feedback on its way, each event with the moment it was sent.
type Feedback = FeedbackStream<Instant, Replies>;

/// What came back for feedback.
struct Replies {
    latencies: Latencies,
    acknowledged: u64,
    n_refused: u64,
    /// Why the first one was refused.
    refusal: Option<String>,
}

impl Replies {
    fn take(&mut self, sent: Instant, reply: FeedbackReply) {
        self.latencies.add(sent.elapsed());
        self.acknowledged = self.acknowledged.max(reply.position);
        if reply.status() == feedback_reply::Status::Refused {
            self.n_refused += 1;
            self.refusal.get_or_insert(reply.message);
        }
    }
}
