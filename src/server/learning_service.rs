//! The service that takes feedback, one event at a time or as a stream.
//!
//! Invariant: a stream has at most [`WINDOW`] events between their arrival and their reply, and
//! events are handed on and replied to in the order in which they came; reading stops while the
//! window is full, and while the learner or the writer takes no feedback.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::access::{Caller, MessageCost};
use super::budget::Holding;
use super::call_tasks::end_if_reset;
use super::context::{self, ServerContext};
use super::stream_pace::{CountedReplies, LOOK_EVERY, NoPlace, StreamPace};
use super::unreadable;
use super::wire::{self, EventAcknowledgement, Refusal};
use crate::engine::{self, Acknowledgement, Receipt, ServedModel};
use crate::event::{Feedback, PredictionId, Subject};
use crate::proto::perennial::v1::learning_server;
use crate::proto::perennial::v1::{FeedbackReply, FeedbackRequest};

/// Events of one stream that wait for their reply.
const WINDOW: usize = 1024;
/// Events of one stream that wait for an encoder, which batches them: few enough that the queue
/// before it has room for many streams.
const ENCODING_MAX: usize = 16;

pub(super) struct LearningService(pub Arc<ServerContext>);

/// The next reply, before it is known.
enum PendingReply {
    Event {
        feedback_id: String,
        submitted: Result<SubmittedEvent, Refusal>,
        _counted: CountedReplies,
    },
    /// The stream ends with this.
    End(Status),
}

/// An event on its way to the disk.
struct SubmittedEvent {
    receipt: Receipt,
    about: Option<About>,
}

/// The prediction that an event is about.
struct About {
    model: Arc<ServedModel>,
    id: PredictionId,
    /// The position up to which no such prediction was known as the event was submitted.
    unknown_until: Option<u64>,
}

impl About {
    /// True if it is known by now that an accepted event matches no prediction: nothing stands
    /// between it and the position of the learner, either as it was submitted or by now.
    fn is_unmatched(&self, accepted: Acknowledgement) -> bool {
        let Acknowledgement::Accepted { position } = accepted else {
            return false;
        };
        let reaches = |until: u64| until + 1 >= position;
        self.unknown_until.is_some_and(reaches)
            || self.model.unknown_until(self.id).is_some_and(reaches)
    }
}

/// A valid event with its inputs encoded, and its model.
type PreparedEvent = (Arc<ServedModel>, Feedback);

/// An event of a stream, ready to be submitted.
struct NextEvent {
    feedback_id: String,
    prepared: Result<PreparedEvent, Refusal>,
    /// Its bytes, where others are read meanwhile.
    _kept: Option<CountedReplies>,
}

type Replies = Pin<Box<dyn Stream<Item = Result<FeedbackReply, Status>> + Send>>;

#[tonic::async_trait]
impl learning_server::Learning for LearningService {
    type StreamFeedbackStream = Replies;

