//! LEARN: apply the entries on disk, in order; publish; save the versions that fall due.
//!
//! Invariant: only synced entries are applied, so whatever is served stands on durable entries.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Receiver;

use crate::engine::compute::threads::block_on;
use crate::engine::error::Error;
use crate::engine::history::error as history;
use crate::engine::host::bounds::BoundKind;
use crate::engine::host::follower::Follower;
use crate::engine::host::learning_event;
use crate::engine::host::orders::Done;
use crate::engine::host::priority::stand_back;
use crate::engine::host::runtime::{LearnerTask, ModelRuntime};
use crate::engine::host::work::Work;
use crate::event::{Command, Entry, Event, Feedback, Order, OrderRefusal, Reason, Version};
use crate::learn::{ChampionChange, MovedAlias, Step};
use crate::store;

/// Entries between two looks at whether to publish.
const LOOK_EVERY: usize = 16;
/// Entries before another model has its turn.
const TURN: usize = 4096;
/// A model that was far behind is left to the background again below this part of `journal.lag_max`.
const CAUGHT_UP: f64 = 0.25;
/// The age of the snapshot at most, once more was learned.
const PUBLISH_EVERY: Duration = Duration::from_millis(5);

/// The loop of a learner thread: learns the models that are due, until it is stopped.
pub(crate) fn run(due: &Receiver<LearnerTask>) {
    stand_back();
    while let Ok(LearnerTask::Learn(runtime)) = due.recv() {
        runtime.unqueue();
        if !runtime.urgency().turn(|| runtime.turn()) {
            runtime.schedule();
        }
        runtime.retrain_if_due();
    }
}

/// The loop of a thread that does not stand back: learns the models that are far behind until they are so no
/// more. Predictions alone would keep a learner in the background from running at all.
pub(crate) fn run_lagging(due: &Receiver<LearnerTask>) {
    while let Ok(LearnerTask::Learn(runtime)) = due.recv() {
        runtime.unqueue_as_lagging();
        // Learner threads leave it alone meanwhile; at the end it is scheduled again, as it then is.
        let urgent = UrgentOrder::new(&runtime);
        runtime.looks(|| !runtime.is_behind(CAUGHT_UP));
        drop(urgent);
    }
}

impl ModelRuntime {
    /// One turn of learning; true once everything on disk is learned, or nothing can be, or an order
    /// is on its way whose own thread goes on. A bug in one model's learning does not end the
    /// learning of the others.
    fn turn(&self) -> bool {
        self.looks(|| self.urgency().is_urgent())
    }

    /// Learns up to an order on this thread, and publishes the state behind it.
    pub(crate) fn learn_to(&self, position: u64) {
        let _waiter = self.progress().wait(position);
        let reached = || *self.serving().position().borrow() >= position;
        while !reached() && !self.looks(reached) {}
    }

    /// Learns entries until the turn is over or `enough`; true once everything on disk is learned, or
    /// nothing can be, or it is enough.
    fn looks(&self, enough: impl Fn() -> bool) -> bool {
        let looks = catch_unwind(AssertUnwindSafe(|| self.try_looks(enough)));
        looks.unwrap_or_else(|_| {
            self.halt(None);
            true
        })
    }

    fn try_looks(&self, enough: impl Fn() -> bool) -> bool {
        for _ in 0..TURN / LOOK_EVERY {
            if enough() {
                return true;
            }
            // A request for the status gets in between two looks.
            self.yield_to_status();
            let Ok(mut follower) = self.lock_follower() else {
                self.halt(None);
                return true;
            };
            if self.health().is_halted() {
                return true;
            }
            if let Err(error) = self.learn_some(&mut follower) {
                self.halt(Some(&error.to_string()));
                return true;
            }
            let done = self.publish_if_due(&mut follower) || self.health().is_starved();
            if !enough() {
                self.retain_if_due(&mut follower);
            }
            if done {
                return true;
            }
        }
        false
    }

    fn learn_some(&self, follower: &mut Follower) -> Result<(), history::Error> {
        let last = self.progress().synced();
        for _ in 0..LOOK_EVERY {
            let prepared = follower.lookup.reader.prepare(last);
            let waits = prepared.as_ref().is_err_and(store::Error::is_passing);
            if self.health().set_starved(waits) {
                let model = self.name();
                match &prepared {
                    Err(error) if waits => {
                        tracing::warn!(model, %error, "learning waits for descriptors, memory or room");
                    }
                    _ => tracing::info!(model, "learning goes on"),
                }
            }
            if waits {
                // The writer, which never waits, wakes the learner to try again.
                break;
            }
            match follower.step(last)? {
                None => break,
                Some((entry, step)) => self.act(follower, &entry, step),
            }
        }
        Ok(())
    }

