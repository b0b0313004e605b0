//! The service that takes feedback, one event at a time or as a stream.
//!
//! Invariant: a stream has at most [`WINDOW`] events between their arrival and their reply, and
//! replies come in the order of the events; reading stops while the window is full.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::door::{self, Door};
use super::wire::{self, Refusal};
use crate::engine::{Accepted, Receipt};
use crate::event::Subject;
use crate::proto::perennial::v1::learning_server;
use crate::proto::perennial::v1::{FeedbackReply, FeedbackRequest};

/// Events of one stream that wait for their reply.
const WINDOW: usize = 1024;

pub(super) struct Learning(pub Arc<Door>);

/// What the next reply waits for.
enum Pending {
    Event {
        feedback_id: String,
        handed: Result<Receipt, Refusal>,
    },
    /// The stream ends with this.
    End(Status),
}

type Replies = Pin<Box<dyn Stream<Item = Result<FeedbackReply, Status>> + Send>>;

#[tonic::async_trait]
impl learning_server::Learning for Learning {
    type StreamFeedbackStream = Replies;

    async fn stream_feedback(
        &self,
        request: Request<Streaming<FeedbackRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let (window, pending) = mpsc::channel(WINDOW);
        tokio::spawn(read(self.0.clone(), request.into_inner(), window));
        let door = self.0.clone();
        let replies = ReceiverStream::new(pending).then(move |pending| {
            let door = door.clone();
            async move { answer(&door, pending).await }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn submit_feedback(
        &self,
        request: Request<FeedbackRequest>,
    ) -> Result<Response<FeedbackReply>, Status> {
        let request = request.into_inner();
        let feedback_id = request.feedback_id.clone();
        let handed = hand(&self.0, request).await;
        let accepted = fate(&self.0, handed).await?;
        Ok(Response::new(wire::reply(feedback_id, Ok(accepted))))
    }
}

/// Hands each event on as it arrives, until the sender is done, gone, or the server drains.
async fn read(
    door: Arc<Door>,
    mut events: Streaming<FeedbackRequest>,
    window: mpsc::Sender<Pending>,
) {
    let drained = door::drained(door.draining.clone());
    tokio::pin!(drained);
    loop {
        // A place comes first: an event is handed on only if its reply has room.
        let Ok(place) = window.reserve().await else {
            return;
        };
        let event = tokio::select! {
            event = events.message() => event,
            () = &mut drained => Err(Status::unavailable(
                "the server is stopping; send again what was not answered",
            )),
        };
        match event {
            Ok(Some(event)) => place.send(Pending::Event {
                feedback_id: event.feedback_id.clone(),
                handed: hand(&door, event).await,
            }),
            Ok(None) => return,
            Err(status) => return place.send(Pending::End(status)),
        }
    }
}

/// Validates an event and hands it to the engine; it is on disk once the receipt says so.
async fn hand(door: &Door, event: FeedbackRequest) -> Result<Receipt, Refusal> {
    let model = door.model(&event.model)?;
    let served = model.snapshot("")?;
    let (spec, names) = (&served.model.spec, &served.model.names);
    let mut feedback = wire::feedback(event, spec, names, door::now())?;
    if let Subject::Inputs { batch, .. } = &mut feedback.subject {
        *batch = model.embed(std::mem::take(batch)).await?;
    }
    Ok(model.accept(feedback)?)
}

async fn answer(door: &Door, pending: Pending) -> Result<FeedbackReply, Status> {
    match pending {
        Pending::Event {
            feedback_id,
            handed,
        } => Ok(wire::reply(feedback_id, fate(door, handed).await)),
        Pending::End(status) => Err(status),
    }
}

/// What became of an event, once that is certain.
async fn fate(door: &Door, handed: Result<Receipt, Refusal>) -> Result<Accepted, Refusal> {
    let fate = match handed {
        Ok(receipt) => receipt.wait().await.map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    if fate.is_err() {
        door::count(&door.refused_feedback);
    }
    fate
}
