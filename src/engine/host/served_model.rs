//! One model of the folder, as requests and services see it.
//!
//! Invariant: a model that could not be recovered answers every request with the reason.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::engine::compute::serving::Snapshot;
use crate::engine::error::Error;
use crate::engine::host::runtime::ModelRuntime;
use crate::event::Time;
use crate::model::{PublishPolicy, Spec};

/// A model of the folder, whether it can be served or not.
pub struct ServedModel {
    name: String,
    state: Availability,
}

enum Availability {
    Available(Arc<ModelRuntime>),
    /// The model could not be recovered, for this reason.
    Unavailable(String),
}

impl ServedModel {
    pub(crate) fn available(name: &str, runtime: Arc<ModelRuntime>) -> ServedModel {
        ServedModel {
            name: name.to_owned(),
            state: Availability::Available(runtime),
        }
    }

    pub(crate) fn unavailable(name: &str, reason: String) -> ServedModel {
        ServedModel {
            name: name.to_owned(),
            state: Availability::Unavailable(reason),
        }
    }

    /// Entries that were read of its journal besides those of the learner.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    #[doc(hidden)]
    pub fn entries_read(&self) -> Result<u64, Error> {
        Ok(self.get()?.versions().entries_read.load(Relaxed))
    }

    /// Snapshots that were read because a request named a version that does not serve.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    #[doc(hidden)]
    pub fn snapshots_read(&self) -> Result<u64, Error> {
        Ok(self.get()?.serving().n_read())
    }

    /// Its name: the name of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn get(&self) -> Result<&Arc<ModelRuntime>, Error> {
        match &self.state {
            Availability::Available(runtime) => Ok(runtime),
            Availability::Unavailable(reason) => Err(Error::Unavailable {
                model: self.name.clone(),
                reason: reason.clone(),
            }),
        }
    }

    /// The description in force.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn spec(&self) -> Result<Arc<Spec>, Error> {
        Ok(self.get()?.serving().served().model.spec.clone())
    }

    /// Journal time and the time of the wall clock, now; the earlier first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn times(&self) -> Result<(Time, Time), Error> {
        let (journal, wall) = self.get()?.clock().both();
        Ok((journal.min(wall), journal.max(wall)))
    }

    /// The clock that entries are dated by, and its distance from the machine's, as a sentence.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn clock_note(&self) -> Result<String, Error> {
        let (ahead_us, _) = self.get()?.clock().offset();
        let seconds = ahead_us.unsigned_abs() / 1_000_000;
        Ok(match ahead_us {
            _ if seconds == 0 => "the journal's clock, which agrees with this machine's".to_owned(),
            1.. => format!("the journal's clock, {seconds} s behind this machine's"),
            _ => format!("the journal's clock, {seconds} s ahead of this machine's"),
        })
    }

    /// The snapshot that answers a request for `version`: empty for the one that the policy serves,
    /// an alias, or the number of the version being served.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::UnknownVersion`].
    pub fn snapshot(&self, version: &str) -> Result<Arc<Snapshot>, Error> {
        let served = self.get()?.serving().served();
        // A model that does not serve gives no answers: they would stand on weights that nothing
        // confirmed.
        let serves = match served.model.spec.publish.policy {
            PublishPolicy::Live => "candidate",
            PublishPolicy::Gated | PublishPolicy::Manual => "champion",
        };
        match version {
            "" => Ok(served),
            alias if alias == serves => Ok(served.of_one_side()),
            number if number.parse() == Ok(served.version) => Ok(served.of_one_side()),
            other => Err(Error::UnknownVersion {
                model: self.name.clone(),
                version: other.to_owned(),
                served: served.version,
            }),
        }
    }

    /// The snapshot of a version: also of the side that does not serve, `champion` or `candidate`, and of a
    /// version that an alias names, which may wait for the learner and read the version. Its answers are not
    /// journaled, so that they take no feedback.
    ///
    /// # Errors
    /// As [`ServedModel::snapshot`]; [`Error::Refused`] and [`Error::Damaged`] where the version that an alias
    /// names cannot answer.
    pub async fn snapshot_of(&self, version: &str) -> Result<Arc<Snapshot>, Error> {
        let runtime = self.get()?;
        let served = runtime.serving().served();
        if let Some(named) = served.aliases.get(version) {
            return named_version(runtime, version, *named).await;
        }
        let is_live = served.model.spec.publish.policy == PublishPolicy::Live;
        let is_unserved = matches!(
            (version, is_live),
            ("champion", true) | ("candidate", false)
        );
        if !is_unserved || served.unserved.is_none() {
            return self.snapshot(version);
        }
        if let Some(known) = runtime.serving().unserved() {
            return Ok(known);
        }
        let turn = runtime.reading().clone().lock_owned().await;
        // The request with the turn before may have read the same snapshot.
        if let Some(known) = runtime.serving().unserved() {
            return Ok(known);
        }
        let looked_at = runtime.run_blocking(move |runtime| {
            let _turn = turn;
            let follower = runtime.lock_follower()?;
            let unserved = follower.unserved().map(Arc::new);
            let unserved = unserved.ok_or_else(|| runtime.unavailable("the gate is gone"))?;
            drop(follower);
            runtime.serving().keep_unserved(unserved.clone());
            Ok(unserved)
        });
        looked_at.await
    }

    /// Waits until the served state has reached `position`, which need not be in the journal yet: how
    /// long, and how many may wait, is the caller's bound.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it cannot be reached any more.
    pub async fn wait_for_position(&self, position: u64) -> Result<(), Error> {
        self.get()?.wait_for_position(position).await
    }
}

/// The snapshot of a version that an alias names.
async fn named_version(
    runtime: &Arc<ModelRuntime>,
    alias: &str,
    version: u64,
) -> Result<Arc<Snapshot>, Error> {
    let served = runtime.serving().served();
    let is_champion = served.model.spec.publish.policy != PublishPolicy::Live;
    if is_champion && served.version == version {
        // It serves as it is.
        return Ok(served.of_one_side());
    }
    if let Some(known) = runtime.serving().named(version, served.position) {
        return Ok(known);
    }
    let turn = runtime.reading().clone().lock_owned().await;
    let position = runtime.serving().served().position;
    // The request with the turn before may have read the same version.
    if let Some(known) = runtime.serving().named(version, position) {
        return Ok(known);
    }
    let alias = alias.to_owned();
    let read = runtime.run_blocking(move |runtime| {
        let _turn = turn;
        let of_alias = |what: String| Error::Refused {
            field: "model_version",
            what: format!("{alias:?}: {what}"),
        };
        if let Some(why) = runtime.retractions().tainted().refusal(version) {
            return Err(of_alias(why));
        }
        let manifest = runtime.versions().get(version, served.version)?;
        let state = runtime.versions().state_of_version(&manifest);
        let state = state.map_err(|error| Error::Damaged {
            model: runtime.name().to_owned(),
            what: format!("{alias:?} names version {version}, which cannot be read: {error}"),
        })?;
        let follower = runtime.lock_follower()?;
        let named = follower.named(version, &state);
        let named = named.map_err(|error| {
            of_alias(format!(
                "version {version} is of another description: {error}"
            ))
        })?;
        drop(follower);
        let snapshot = named.snapshot.clone();
        runtime.serving().keep_named(named);
        Ok(snapshot)
    });
    read.await
}
