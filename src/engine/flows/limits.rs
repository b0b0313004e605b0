//! LIMITS: change the bounds of a journal while its model runs, full or not.
//!
//! Invariant: the change is a description in the journal, so that every learner of it sees the
//! bounds change at the same entry.

use tokio::sync::oneshot;

use crate::engine::error::Error;
use crate::engine::host::room::EntryClass;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::served_model::ServedModel;
use crate::engine::host::work::Work;
use crate::event::{Description, Time};
use crate::model::{OrderedLimits, Spec};
use crate::store::segments;

/// The bounds of a journal, as they are or as an order would make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size that it does not pass.
    pub bytes_max: u64,
    /// Its size.
    pub bytes: u64,
    /// The time for which feedback can be retracted.
    pub retract_within_s: u64,
    /// The time at which the oldest entry that is there was accepted: nothing older can be retracted.
    pub held_since: Time,
    /// The moment before which accepted feedback can no longer be retracted, once its segment is removed;
    /// none unless less of it than before has to be kept.
    pub lost_before: Option<Time>,
    /// The position of the order; 0 where nothing was changed.
    pub position: u64,
}

impl ServedModel {
    /// The bounds as they would be with these changes.
    ///
    /// # Errors
    /// [`Error::Refused`]: there can be no such limits. [`Error::Unavailable`].
    pub fn limits(&self, changes: &OrderedLimits) -> Result<Limits, Error> {
        let runtime = self.get()?;
        let (_, spec) = runtime.described_with(changes)?;
        let before = runtime.serving().served().model.spec.clone();
        runtime.limits_of(&before, &spec)
    }

    /// Changes the bounds, also where the journal is full, and waits until that has been applied.
    /// The order holds over restarts, until model.toml states other limits than it does now.
    ///
    /// # Errors
    /// As [`ServedModel::limits`] and [`ServedModel::command`].
    pub async fn change_limits(&self, changes: &OrderedLimits) -> Result<Limits, Error> {
        let runtime = self.get()?;
        runtime.check_room(EntryClass::Limits)?;
        let _one_at_a_time = runtime.orders().limiting().await;
        let changes = changes.clone();
        let described = runtime.run_blocking(move |runtime| runtime.described_with(&changes));
        let (description, spec) = described.await?;
        let before = runtime.serving().served().model.spec.clone();
        let (reply, done) = oneshot::channel();
        runtime.send(Work::Describe(description, reply))?;
        let stopped = |_| runtime.unavailable("the writer has stopped");
        let position = done.await.map_err(stopped)??;
        self.wait_for_position(position).await?;
        // Segments that may be removed by now are, at once.
        runtime.progress().set_next_retention(i64::MIN);
        let limits = runtime.run_blocking(move |runtime| runtime.limits_of(&before, &spec));
        let limits = limits.await?;
        tracing::info!(
            model = runtime.name(),
            position,
            bytes_max = limits.bytes_max,
            retract_within_s = limits.retract_within_s,
            "the limits of the journal were changed by order"
        );
        Ok(Limits { position, ..limits })
    }
}

impl ModelRuntime {
    /// The description in force with these changes.
    fn described_with(&self, changes: &OrderedLimits) -> Result<(Description, Spec), Error> {
        let mut description = self.lock_follower()?.learner.description().clone();
        let refuse = |error: crate::model::SpecError| Error::Refused {
            field: "limits",
            what: error.to_string(),
        };
        description.toml = Spec::order_limits(&description.toml, changes).map_err(refuse)?;
        let spec = Spec::journaled(&description.toml).map_err(refuse)?;
        Ok((description, spec))
    }

    fn limits_of(&self, before: &Spec, spec: &Spec) -> Result<Limits, Error> {
        let mut follower = self.lock_follower()?;
        let first = segments(&follower.lookup.versions.journal)?;
        let first = first.first().map_or(1, |first| first.first_position);
        let held_since = follower
            .time_of(first)
            .map_err(|error| error.of_request(self.name(), "model"))?;
        let now = self.clock().now().0;
        let horizon = |spec: &Spec| {
            let within_us = spec.journal.retract_within_s as i64 * 1_000_000;
            Time(now.saturating_sub(within_us)).max(held_since)
        };
        let (before, after) = (horizon(before), horizon(spec));
        Ok(Limits {
            bytes_max: spec.journal.bytes_max,
            bytes: self.metrics().bytes(),
            retract_within_s: spec.journal.retract_within_s,
            held_since,
            lost_before: (after > before).then_some(after),
            position: 0,
        })
    }
}
