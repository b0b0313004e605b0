//! PROMOTE and the other orders about evidence: the names in them are looked up before they are journaled.
//!
//! Invariant: a promotion names the contender and the digest of its weights, so that it is of these weights
//! alone, whatever is derived again later.

use crate::engine::error::Error;
use crate::engine::flows::command::NewVersion;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::served_model::ServedModel;
use crate::event::{Command, Order};
use crate::learn::{IncidentState, Learner};

impl ServedModel {
    /// Makes the contender the champion; a version that is named has to be the contender.
    ///
    /// # Errors
    /// [`Error::NotNow`]: no contender is tested; [`Error::Refused`]: another one is; and those of
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

/// The sentence that refuses a freeze of a frozen model.
pub const FROZEN_ALREADY: &str = "it is frozen already";

impl ModelRuntime {
    /// Refuses an order about incidents or a freeze that would change nothing.
    pub(crate) fn check_order(&self, order: &Order) -> Result<(), Error> {
        let (Order::Freeze | Order::Resume | Order::Acknowledge { .. } | Order::Close { .. }) =
            order
        else {
            return Ok(());
        };
        let follower = self.lock_follower()?;
        let learner = &follower.learner;
        if learner.champion().is_none() {
            return Ok(());
        }
        let not_now = |field, what: &str| {
            let what = what.to_owned();
            Err(Error::NotNow { field, what })
        };
        match order {
            Order::Freeze if learner.is_frozen() => {
                let what = format!("{FROZEN_ALREADY}: examples are scored and not learned");
                not_now("model", &what)
            }
            Order::Resume if !learner.is_frozen() => {
                not_now("model", "it is not frozen: examples are learned")
            }
            Order::Acknowledge { incident } | Order::Close { incident } => {
                let incidents = learner.incidents().iter();
                let mut of_entry = incidents.filter(|one| one.position == *incident).peekable();
                if of_entry.peek().is_none() {
                    return Err(Error::NoIncident {
                        model: self.name().to_owned(),
                        incident: *incident,
                    });
                }
                if of_entry.all(|one| one.state == IncidentState::Closed) {
                    return not_now("incident", &format!("incident {incident} is closed"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The contender with its digest, if it is the version that is wanted. One that nothing was scored on yet
/// has to be named.
fn contender(learner: &Learner, wanted: Option<u64>) -> Result<(u64, blake3::Hash), Error> {
    let not_now = |what: String| Error::NotNow {
        field: "version",
        what,
    };
    let contender = learner.contender().zip(learner.contender_digest());
    let Some(((version, _), digest)) = contender else {
        let next = match learner.next_contender() {
            Some(example) => format!("the next is taken at example {example}"),
            None => "none is taken while the model is frozen".to_owned(),
        };
        return Err(not_now(format!("no contender is tested by now; {next}")));
    };
    let labels = learner.promotion_evidence().map_or(0, |one| one.labels);
    match wanted {
        Some(wanted) if wanted != version => Err(Error::Refused {
            field: "version",
            what: format!("version {wanted} is not the contender; version {version} is"),
        }),
        None if labels == 0 => Err(not_now(format!(
            "contender {version} was scored on no label yet; pass its number to promote it without labels"
        ))),
        _ => Ok((version, digest)),
    }
}
