//! ROOM: how much of a journal and of the learner's queue each kind of entry may fill.
//!
//! Invariant: predictions never take the room that feedback needs, and neither takes that of
//! orders, ticks and records of versions. A prediction that was promised room has it in the journal.

use crate::engine::error::Error;
use crate::engine::host::bounds::BoundKind;
use crate::engine::host::health::EntryReadiness;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::work::{Work, message_bytes, prediction_bytes};
use crate::event::Prediction;
use crate::model::JournalLimits;
use crate::store::format::PAYLOAD_BYTES_MAX;

/// The entries that a request waits for, by the room that the journal keeps for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryClass {
    Feedback,
    /// Orders have a reserve that feedback cannot use.
    Order,
    /// Orders that change the limits have one that others cannot use.
    Limits,
}

impl ModelRuntime {
    /// Hands a prediction to the writer, if it may be journaled now.
    pub(crate) fn journal_prediction(&self, prediction: Prediction) -> bool {
        // Half, since the journal adds lengths and shapes.
        let fits = prediction_bytes(&prediction) <= PAYLOAD_BYTES_MAX / 2;
        if self.check_open().is_err() || !fits {
            return false;
        }
        let served = self.serving().served();
        let limits = &served.model.spec.journal;
        if self.progress().backlog(served.position) >= limits.prediction_lag_max() {
            self.bound_counts().count(BoundKind::Lag);
            return false;
        }
        let work = Work::Prediction(prediction);
        let bytes = message_bytes(&work) as u64;
        if !self.metrics().promise(bytes, limits.prediction_bytes_max()) {
            self.bound_counts().count(BoundKind::PredictionBytes);
            return false;
        }
        let handed = self.write_queue().offer(work).is_ok();
        if !handed {
            self.metrics().end_promise(bytes);
            self.bound_counts().count(BoundKind::WriteQueue);
        }
        handed
    }

    /// Checks that an entry of this class can be taken now.
    pub(crate) fn check_room(&self, class: EntryClass) -> Result<(), Error> {
        self.check_open()?;
        self.check_bytes(class, self.metrics().bytes())
    }

    /// Checks that the learner is not too far behind for more feedback.
    pub(crate) fn check_lag(&self) -> Result<(), Error> {
        let served = self.serving().served();
        let lag = self.progress().backlog(served.position);
        if lag < served.model.spec.journal.lag_max {
            return Ok(());
        }
        let what = format!("the learner is {lag} entries behind");
        Err(self.full(BoundKind::Lag, what))
    }

    /// True unless feedback is refused for now: the learner is too far behind, or the writer's queue is full.
    pub(crate) fn has_room_for_feedback(&self) -> bool {
        if self.health().intake() != EntryReadiness::Open {
            return true;
        }
        let served = self.serving().served();
        let lag_max = served.model.spec.journal.lag_max;
        if self.progress().backlog(served.position) >= lag_max {
            self.bound_counts().count(BoundKind::Lag);
            return false;
        }
        let has_room = self.write_queue().has_room_for_feedback();
        if !has_room {
            self.bound_counts().count(BoundKind::WriteQueue);
        }
        has_room
    }

    /// Checks that a journal of so many bytes has room for an entry of this class.
    pub(crate) fn check_bytes(&self, class: EntryClass, bytes: u64) -> Result<(), Error> {
        let served = self.serving().served();
        let limits = &served.model.spec.journal;
        let max = match class {
            EntryClass::Feedback => limits.feedback_bytes_max(),
            EntryClass::Order => limits.order_bytes_max(),
            EntryClass::Limits => limits.bytes_max,
        };
        if bytes < max {
            return Ok(());
        }
        let how = self.how_to_get_room();
        let what = format!("the journal holds {bytes} of {max} bytes; {how}");
        let kind = match class {
            EntryClass::Feedback => BoundKind::FeedbackBytes,
            EntryClass::Order | EntryClass::Limits => BoundKind::OrderBytes,
        };
        Err(self.full(kind, what))
    }

    /// The advice to an operator about room in the journal.
    pub(crate) fn how_to_get_room(&self) -> String {
        let JournalLimits {
            age_max_s,
            retract_within_s,
            ..
        } = self.serving().served().model.spec.journal;
        format!(
            "entries go once they are older than journal.age_max ({age_max_s} s) and \
             journal.retract_within ({retract_within_s} s); for more room, perennial limits {} \
             --bytes-max SIZE or --retract-within TIME",
            self.name()
        )
    }

    /// Checks that the journal takes entries that a request waits for.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match self.health().intake() {
            EntryReadiness::Open => Ok(()),
            EntryReadiness::Stalled(why) => Err(self.stalled(&why)),
            EntryReadiness::Closed(why) => Err(self.unavailable(&why)),
        }
    }

    /// The refusal while the next segment of the journal cannot be made.
    pub(crate) fn stalled(&self, why: &str) -> Error {
        Error::Full {
            model: self.name().to_owned(),
            what: format!("{why}; it is tried again: see to descriptors and room on the disk"),
        }
    }

    /// The refusal that names the bound, which is counted.
    pub(crate) fn full(&self, kind: BoundKind, what: String) -> Error {
        self.bound_counts().count(kind);
        Error::Full {
            model: self.name().to_owned(),
            what,
        }
    }

    /// Hands work to the writer.
    pub(crate) fn send(&self, work: Work) -> Result<(), Error> {
        let offered = self.write_queue().offer(work);
        let what = || "the writer's queue is full".to_owned();
        offered.map_err(|_| self.full(BoundKind::WriteQueue, what()))
    }
}
