//! FEEDBACK: hand it to the writer, acknowledge once it is on disk.
//!
//! Invariant: what cannot be taken is refused at once; an acknowledgement means fsync is done.

use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::oneshot;

use super::error::Error;
use super::hosted::{Hosted, Running};
use super::writer::Work;
use crate::event::Feedback;

/// What became of an event at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk, and will be learned.
    Accepted {
        /// Where it stands.
        position: u64,
    },
    /// It had come before.
    Duplicate {
        /// Where the first one stands.
        position: u64,
    },
    /// It had come before, and was taken back since: it is not learned again under this id.
    Retracted {
        /// Where the first one stands.
        position: u64,
    },
}

/// The acknowledgement to come.
#[derive(Debug)]
pub struct Receipt {
    pub(super) done: oneshot::Receiver<Result<Accepted, Error>>,
}

impl Receipt {
    /// Waits for the disk.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the journal failed: nothing was acknowledged.
    /// [`Error::Full`] when as many feedback ids are remembered as may be. [`Error::Refused`]: others
    /// took the last places among the classes at the same time.
    pub async fn wait(self) -> Result<Accepted, Error> {
        self.done.await.unwrap_or_else(|_| {
            Err(Error::Unavailable {
                model: String::new(),
                reason: "the writer has stopped".to_owned(),
            })
        })
    }
}

impl Hosted {
    /// Hands validated feedback to the writer.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Unavailable`]: nothing was taken.
    pub fn accept(&self, feedback: Feedback) -> Result<Receipt, Error> {
        let running = self.get()?;
        running.check_room()?;
        let (reply, done) = oneshot::channel();
        running.send(Work::Feedback(feedback, reply))?;
        Ok(Receipt { done })
    }
}

impl Running {
    /// Whether feedback and commands can be taken now.
    pub fn check_room(&self) -> Result<(), Error> {
        if let Some(reason) = self.closed.get() {
            return Err(self.unavailable(reason));
        }
        let full = |what: String| {
            Err(Error::Full {
                model: self.name.clone(),
                what,
            })
        };
        if self.stalled.load(Relaxed) {
            return Err(self.stall());
        }
        let served = self.registry.served();
        let limits = &served.model.spec.journal;
        let lag = self.synced.load(Relaxed).saturating_sub(served.position);
        if lag >= limits.lag_max {
            return full(format!("the learner is {lag} entries behind"));
        }
        let bytes = self.journal_bytes.load(Relaxed);
        if bytes >= limits.bytes_max {
            let max = limits.bytes_max;
            return full(format!("the journal holds {bytes} of {max} bytes"));
        }
        Ok(())
    }

    /// What is said while the next segment of the journal cannot be made.
    pub fn stall(&self) -> Error {
        let why = self.stall.lock().expect("nothing panics under it").clone();
        Error::Full {
            model: self.name.clone(),
            what: format!("{why}; it is tried again: see to descriptors and room on the disk"),
        }
    }

    /// Hands work to the writer.
    pub fn send(&self, work: Work) -> Result<(), Error> {
        let offered = self.outbox.offer(self.index, work);
        offered.map_err(|_| Error::Full {
            model: self.name.clone(),
            what: "the writer's queue is full".to_owned(),
        })
    }
}