    /// Publishes at the end of the queue, when a request waits, or when it is time; true at the
    /// end of the queue.
    fn publish_if_due(&self, follower: &mut Follower) -> bool {
        let reached = follower.learner.position();
        let done = reached >= self.progress().synced();
        let published = *self.serving().position().borrow();
        let awaited = self.progress().is_awaited(published, reached);
        let old = follower.is_published_before(PUBLISH_EVERY);
        if reached > published && (done || awaited || old) {
            // First, so that a reader of the position reached knows the work that is due after it.
            let next_tick = follower.next_tick();
            self.progress().set_next_tick(next_tick);
            self.publish(follower);
            if next_tick <= follower.learner.time().0 {
                // Where the queue is full the writer is awake.
                let _ = self.write_queue().offer(Work::Due);
            }
        }
        done
    }

    /// Does the work that is due after a step.
    fn act(&self, follower: &mut Follower, entry: &Entry, step: Step) {
        let order = match &entry.event {
            Event::Command(command) => Some(&command.order),
            _ => None,
        };
        if let Some(version) = order.and_then(Order::needed) {
            follower.lookup.versions.unpin(version);
        }
        match &entry.event {
            Event::Feedback(feedback) => {
                self.announce_quarantined(entry.position, feedback, &step);
            }
            Event::Command(command) => self.note_promotion(follower, command, &step),
            _ => {}
        }
        let events = learning_event::of_step(self.name(), &follower.learner, entry, &step);
        self.note_decisions(&step);
        let outcome = match (step.refused, step.version) {
            (Some(what), version) => {
                // The rewards of silent windows may have made a version due.
                version
                    .iter()
                    .for_each(|version| drop(self.keep(follower, entry, (version, &[]))));
                if order.is_some_and(Order::is_recorded_when_refused) {
                    let position = entry.position;
                    self.record(Event::Refusal(OrderRefusal { position }));
                }
                let field = order.map_or("version", field_of);
                Err(Error::Refused { field, what })
            }
            (None, Some(version)) => {
                if version.reason == Reason::Retract {
                    let oldest = self.metrics().oldest_id();
                    let retracted = self.retractions().retracted();
                    retracted.add(&step.excluded, oldest);
                }
                let kept = self.keep(follower, entry, (&version, &step.frozen));
                if let Some(change) = &step.champion {
                    self.announce_void(change);
                }
                kept.map(|()| Done {
                    version: version.version,
                    excluded: step.excluded,
                    champion: step.champion,
                    aliases: step.moved_aliases,
                })
            }
            (None, None) => Ok(Done::default()),
        };
        // The versions of these events are saved by now.
        events
            .into_iter()
            .for_each(|event| self.events().publish(event));
        if order.is_some() {
            self.orders().finish(entry.position, outcome);
        }
    }

    /// Records the verdicts and alarms of a step, and logs the aliases that it moved.
    fn note_decisions(&self, step: &Step) {
        for verdict in &step.verdicts {
            self.record(Event::Verdict(*verdict));
        }
        for alarm in &step.alarms {
            self.record(Event::Drift(alarm.clone()));
        }
        step.moved_aliases
            .iter()
            .for_each(|one| self.announce_move(one));
    }

    /// Logs a label that contradicts another one, and an event that waits for a person; one that made room is
    /// counted.
    fn announce_quarantined(&self, position: u64, feedback: &Feedback, step: &Step) {
        if let Some(cause) = step.held_back {
            tracing::warn!(
                model = self.name(),
                position,
                feedback_id = feedback.feedback_id,
                cause = cause.word(),
                "feedback waits in quarantine until it is released or discarded",
            );
        }
        if let Some(contradicted) = &step.contradicts {
            tracing::warn!(
                model = self.name(),
                position,
                feedback_id = feedback.feedback_id,
                contradicted,
                "a label contradicts another source's, which its sender may not supersede",
            );
        }
        if step.pushed_out.is_some() {
            self.bound_counts().count(BoundKind::Quarantine);
        }
    }

    /// Logs an alias that a retraction moved.
    fn announce_move(&self, moved: &MovedAlias) {
        let MovedAlias {
            alias,
            before,
            after,
        } = moved;
        tracing::warn!(
            model = self.name(),
            alias,
            before,
            after,
            "an alias names the first version without what was retracted"
        );
    }

    /// Writes the note of a person's promotion to the version that is the champion from there on.
    fn note_promotion(&self, follower: &Follower, command: &Command, step: &Step) {
        let Order::Promote { version, .. } = &command.order else {
            return;
        };
        if step.refused.is_some() || (command.note.is_empty() && command.actor.is_empty()) {
            return;
        }
        if let Err(error) = follower.lookup.versions.note(*version, command) {
            tracing::warn!(model = self.name(), version, %error, "the note of a promotion was not written");
        }
    }

    /// Logs which approvals another history made void.
    fn announce_void(&self, change: &ChampionChange) {
        let model = self.name();
        for position in &change.void {
            tracing::warn!(
                model,
                position,
                champion = change.after.version,
                "an approval is void: it was of weights that have changed since"
            );
        }
    }

