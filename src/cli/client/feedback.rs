//! A stream of feedback: many events in flight, their replies handled as they arrive.
//!
//! Invariant: at most [`IN_FLIGHT_MAX`] events wait for their reply, and each reply is handled with
//! the ticket of its event.

use anyhow::{Context, bail};
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::{FeedbackReply, FeedbackRequest};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::access::Requests;
use super::refusal::refusal;

/// The most events, or rows, in flight.
pub(crate) const IN_FLIGHT_MAX: usize = 64;

/// An open stream of feedback; `T` is the ticket of an event, which is handed over with its reply.
pub(crate) struct FeedbackStream<T, S> {
    events: mpsc::Sender<FeedbackRequest>,
    tickets: mpsc::Sender<T>,
    replies: JoinHandle<anyhow::Result<S>>,
}

impl<T: Send + 'static, S: Send + 'static> FeedbackStream<T, S> {
    /// Opens a stream; each reply is folded into the state, and an error of that ends the stream.
    pub(crate) fn open(
        mut learning: LearningClient<Requests>,
        state: S,
        fold: fn(&mut S, T, FeedbackReply) -> anyhow::Result<()>,
    ) -> Self {
        let (events, to_send) = mpsc::channel(IN_FLIGHT_MAX);
        // A ticket is taken out only when its reply is there, so this channel is the bound.
        let (tickets, mut sent) = mpsc::channel(IN_FLIGHT_MAX);
        let replies = tokio::spawn(async move {
            let mut state = state;
            let replies = learning.stream_feedback(ReceiverStream::new(to_send));
            let mut replies = replies.await.map_err(refusal)?.into_inner();
            while let Some(reply) = replies.message().await.map_err(refusal)? {
                let ticket = sent.recv().await;
                let ticket = ticket.context("the server replied to more events than were sent")?;
                fold(&mut state, ticket, reply)?;
            }
            sent.close();
            if sent.recv().await.is_some() {
                bail!("the server ended the stream before its last reply");
            }
            Ok(state)
        });
        FeedbackStream {
            events,
            tickets,
            replies,
        }
    }

    /// Sends an event, once there is room for it.
    ///
    /// # Errors
    /// Why the stream ended.
    pub(crate) async fn send(&mut self, ticket: T, event: FeedbackRequest) -> anyhow::Result<()> {
        if self.tickets.send(ticket).await.is_ok() && self.events.send(event).await.is_ok() {
            return Ok(());
        }
        (&mut self.replies).await??;
        bail!("the server ended the stream of feedback")
    }

    /// Ends the stream, and returns the state after the last reply.
    pub(crate) async fn finish(self) -> anyhow::Result<S> {
        drop((self.events, self.tickets));
        self.replies.await?
    }
}
