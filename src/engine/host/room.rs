//! ROOM: how much of a journal and of the learner's queue each kind of entry may fill.
//!
//! Invariant: predictions never take what feedback needs, and neither takes what orders, ticks and
//! records of versions need. What is promised a place at the door has it in the journal.

use std::sync::atomic::Ordering::Relaxed;

use crate::engine::error::Error;
use crate::engine::host::bounds::Kind;
use crate::engine::host::served_model::ModelRuntime;
use crate::engine::host::write_queue::{message_bytes, prediction_bytes};
use crate::engine::host::writer::Work;
use crate::event::Prediction;
use crate::model::JournalLimits;
use crate::store::format::PAYLOAD_BYTES_MAX;

impl ModelRuntime {
    /// Hands a prediction to the writer, if it may be journaled now.
    pub fn journal_prediction(&self, prediction: Prediction) -> bool {
        // Half, since the journal adds lengths and shapes.
        let fits = prediction_bytes(&prediction) <= PAYLOAD_BYTES_MAX / 2;
        if self.check_open().is_err() || !fits {
            return false;
        }
        let served = self.serving.served();
        let limits = &served.model.spec.journal;
        if self.lag(served.position) >= limits.prediction_lag_max() {
            self.note_bound(Kind::Lag);
            return false;
        }
        let work = Work::Prediction(prediction);
        let bytes = message_bytes(&work) as u64;
        // Whoever asks at the same time sees what is promised here.
        let promised = self.promised_bytes.fetch_add(bytes, Relaxed) + bytes;
        let fits = self.journal_bytes.load(Relaxed) + promised <= limits.prediction_bytes_max();
        let handed = fits && self.write_queue.offer(self.index, work).is_ok();
        if !handed {
            self.promised_bytes.fetch_sub(bytes, Relaxed);
            self.note_bound(match fits {
                true => Kind::WriteQueue,
                false => Kind::PredictionBytes,
            });
        }
        handed
    }

    /// Whether feedback can be taken now.
    pub fn check_feedback_room(&self) -> Result<(), Error> {
        self.check_open()?;
        let served = self.serving.served();
        let limits = &served.model.spec.journal;
        let lag = self.lag(served.position);
        if lag >= limits.lag_max {
            let what = format!("the learner is {lag} entries behind");
            return Err(self.full(Kind::Lag, what));
        }
        self.check_bytes(
            self.journal_bytes.load(Relaxed),
            limits.feedback_bytes_max(),
        )
    }

    /// Whether an order can be taken now.
    pub fn check_room(&self) -> Result<(), Error> {
        self.check_open()?;
        let limits = &self.serving.served().model.spec.journal;
        self.check_bytes(self.journal_bytes.load(Relaxed), limits.bytes_max)
    }

    /// Whether so many bytes are within a share of the journal.
    pub fn check_bytes(&self, bytes: u64, max: u64) -> Result<(), Error> {
        match bytes < max {
            true => Ok(()),
            false => {
                let how = self.how_to_get_room();
                let what = format!("the journal holds {bytes} of {max} bytes; {how}");
                Err(self.full(Kind::FeedbackBytes, what))
            }
        }
    }

    /// What gives room in the journal back.
    pub fn how_to_get_room(&self) -> String {
        let JournalLimits {
            age_max_s,
            retract_within_s,
            ..
        } = self.serving.served().model.spec.journal;
        format!(
            "entries go once they are older than journal.age_max ({age_max_s} s) and \
             journal.retract_within ({retract_within_s} s); for more room, perennial limits {} \
             --bytes-max SIZE or --retract-within TIME",
            self.name
        )
    }

    fn check_open(&self) -> Result<(), Error> {
        match self.closed.get() {
            Some(reason) => Err(self.unavailable(reason)),
            None if self.stalled.load(Relaxed) => Err(self.stall()),
            None => Ok(()),
        }
    }

    /// What is said while the next segment of the journal cannot be made.
    pub fn stall(&self) -> Error {
        let why = self.stall.lock().expect("nothing panics under it").clone();
        Error::Full {
            model: self.name.clone(),
            what: format!("{why}; it is tried again: see to descriptors and room on the disk"),
        }
    }

    /// How many entries what is served is behind.
    pub fn lag(&self, served: u64) -> u64 {
        self.synced.load(Relaxed).saturating_sub(served)
    }

    /// The refusal that names the bound.
    pub fn full(&self, kind: Kind, what: String) -> Error {
        self.note_bound(kind);
        Error::Full {
            model: self.name.clone(),
            what,
        }
    }

    /// Hands work to the writer.
    pub fn send(&self, work: Work) -> Result<(), Error> {
        let offered = self.write_queue.offer(self.index, work);
        let what = || "the writer's queue is full".to_owned();
        offered.map_err(|_| self.full(Kind::WriteQueue, what()))
    }
}
