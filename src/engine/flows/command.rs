//! COMMAND: journal an operator's order, and wait until the learner has carried it out.
//!
//! Invariant: an order that cannot be carried out is refused before it is journaled.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::error::Error;
use crate::engine::host::learning::UrgentOrder;
use crate::engine::host::orders::{Done, OrderResult};
use crate::engine::host::room::EntryClass;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::served_model::ServedModel;
use crate::engine::host::work::Work;
use crate::engine::versions::saved::Versions;
use crate::event::{Command, Order, check_alias};
use crate::store::Manifest;

/// The version that a command made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewVersion {
    /// Its number.
    pub version: u64,
    /// The position of its state.
    pub position: u64,
}

impl ServedModel {
    /// Journals a command and waits until it has been carried out.
    ///
    /// # Errors
    /// Those of [`ServedModel::check_restore`] for a restore; [`Error::Full`] and
    /// [`Error::Unavailable`] as for feedback; [`Error::Damaged`] if the version was made, but
    /// could not be saved.
    pub async fn command(&self, command: Command) -> Result<NewVersion, Error> {
        let (position, done) = self.get()?.carry_out(command).await?;
        Ok(NewVersion {
            version: done.version,
            position,
        })
    }

    /// The manifest of a version that could be restored now: all its files are whole.
    ///
    /// # Errors
    /// [`Error::NoVersion`] where there is none, [`Error::NoLongerKept`] where there was one,
    /// [`Error::Damaged`] where a file is not
    /// the written one, [`Error::Refused`] where it holds feedback that was retracted.
    pub fn check_restore(&self, version: u64) -> Result<Manifest, Error> {
        self.get()?.check_restore(version)
    }

    /// Every version, each with why it cannot be restored, if it cannot.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn versions(&self) -> Result<Vec<(Manifest, Option<String>)>, Error> {
        let tainted = self.get()?.retractions().tainted();
        let mut all = self.saved()?.all()?;
        for (manifest, damage) in &mut all {
            if damage.is_none() {
                *damage = tainted.refusal(manifest.version);
            }
        }
        Ok(all)
    }

    /// The saved versions of this model, without waiting for the learner.
    fn saved(&self) -> Result<Versions, Error> {
        Ok(self.get()?.versions().clone())
    }
}

impl ModelRuntime {
    /// Journals a command and waits until it has been carried out: gives its position and all that
    /// it did. Once it is journaled it is carried out, whether a caller waits or not.
    pub(crate) async fn carry_out(
        self: &Arc<ModelRuntime>,
        command: Command,
    ) -> Result<(u64, Done), Error> {
        self.check_room(EntryClass::Order)?;
        check_name(&command.order)?;
        let pinned = match command.order.needed() {
            Some(version) => Some(self.pin_whole(version).await?),
            None => None,
        };
        if command.order.is_of_gate() {
            let order = command.order.clone();
            let checked = self.run_blocking(move |runtime| runtime.check_order(&order));
            checked.await?;
        }
        let (position, urgent) = self.journal(command, pinned).await?;
        let learned = self.run_blocking(move |_| {
            urgent.learn_to(position);
            Ok(())
        });
        learned.await?;
        self.wait_for_position(position).await?;
        let outcome = self.run_blocking(move |runtime| runtime.outcome(position));
        Ok((position, outcome.await?))
    }

    /// Pins a version that can be restored.
    async fn pin_whole(self: &Arc<ModelRuntime>, version: u64) -> Result<Pin, Error> {
        let pinned = self.run_blocking(move |runtime| {
            let pin = Pin::new(runtime, version);
            runtime.check_restore(version)?;
            Ok(pin)
        });
        pinned.await
    }

    /// Journals a command that can be carried out by now: gives its position, once it is synced,
    /// and the means to learn up to it. A pin of the version that it restores is the learner's to
    /// release from there on.
    pub(crate) async fn journal(
        self: &Arc<ModelRuntime>,
        command: Command,
        pinned: Option<Pin>,
    ) -> Result<(u64, UrgentOrder), Error> {
        self.check_room(EntryClass::Order)?;
        let urgent = UrgentOrder::new(self);
        let (reply, done) = oneshot::channel();
        self.send(Work::Command(command, reply))?;
        let restored = pinned.map(Pin::hand_over);
        let stopped = |_| self.unavailable("the writer has stopped");
        let journaled = done.await.map_err(stopped).flatten();
        let unpin = |_: &Error| restored.iter().for_each(|v| self.versions().unpin(*v));
        Ok((journaled.inspect_err(unpin)?, urgent))
    }

    /// The outcome of the command at a position that has been reached. Waits for the follower.
    pub(crate) fn outcome(&self, position: u64) -> OrderResult {
        // A restored state is published before it is saved: the follower is free after both.
        let _saved = self.lock_follower();
        let outcome = self.orders().take(position);
        outcome.unwrap_or_else(|| {
            Err(self.unavailable("the learner stopped before it carried out the order"))
        })
    }

    fn check_restore(&self, version: u64) -> Result<Manifest, Error> {
        let damaged = |error: crate::store::Error| Error::Damaged {
            model: self.name().to_owned(),
            what: format!("version {version} cannot be restored: {error}"),
        };
        self.check_untainted(version)?;
        // Every version is served once it is made.
        let newest = self.serving().served().version;
        let manifest = self.versions().get(version, newest)?;
        let checkpoint = self.versions().read_version(&manifest);
        Ok(checkpoint.map_err(damaged)?.manifest)
    }
}

/// Refuses an alias that cannot be one.
fn check_name(order: &Order) -> Result<(), Error> {
    let Order::SetAlias { alias, .. } = order else {
        return Ok(());
    };
    check_alias(alias).map_err(|what| Error::Refused {
        field: "alias",
        what: format!("\"{alias:.64}\": {what}"),
    })
}

/// A version that the cadence may not remove: it is to be restored, or named.
pub(crate) struct Pin {
    runtime: Arc<ModelRuntime>,
    version: u64,
    /// True once the pin is the learner's to release.
    handed_over: bool,
}

impl Pin {
    fn new(runtime: &Arc<ModelRuntime>, version: u64) -> Pin {
        runtime.versions().pin(version);
        Pin {
            runtime: runtime.clone(),
            version,
            handed_over: false,
        }
    }

    /// Hands the pinned version over to the learner, which unpins it once it has restored it.
    fn hand_over(mut self) -> u64 {
        self.handed_over = true;
        self.version
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if !self.handed_over {
            self.runtime.versions().unpin(self.version);
        }
    }
}