    /// Publishes a version where it has to serve at once, saves and records it, and the frozen states that
    /// came with it.
    fn keep(
        &self,
        follower: &mut Follower,
        entry: &Entry,
        (version, frozen): (&Version, &[Version]),
    ) -> Result<(), Error> {
        if matches!(
            version.reason,
            Reason::Restore | Reason::Retract | Reason::Adopt | Reason::Rewind | Reason::Retrain
        ) {
            // A restored state, or one without retracted feedback, serves before it is saved.
            self.publish(follower);
        }
        if version.reason == Reason::Retract {
            self.retractions().set_tainted(follower.learner.tainted());
        }
        let made = frozen.iter().chain([version]);
        let saved = follower.save_all(made, entry).map_err(|error| {
            let version = version.version;
            tracing::error!(model = self.name(), version, %error, "version was not saved");
            self.unsaved(version, &error)
        });
        if matches!(
            version.reason,
            Reason::Cadence | Reason::Contender | Reason::Rewind
        ) {
            self.prune(follower);
        }
        for version in [version].into_iter().chain(frozen) {
            self.record(Event::Version(version.clone()));
        }
        saved
    }

    /// The error of an order whose version serves, and could not be saved.
    fn unsaved(&self, version: u64, error: &store::Error) -> Error {
        let (model, is_passing) = (self.name().to_owned(), error.is_passing());
        let what = format!("version {version} was made but not saved: {error}");
        if is_passing {
            let what = format!("{what}; it serves, and is saved at the next start");
            Error::Shortage { model, what }
        } else {
            Error::Damaged { model, what }
        }
    }

    /// Removes old versions, unless a retraction is under way, which may start from any of them.
    pub(crate) fn prune(&self, follower: &Follower) {
        if !self.retractions().is_under_way() {
            let pruned = follower.lookup.versions.prune_cadence(&follower.learner);
            pruned.unwrap_or_else(|error| {
                tracing::warn!(model = self.name(), %error, "old versions were not removed");
            });
        }
    }

    /// Journals a record. The writer never waits for a learner, so this wait ends.
    pub(crate) fn record(&self, record: Event) {
        let _ = self.write_queue().insist(Work::Record(record));
    }

    /// Learns everything on disk, on this thread; true once no record is still to be written.
    pub(crate) fn catch_up(&self) -> bool {
        while !self.looks(|| false) {}
        let is_recorded = || {
            let follower = self.lock_follower();
            follower.map_or(true, |follower| follower.learner.unrecorded().is_empty())
        };
        self.health().is_stuck() || is_recorded()
    }

    /// Writes the checkpoint from which the next start goes on.
    pub(crate) fn save_at_stop(&self) {
        let Ok(mut follower) = self.lock_follower() else {
            return;
        };
        if self.health().is_halted() {
            return;
        }
        let follower = &mut *follower;
        self.retain(follower);
        let chain = follower.lookup.reader.chain();
        if let Err(error) = follower.lookup.versions.save_stop(&follower.learner, chain) {
            tracing::error!(model = self.name(), %error, "no checkpoint at stop");
        }
    }

    /// Waits until the segments that retention has decided to remove are gone, before anything
    /// starts from those that are there.
    pub(crate) fn settle_trims(&self) -> Result<(), Error> {
        drop(self.lock_follower()?);
        if self.write_queue().flush() {
            Ok(())
        } else {
            Err(self.unavailable("the writer has stopped"))
        }
    }

    /// Waits until all up to a synced position is applied: on this thread, where no other one is
    /// at it. An engine that stops waits for this thread, and has no others any more.
    pub(crate) fn await_applied(self: &Arc<ModelRuntime>, position: u64) -> Result<(), Error> {
        self.learn_to(position);
        block_on(self.wait_for_position(position))
    }
}

/// The field of a request that an order comes of, where it is refused.
fn field_of(order: &Order) -> &'static str {
    match order {
        Order::Acknowledge { .. } | Order::Close { .. } => "incident",
        Order::Freeze | Order::Resume => "model",
        Order::Release(_) | Order::Discard(_) => "selector",
        Order::SetAlias { .. } | Order::RemoveAlias { .. } => "alias",
        _ => "version",
    }
}

/// An order that a person waits for: as long as it lives, learner threads leave the model alone.
pub(crate) struct UrgentOrder(Arc<ModelRuntime>);

impl UrgentOrder {
    /// An order is on its way.
    pub(crate) fn new(runtime: &Arc<ModelRuntime>) -> UrgentOrder {
        runtime.urgency().begin();
        UrgentOrder(runtime.clone())
    }

    /// Learns up to the order on this thread, which does not stand back.
    pub(crate) fn learn_to(&self, position: u64) {
        self.0.learn_to(position);
    }
}

impl Drop for UrgentOrder {
    fn drop(&mut self) {
        self.0.urgency().end();
        // The entries that came meanwhile are the learner threads' again.
        self.0.schedule();
    }
}
