//! FEEDBACK: hand it to the writer, acknowledge once it is on disk.
//!
//! Invariant: feedback that cannot be taken is refused at once; an acknowledgement means fsync is
//! done.

use tokio::sync::oneshot;

use crate::engine::error::Error;
use crate::engine::host::room::EntryClass;
use crate::engine::host::served_model::ServedModel;
use crate::engine::host::work::{Accepted, Work};
use crate::event::{Feedback, PredictionId};

/// The acknowledgement to come.
#[derive(Debug)]
pub struct Receipt {
    pub(crate) done: oneshot::Receiver<Result<Accepted, Error>>,
}

impl Receipt {
    /// Waits for the disk.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the journal failed: nothing was acknowledged.
    /// [`Error::Full`] when as many feedback ids are remembered as may be. [`Error::NoPlace`]: others
    /// took the last places among the classes at the same time. [`Error::Gone`]: the prediction has
    /// made room for newer ones.
    pub async fn wait(self) -> Result<Accepted, Error> {
        self.done.await.unwrap_or_else(|_| {
            Err(Error::Unavailable {
                model: String::new(),
                reason: "the writer has stopped".to_owned(),
            })
        })
    }
}

impl ServedModel {
    /// True if it is known by now that feedback which stands at `position` ends as unmatched: every
    /// entry before it is learned from, and none is a prediction of this id.
    pub fn is_unmatched(&self, id: PredictionId, position: u64) -> bool {
        let Ok(runtime) = self.get() else {
            return false;
        };
        let served = runtime.serving.served().position;
        served + 1 >= position
            && runtime.try_lock_follower().is_ok_and(|follower| {
                let learner = &follower.learner;
                learner.position() + 1 >= position && learner.is_unknown(id)
            })
    }

    /// Hands validated feedback to the writer.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Unavailable`]: nothing was taken.
    pub fn accept(&self, feedback: Feedback) -> Result<Receipt, Error> {
        let runtime = self.get()?;
        runtime.check_room(EntryClass::Feedback)?;
        let (reply, done) = oneshot::channel();
        runtime.send(Work::Feedback(feedback, reply))?;
        Ok(Receipt { done })
    }
}
