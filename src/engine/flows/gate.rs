//! PROMOTE and the other orders about evidence: what they name is looked up before they are journaled.
//!
//! Invariant: a promotion names the contender and the digest of its weights, so that it is of these weights
//! alone, whatever is derived again later.

use crate::engine::error::Error;
use crate::engine::flows::command::NewVersion;
use crate::engine::host::served_model::ServedModel;
use crate::event::{Command, Order};
use crate::learn::Learner;

impl ServedModel {
    /// Makes the contender the champion; a version that is named has to be the contender.
    ///
    /// # Errors
    /// [`Error::Refused`]: no contender is tested, or another one; and those of
    /// [`ServedModel::command`].
    pub async fn promote(
        &self,
        version: Option<u64>,
        (actor, note): (String, String),
    ) -> Result<NewVersion, Error> {
        let found = self.get()?.run_blocking(move |runtime| {
            let follower = runtime.lock_follower()?;
            contender(&follower.learner, version)
        });
        let (version, digest) = found.await?;
        let order = Order::Promote { version, digest };
        let command = Command { order, actor, note };
        let done = self.command(command).await?;
        Ok(NewVersion { version, ..done })
    }
}

/// The contender with its digest, if it is the version that is wanted.
fn contender(learner: &Learner, wanted: Option<u64>) -> Result<(u64, [u8; 32]), Error> {
    let refused = |what: String| Error::Refused {
        field: "version",
        what,
    };
    let contender = learner.contender().zip(learner.contender_digest());
    let Some(((version, _), digest)) = contender else {
        return Err(refused(
            "no contender is tested by now; the next is taken as more examples come".to_owned(),
        ));
    };
    match wanted {
        Some(wanted) if wanted != version => Err(refused(format!(
            "version {wanted} is not the contender; version {version} is"
        ))),
        _ => Ok((version, digest)),
    }
}
