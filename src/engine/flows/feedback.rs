//! FEEDBACK: hand it to the writer, acknowledge once it is on disk.
//!
//! Invariant: feedback that cannot be taken is refused at once; an acknowledgement means fsync is
//! done.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::engine::error::Error;
use crate::engine::host::room::EntryClass;
use crate::engine::host::served_model::ServedModel;
use crate::engine::host::work::{Acknowledgement, Work};
use crate::event::{Feedback, PredictionId};

/// The acknowledgement to come.
#[derive(Debug)]
pub struct Receipt {
    pub(crate) done: oneshot::Receiver<Result<Acknowledgement, Error>>,
}

impl Receipt {
    /// Waits for the disk.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the journal failed: nothing was acknowledged.
    /// [`Error::Full`] when as many feedback ids are remembered as may be. [`Error::NoPlace`]: others
    /// took the last places among the classes at the same time. [`Error::Gone`]: the prediction has
    /// made room for newer ones.
    pub async fn wait(self) -> Result<Acknowledgement, Error> {
        self.done.await.unwrap_or_else(|_| {
            Err(Error::Unavailable {
                model: String::new(),
                reason: "the writer has stopped".to_owned(),
            })
        })
    }
}

impl ServedModel {
    /// The position up to which everything is learned from, where no prediction of this id is
    /// known there; `None` where one is, and while there are entries to learn from.
    pub(crate) fn unknown_until(&self, id: PredictionId) -> Option<u64> {
        let runtime = self.get().ok()?;
        // A stream that keeps the learner at work is not to contend for it.
        if *runtime.serving().position().borrow() < runtime.progress().synced() {
            return None;
        }
        let learner = &runtime.try_lock_follower().ok()?.learner;
        learner.is_unknown(id).then(|| learner.position())
    }

    /// True unless [`ServedModel::accept`] refuses all feedback until the learner or the writer has caught up:
    /// a caller with more of it may wait, and ask again.
    pub(crate) fn has_room_for_feedback(&self) -> bool {
        self.get()
            .map_or(true, |runtime| runtime.has_room_for_feedback())
    }

    /// Hands validated feedback to the writer.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Unavailable`]: nothing was taken.
    pub fn accept(&self, feedback: Feedback) -> Result<Receipt, Error> {
        let runtime = self.get()?;
        runtime.check_open()?;
        runtime.check_lag()?;
        self.accept_waited(feedback)
    }

    /// Hands the writer feedback that was held until [`ServedModel::has_room_for_feedback`]: the entries that
    /// came in between do not refuse it.
    ///
    /// # Errors
    /// As [`ServedModel::accept`].
    pub(crate) fn accept_waited(&self, feedback: Feedback) -> Result<Receipt, Error> {
        let runtime = self.get()?;
        runtime.check_room(EntryClass::Feedback)?;
        let (reply, done) = oneshot::channel();
        runtime.send(Work::Feedback(feedback, reply, Instant::now()))?;
        Ok(Receipt { done })
    }
}
