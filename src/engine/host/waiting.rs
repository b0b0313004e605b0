//! Predictions that take no feedback any more, since newer ones wait in their places.
//!
//! Invariant: feedback for one that has made room, or makes room before it is learned, is refused
//! at once, never acknowledged.

use crate::engine::compute::serving::Snapshot;
use crate::engine::error::Error;
use crate::event::{Feedback, Prediction, PredictionId, Signal, Subject, Time};
use crate::learn::Arrivals;
use crate::model::Spec;

/// Predictions that are journaled and not learned from yet: each takes a place.
#[derive(Debug, Default)]
pub(crate) struct WaitingPlaces(Arrivals);

impl WaitingPlaces {
    /// Takes note of a prediction that is journaled now.
    pub(crate) fn note(&mut self, prediction: &Prediction, position: u64, served: u64) {
        self.0.pass(served);
        self.0.add(&prediction.ids, position);
    }

    /// Refuses feedback for a prediction that waits no more.
    pub(crate) fn check(
        &mut self,
        feedback: &Feedback,
        served: &Snapshot,
        now: Time,
    ) -> Result<(), Error> {
        let Subject::Prediction(id) = feedback.subject else {
            return Ok(());
        };
        self.0.pass(served.position);
        self.check_one(id, "prediction_id", served, now)?;
        match feedback.signal {
            Signal::PreferredOver(other) => self.check_one(other, "preferred_over", served, now),
            _ => Ok(()),
        }
    }

    fn check_one(
        &self,
        id: PredictionId,
        field: &'static str,
        served: &Snapshot,
        now: Time,
    ) -> Result<(), Error> {
        let spec = &served.model.spec;
        let evicted = served.evicted.contains(id, &self.0, spec.waiting_max);
        // One that is too old expires, by the description.
        if !evicted || is_too_old(id, spec, now) {
            return Ok(());
        }
        Err(Error::Gone {
            field,
            what: format!(
                "this prediction takes feedback no more: newer ones took its place, since {} may \
                 wait (feedback.waiting_max); send its inputs instead of its id",
                spec.waiting_max
            ),
        })
    }
}

/// True if a prediction takes no feedback because of its age; its id holds the time at which it was
/// made.
fn is_too_old(id: PredictionId, spec: &Spec, now: Time) -> bool {
    let made_ms = (id.0 >> 80) as i64;
    let age_max_ms = spec.journal.age_max_s as i64 * 1000;
    now.0 / 1000 - made_ms > age_max_ms
}
