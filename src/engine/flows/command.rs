//! COMMAND: journal an operator's order, and wait until the learner has carried it out.
//!
//! Invariant: an order that cannot be carried out is refused before it is journaled.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::error::Error;
use crate::engine::host::priority::Urgent;
use crate::engine::host::served_model::{ModelRuntime, ServedModel};
use crate::engine::host::writer::Work;
use crate::engine::versions::saved::Versions;
use crate::event::Command;
use crate::store::Manifest;

/// What became of a command, or why nothing did.
pub(crate) type Outcome = Result<Done, Error>;

/// A command that was carried out.
#[derive(Debug, Default)]
pub struct Done {
    /// The version that it made.
    pub version: u64,
    /// The positions of the feedback that it took back, rising.
    pub excluded: Vec<u64>,
}

/// The version that a command made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub version: u64,
    /// The position of its state.
    pub position: u64,
}

impl ServedModel {
    /// Journals a command and waits until it has been carried out.
    ///
    /// # Errors
    /// What [`ServedModel::check_restore`] gives for a restore; [`Error::Full`] and
    /// [`Error::Unavailable`] as for feedback; [`Error::Damaged`] if the version was made, but
    /// could not be saved.
    pub async fn command(&self, command: Command) -> Result<Made, Error> {
        let (position, done) = self.get()?.carry_out(command).await?;
        Ok(Made {
            version: done.version,
            position,
        })
    }

    /// The manifest of a version that could be restored now: all its files are whole.
    ///
    /// # Errors
    /// [`Error::NoVersion`] where there is none, [`Error::NoLongerKept`] where there was one,
    /// [`Error::Damaged`] where a file is not
    /// what was written, [`Error::Refused`] where it holds feedback that was retracted.
    pub fn check_restore(&self, version: u64) -> Result<Manifest, Error> {
        self.get()?.check_restore(version)
    }

    /// Every version, each with why it cannot be restored, if it cannot.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn versions(&self) -> Result<Vec<(Manifest, Option<String>)>, Error> {
        let tainted = self
            .get()?
            .tainted
            .lock()
            .expect("nothing panics under it")
            .clone();
        let mut all = self.saved()?.all()?;
        for (manifest, damage) in &mut all {
            if damage.is_none() {
                *damage = tainted.refusal(manifest.version);
            }
        }
        Ok(all)
    }

    /// Where this model's versions are, without waiting for the learner.
    fn saved(&self) -> Result<Versions, Error> {
        Ok(self.get()?.versions.clone())
    }
}

impl ModelRuntime {
    /// Journals a command and waits until it has been carried out: gives its position and all that
    /// it did. Once it is journaled it is carried out, whether anybody waits or not.
    pub async fn carry_out(
        self: &Arc<ModelRuntime>,
        command: Command,
    ) -> Result<(u64, Done), Error> {
        let (position, urgent) = self.journal(command).await?;
        // It goes on to its end, even where whoever asked has gone.
        let learned = tokio::task::spawn_blocking(move || urgent.learn_to(position));
        learned
            .await
            .map_err(|_| self.unavailable("the learner has panicked"))?;
        self.wait_for_position(position).await?;
        Ok((position, self.outcome(position)?))
    }

    /// Journals a command that can be carried out by now: gives its position, once it is synced,
    /// and the means to learn up to it.
    pub async fn journal(
        self: &Arc<ModelRuntime>,
        command: Command,
    ) -> Result<(u64, Urgent), Error> {
        self.check_room()?;
        let restored = command.order.restored();
        if let Some(version) = restored {
            // Until it is restored, the cadence may not remove it.
            self.versions.pin(version);
            let whole = tokio::task::block_in_place(|| self.check_restore(version));
            whole.inspect_err(|_| self.versions.unpin(version))?;
        }
        let urgent = Urgent::new(self);
        let unpin = |_: &Error| restored.iter().for_each(|v| self.versions.unpin(*v));
        let (reply, done) = oneshot::channel();
        let sent = self.send(Work::Command(command, reply));
        sent.inspect_err(unpin)?;
        let stopped = |_| self.unavailable("the writer has stopped");
        let journaled = done.await.map_err(stopped).flatten();
        Ok((journaled.inspect_err(unpin)?, urgent))
    }

    /// What became of the command at a position that has been reached.
    pub fn outcome(&self, position: u64) -> Outcome {
        // The learner publishes a restored state before it saves it: its lock is free after both.
        let _saved = tokio::task::block_in_place(|| self.follower.lock());
        let outcomes = self.outcomes.lock();
        let outcome = outcomes.ok().and_then(|mut all| all.remove(&position));
        outcome.unwrap_or_else(|| Err(self.unavailable("the learner stopped before it obeyed")))
    }

    fn check_restore(&self, version: u64) -> Result<Manifest, Error> {
        let damaged = |error: crate::store::Error| Error::Damaged {
            model: self.name.clone(),
            what: format!("version {version} cannot be restored: {error}"),
        };
        self.check_untainted(version)?;
        // Every version is served once it is made.
        let newest = self.serving.served().version;
        let position = self.versions.get(version, newest)?.position;
        let checkpoint = self.versions.read(position);
        Ok(checkpoint.map_err(damaged)?.manifest)
    }
}