    async fn stream_feedback(
        &self,
        request: Request<Streaming<FeedbackRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let (window, pending) = mpsc::channel(WINDOW - ENCODING_MAX);
        let caller = Caller::of(&request);
        let holding = request.extensions().get::<Arc<Holding>>();
        let pace = StreamPace::new(holding.expect("the guard has put it there").clone());
        let (context, events) = (self.0.clone(), request.into_inner());
        tokio::spawn(read(context, events, caller, (window, pace.clone())));
        let context = self.0.clone();
        let replies = ReceiverStream::new(pending).then(move |pending| {
            let (context, pace) = (context.clone(), pace.clone());
            async move { answer(&context, &pace, pending).await }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn submit_feedback(
        &self,
        request: Request<FeedbackRequest>,
    ) -> Result<Response<FeedbackReply>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let feedback_id = wire::echoed_id(&request.feedback_id);
        let prepared = prepare(&self.0, request, &caller).await;
        end_if_reset().await;
        let submitted = prepared.and_then(|event| submit(event, ServedModel::accept));
        let accepted = acknowledge(&self.0, submitted).await?;
        Ok(Response::new(wire::reply(feedback_id, Ok(accepted))))
    }
}

/// Submits each event as it arrives, until the sender is done, gone, or the server drains.
async fn read(
    context: Arc<ServerContext>,
    events: Streaming<FeedbackRequest>,
    caller: Caller,
    (window, pace): (mpsc::Sender<PendingReply>, StreamPace),
) {
    let stopped = stopped(&context, &caller);
    tokio::pin!(stopped);
    let encodes = context.engine.models().any(|model| model.encodes());
    let each = async |event: Result<FeedbackRequest, Status>| {
        let event = event?;
        Ok::<_, Status>(NextEvent {
            _kept: encodes.then(|| pace.keep(event.encoded_len())),
            feedback_id: wire::echoed_id(&event.feedback_id),
            prepared: prepare(&context, event, &caller).await,
        })
    };
    // Without an encoder, a queue would cost a tenth of a stream's rate.
    let prepared = if encodes {
        events.map(each).buffered(ENCODING_MAX).left_stream()
    } else {
        events.then(each).right_stream()
    };
    tokio::pin!(prepared);
    for n_events in 0.. {
        // A place comes first: an event is submitted only if its reply has room.
        let (place, counted) = match pace.place(&window).await {
            Ok(place) => place,
            Err(NoPlace::Unread) => return,
            Err(NoPlace::Short(place)) => return place.send(PendingReply::End(short())),
        };
        let next = tokio::select! {
            next = prepared.next() => next,
            status = &mut stopped => Some(Err(status)),
        };
        match next {
            Some(Ok(event)) => {
                // Meanwhile nothing more is read, and the sender stops where its window is full.
                tokio::select! {
                    () = room(&event, &pace, n_events) => {}
                    () = window.closed() => return,
                    status = &mut stopped => return place.send(PendingReply::End(status)),
                }
                let submit = |event| submit(event, ServedModel::accept_waited);
                place.send(PendingReply::Event {
                    feedback_id: event.feedback_id,
                    submitted: event.prepared.and_then(submit),
                    _counted: counted,
                });
            }
            Some(Err(status)) => return place.send(PendingReply::End(ended(&context, status))),
            None => return,
        }
    }
}

/// The reason why a stream ends that could go on.
async fn stopped(context: &ServerContext, caller: &Caller) -> Status {
    tokio::select! {
        () = context::drained(context.draining.clone()) => Status::unavailable(
            "the server is stopping; send again what was not answered",
        ),
        () = context.access().ended(caller) => Status::unauthenticated(
            "the credential of this stream has ended; send again what was not answered under another",
        ),
    }
}

/// The status that ends a stream: an event that cannot be read ends it as well, since nothing says where
/// the next one begins.
fn ended(context: &ServerContext, status: Status) -> Status {
    match unreadable::refusal(&status) {
        Some(refusal) => {
            context.refused_feedback.add(&refusal);
            refusal.into()
        }
        None => status,
    }
}

/// The reason why a stream ends whose replies have found no room.
fn short() -> Status {
    let what = "the requests that are read and answered now take the bytes that they may; send again later what \
                was not answered";
    Refusal::new(Code::ResourceExhausted, "", what).into()
}

/// Waits until the learner and the writer take feedback of a model, and the pace of the stream allows it.
async fn room(event: &NextEvent, pace: &StreamPace, n_events: u64) {
    if let Ok((model, _)) = &event.prepared {
        while !model.has_room_for_feedback() {
            sleep(LOOK_EVERY).await;
        }
    }
    pace.settle(n_events).await;
}

/// Validates an event, and encodes its inputs.
async fn prepare(
    context: &ServerContext,
    mut event: FeedbackRequest,
    caller: &Caller,
) -> Result<PreparedEvent, Refusal> {
    let model = context.model(caller, &event.model)?;
    bind_source(caller, &mut event)?;
    let n_bytes = if caller.has_quota() {
        event.encoded_len()
    } else {
        0
    };
    let served = model.snapshot("")?;
    let (spec, names) = (&served.model.spec, &served.model.names);
    let mut feedback = wire::feedback(event, spec, names, model.times()?)?;
    caller.spend(MessageCost {
        events: 1,
        bytes: n_bytes as u64,
        predictions: 0,
    })?;
    feedback.actor = caller.name();
    feedback.may_correct = caller.may_correct();
    if let Subject::Inputs { batch, .. } = &mut feedback.subject {
        *batch = model.embed(&served, std::mem::take(batch)).await?;
    }
    Ok((model.clone(), feedback))
}

/// Has an event carry the source of its sender, where that has only one.
fn bind_source(caller: &Caller, event: &mut FeedbackRequest) -> Result<(), Refusal> {
    let Some(own) = caller.source() else {
        return Ok(());
    };
    if event.source.is_empty() {
        own.clone_into(&mut event.source);
    }
    if event.source == own {
        return Ok(());
    }
    let sent = &event.source;
    let what = format!("source: {sent:.80?}, expected {own:?}, the only one of this credential");
    Err(Refusal::new(Code::PermissionDenied, "source", what))
}

/// Submits an event to the engine by [`ServedModel::accept`] or the like; it is on disk once its receipt has been
/// waited for.
fn submit(
    (model, feedback): PreparedEvent,
    accept: fn(&ServedModel, Feedback) -> Result<Receipt, engine::Error>,
) -> Result<SubmittedEvent, Refusal> {
    let about = match &feedback.subject {
        Subject::Prediction(id) => Some(About {
            model: model.clone(),
            id: *id,
            unknown_until: model.unknown_until(*id),
        }),
        Subject::Inputs { .. } => None,
    };
    let receipt = accept(&model, feedback)?;
    Ok(SubmittedEvent { receipt, about })
}

async fn answer(
    context: &ServerContext,
    pace: &StreamPace,
    pending: PendingReply,
) -> Result<FeedbackReply, Status> {
    match pending {
        PendingReply::Event {
            feedback_id,
            submitted,
            _counted,
        } => {
            pace.begin_reply();
            let known = acknowledge(context, submitted).await;
            let code = known.as_ref().err().map(|refusal| refusal.code);
            pace.end_reply(code == Some(Code::ResourceExhausted));
            Ok(wire::reply(feedback_id, known))
        }
        PendingReply::End(status) => Err(status),
    }
}

/// The acknowledgement of an event, once it is on disk.
async fn acknowledge(
    context: &ServerContext,
    submitted: Result<SubmittedEvent, Refusal>,
) -> Result<EventAcknowledgement, Refusal> {
    let acknowledged = match submitted {
        Ok(SubmittedEvent { receipt, about }) => {
            let accepted = receipt.wait().await.map_err(Refusal::from);
            accepted.map(|accepted| EventAcknowledgement {
                is_unmatched: about.is_some_and(|about| about.is_unmatched(accepted)),
                accepted,
            })
        }
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &acknowledged {
        context.refused_feedback.add(refusal);
    }
    acknowledged
}
