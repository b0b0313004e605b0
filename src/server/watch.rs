//! The stream of learning events.
//!
//! Invariant: it waits for events and for nothing else; a reader that does not keep up gets the events kept for
//! it and then one sentence.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tonic::{Code, Status};

use super::access::Caller;
use super::context::{ServerContext, drained};
use super::wire::{self, Refusal};
use crate::engine::{Subscription, WATCH_EVENTS_MAX, WatchError};
use crate::proto::perennial::v1::{LearningEvent, WatchRequest};

pub(super) type LearningEvents = Pin<Box<dyn Stream<Item = Result<LearningEvent, Status>> + Send>>;

/// The events that a request asks for, of models that its caller may use, until the server drains or the
/// caller's credential ends.
pub(super) fn watch(
    context: &Arc<ServerContext>,
    caller: &Caller,
    request: &WatchRequest,
) -> Result<LearningEvents, Refusal> {
    let WatchRequest {
        model,
        from_position,
    } = request;
    let from_position = (*from_position > 0).then_some(*from_position);
    if !model.is_empty() {
        context.model(caller, model)?;
    } else if from_position.is_some() {
        let what = "from_position: positions are of one model; name it as model";
        return Err(Refusal::invalid("from_position", what));
    }
    let subscription = context.engine.watch(model, from_position);
    let subscription = subscription.map_err(|error| match error {
        WatchError::TooMany => Refusal::new(Code::ResourceExhausted, "", error.to_string()),
        WatchError::NotKept { .. } => Refusal::invalid("from_position", error.to_string()),
    })?;
    let stopped = Box::pin(stopped(context.clone(), caller.clone()));
    let caller = caller.clone();
    let next = move |state: Option<(Subscription, _)>| {
        let caller = caller.clone();
        async move {
            let (mut subscription, mut stopped) = state?;
            loop {
                let event = tokio::select! {
                    biased;
                    status = &mut stopped => return Some((Err(status), None)),
                    event = subscription.next() => event,
                };
                match event {
                    Some(event) if caller.may_use(&event.model) => {
                        let event = wire::learning_event(&event);
                        return Some((Ok(event), Some((subscription, stopped))));
                    }
                    Some(_) => {}
                    None => return Some((Err(too_slow(&subscription)), None)),
                }
            }
        }
    };
    Ok(Box::pin(stream::unfold(
        Some((subscription, stopped)),
        next,
    )))
}

/// The reason why a watch ends that could go on.
async fn stopped(context: Arc<ServerContext>, caller: Caller) -> Status {
    tokio::select! {
        () = drained(context.draining.clone()) => {
            Status::unavailable("the server is stopping; watch again once it is back")
        }
        () = context.access().ended(&caller) => {
            Status::unauthenticated("the credential of this watch has ended; watch again under another")
        }
    }
}

/// The reason why a watch ends whose events have ended.
fn too_slow(subscription: &Subscription) -> Status {
    if !subscription.was_dropped() {
        return Status::unavailable("the server is stopping; watch again once it is back");
    }
    let what = format!(
        "the watch was dropped: {WATCH_EVENTS_MAX} events waited for it to read them; watch again, with \
         from_position for those that are kept"
    );
    Refusal::new(Code::ResourceExhausted, "", what).into()
}
