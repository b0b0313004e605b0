//! COMMAND: journal an operator's order, and wait until the learner has carried it out.
//!
//! Invariant: an order that cannot be carried out is refused before it is journaled.

use tokio::sync::oneshot;

use super::error::Error;
use super::hosted::Hosted;
use super::priority::Urgent;
use super::versions::Versions;
use super::writer::Work;
use crate::event::{Command, Order};
use crate::store::{Manifest, checkpoint};

/// What became of a command, or why nothing did.
pub(super) type Outcome = Result<Done, Error>;

/// A command that was carried out.
#[derive(Debug, Default)]
pub struct Done {
    /// The version that it made.
    pub version: u64,
    /// The positions of the feedback that it took back, rising.
    pub left_out: Vec<u64>,
}

/// The version that a command made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub version: u64,
    /// The position of its state.
    pub position: u64,
}

impl Hosted {
    /// Journals a command and waits until it has been carried out.
    ///
    /// # Errors
    /// What [`Hosted::check_restore`] gives for a restore; [`Error::Full`] and
    /// [`Error::Unavailable`] as for feedback; [`Error::Damaged`] if the version was made, but
    /// could not be saved.
    pub async fn command(&self, command: Command) -> Result<Made, Error> {
        let (position, done) = self.carry_out(command).await?;
        Ok(Made {
            version: done.version,
            position,
        })
    }

    /// The same, with the position of the command and all that it did.
    pub(super) async fn carry_out(&self, command: Command) -> Result<(u64, Done), Error> {
        let running = self.get()?;
        running.check_room()?;
        let restored = match command.order {
            Order::Restore { version } => Some(version),
            Order::Checkpoint | Order::Retract(_) | Order::Adopt(_) => None,
        };
        if let Some(version) = restored {
            // Until it is restored, the cadence may not remove it.
            running.versions.pin(version);
            let whole = tokio::task::block_in_place(|| self.check_restore(version));
            whole.inspect_err(|_| running.versions.unpin(version))?;
        }
        let urgent = Urgent::new(running);
        let (reply, done) = oneshot::channel();
        let sent = running.send(Work::Command(command, reply));
        sent.inspect_err(|_| restored.iter().for_each(|v| running.versions.unpin(*v)))?;
        let stopped = |_| running.unavailable("the writer has stopped");
        let position = done.await.map_err(stopped)??;
        // It goes on to its end, even where whoever asked has gone.
        let learned = tokio::task::spawn_blocking(move || urgent.learn_to(position));
        learned
            .await
            .map_err(|_| running.unavailable("the learner has panicked"))?;
        self.reach(position).await?;
        // The learner publishes a restored state before it saves it: its lock is free after both.
        let _saved = tokio::task::block_in_place(|| running.learning.lock());
        let outcomes = running.outcomes.lock();
        let outcome = outcomes.ok().and_then(|mut all| all.remove(&position));
        match outcome {
            Some(outcome) => Ok((position, outcome?)),
            None => Err(running.unavailable("the learner stopped before it obeyed")),
        }
    }

    /// The manifest of a version that could be restored now: all its files are whole.
    ///
    /// # Errors
    /// [`Error::NoVersion`] where there is none, [`Error::Damaged`] where a file is not
    /// what was written, [`Error::Refused`] where it holds feedback that was retracted.
    pub fn check_restore(&self, version: u64) -> Result<Manifest, Error> {
        let versions = self.saved()?;
        let damaged = |error: crate::store::Error| Error::Damaged {
            model: self.name().to_owned(),
            what: format!("version {version} cannot be restored: {error}"),
        };
        self.get()?.check_untainted(version)?;
        let position = versions.get(version)?.position;
        let checkpoint = checkpoint::load(&versions.folder, position);
        Ok(checkpoint.map_err(damaged)?.manifest)
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
            if let (None, Some(successor)) = (&damage, tainted.get(&manifest.version)) {
                *damage = Some(crate::learn::tainted(manifest.version, *successor));
            }
        }
        Ok(all)
    }

    /// Where this model's versions are, without waiting for the learner.
    fn saved(&self) -> Result<Versions, Error> {
        Ok(self.get()?.versions.clone())
    }
}
