//! The stream of learning events.
//!
//! Invariant: it waits for events and for nothing else; a reader that does not keep up gets what was kept for
//! it and then one sentence.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tonic::{Code, Status};

use super::context::{ServerContext, drained};
use super::wire::{self, Refusal};
use crate::engine::{Subscription, WATCH_EVENTS_MAX, WatchError};
use crate::proto::perennial::v1::{LearningEvent, WatchRequest};

pub(super) type LearningEvents = Pin<Box<dyn Stream<Item = Result<LearningEvent, Status>> + Send>>;

/// The events that a request asks for, until the server drains.
pub(super) fn watch(
    context: &Arc<ServerContext>,
    request: &WatchRequest,
) -> Result<LearningEvents, Refusal> {
    let WatchRequest {
        model,
        from_position,
    } = request;
    let from_position = (*from_position > 0).then_some(*from_position);
    if !model.is_empty() {
        context.model(model)?;
    } else if from_position.is_some() {
        let what = "from_position: positions are of one model; name it as model";
        return Err(Refusal::invalid("from_position", what));
    }
    let subscription = context.engine.watch(model, from_position);
    let subscription = subscription.map_err(|error| match error {
        WatchError::TooMany => Refusal::new(Code::ResourceExhausted, "", error.to_string()),
        WatchError::NotKept { .. } => Refusal::invalid("from_position", error.to_string()),
    })?;
    let drained = Box::pin(drained(context.draining.clone()));
    let next = async |state: Option<(Subscription, _)>| {
        let (mut subscription, mut drained) = state?;
        let event = tokio::select! {
            biased;
            event = subscription.next() => event,
            () = &mut drained => {
                let stopping = Status::unavailable("the server is stopping; watch again once it is back");
                return Some((Err(stopping), None));
            }
        };
        match event {
            Some(event) => Some((
                Ok(wire::learning_event(&event)),
                Some((subscription, drained)),
            )),
            None => Some((Err(too_slow(&subscription)), None)),
        }
    };
    Ok(Box::pin(stream::unfold(
        Some((subscription, drained)),
        next,
    )))
}

/// Why a watch ends whose events have ended.
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
