//! QUARANTINE: list the feedback that waits for a person. To release or discard it is an order.
//!
//! Invariant: nothing is changed; the list is the one that the next order sees.

use crate::engine::error::Error;
use crate::engine::host::served_model::ServedModel;
use crate::event::{Feedback, Time};
use crate::learn::QuarantineCause;

/// A feedback event that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantinedFeedback {
    /// The position of the event in the journal.
    pub position: u64,
    /// The time at which it was accepted.
    pub time: Time,
    /// The reason why it waits.
    pub cause: QuarantineCause,
    /// The event.
    pub feedback: Feedback,
}

impl ServedModel {
    /// The feedback that waits to be released or discarded, the oldest first: `quarantine.waiting_max`
    /// events at most.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the model is not served. [`Error::Store`]: the journal cannot be read.
    pub fn quarantined(&self) -> Result<Vec<QuarantinedFeedback>, Error> {
        let runtime = self.get()?;
        let mut follower = runtime.lock_follower()?;
        let waiting: Vec<_> = follower.learner.quarantined().collect();
        let mut events = Vec::with_capacity(waiting.len());
        for one in waiting {
            let found = follower.lookup.feedback_at(one.position);
            let (time, feedback) = found.map_err(|error| error.of_request(self.name(), "model"))?;
            events.push(QuarantinedFeedback {
                position: one.position,
                time,
                cause: one.cause,
                feedback,
            });
        }
        Ok(events)
    }
}
