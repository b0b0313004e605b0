//! LEARN: apply what is on disk, in order; publish; save the versions that fall due.
//!
//! Invariant: only synced entries are applied, so whatever is served stands on durable entries.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;

use crate::engine::compute::serving::Snapshot;
use crate::engine::compute::stages::{Stage, Stages};
use crate::engine::error::Error;
use crate::engine::flows::command::{Done, Outcome};
use crate::engine::history::following::FollowerLookup;
use crate::engine::host::priority::stand_back;
use crate::engine::host::retain::Retention;
use crate::engine::host::served_model::ModelRuntime;
use crate::engine::host::writer::Work;
use crate::event::{Entry, Event, Order, Reason, Refusal, Version};
use crate::learn::{Learner, Step};
use crate::model::Model;
use crate::store;

/// Entries between two looks at whether to publish.
const LOOK_EVERY: usize = 16;
/// Entries before another model has its turn.
const TURN: usize = 4096;
/// What is served is at most so much older than what was learned.
const PUBLISH_EVERY: Duration = Duration::from_millis(5);

/// Work for a learner thread.
pub enum Job {
    Learn(Arc<ModelRuntime>),
    Stop,
}

/// A learner with the journal it follows.
pub struct Follower {
    pub learner: Learner,
    pub lookup: FollowerLookup,
    pub retention: Retention,
    /// Where a test holds orders.
    pub stages: Stages,
    /// The function as it was last published; none where it has changed since.
    published: Option<Arc<Model>>,
    last_publish: Instant,
}

/// Learns whatever falls due, until told to stop.
pub fn run(due: &Receiver<Job>) {
    stand_back();
    while let Ok(Job::Learn(runtime)) = due.recv() {
        runtime.queued.swap(false, AcqRel);
        if !runtime.urgency.turn(|| runtime.turn()) {
            runtime.schedule();
        }
    }
}

impl ModelRuntime {
    /// Puts the model into the queue of the learner threads, where it is not there yet.
    pub fn schedule(self: &Arc<ModelRuntime>) {
        if !self.queued.swap(true, AcqRel) {
            let _ = self.jobs.try_send(Job::Learn(self.clone()));
        }
    }

    /// One turn of learning; true once everything on disk is learned, or nothing can be, or an order
    /// is on its way whose own thread goes on. A bug in one model's learning does not end the
    /// learning of the others.
    fn turn(&self) -> bool {
        self.looks(|| self.urgency.is_urgent())
    }

    /// Learns up to an order on this thread, and publishes what it led to.
    pub fn learn_to(&self, position: u64) {
        let _waiter = self.awaited.wait(position);
        let reached = || *self.serving.position().borrow() >= position;
        while !reached() && !self.looks(reached) {}
    }

    /// Looks at what is on disk until the turn is over or `enough`; true once everything is learned
    /// or nothing can be, and where it is enough.
    fn looks(&self, enough: impl Fn() -> bool) -> bool {
        let looks = catch_unwind(AssertUnwindSafe(|| self.try_looks(enough)));
        looks.unwrap_or_else(|_| {
            self.halt("a learner thread has panicked");
            true
        })
    }

    fn try_looks(&self, enough: impl Fn() -> bool) -> bool {
        for _ in 0..TURN / LOOK_EVERY {
            if enough() {
                return true;
            }
            // Whoever asks for the status gets in between two looks.
            self.let_look();
            let Ok(mut follower) = self.follower.lock() else {
                self.halt("a learner thread has panicked");
                return true;
            };
            if self.halted.get().is_some() {
                return true;
            }
            if let Err(reason) = self.learn_some(&mut follower) {
                self.halt(&reason);
                return true;
            }
            let done = self.publish_if_due(&mut follower) || self.starved.load(Relaxed);
            if !enough() {
                self.retain_if_due(&mut follower);
            }
            if done {
                return true;
            }
        }
        false
    }

    fn learn_some(&self, follower: &mut Follower) -> Result<(), String> {
        let last = self.synced.load(Relaxed);
        for _ in 0..LOOK_EVERY {
            let prepared = follower.lookup.reader.prepare(last);
            let waits = prepared.as_ref().is_err_and(store::Error::is_passing);
            if self.starved.swap(waits, Relaxed) != waits {
                let error = prepared.err().map(|error| error.to_string());
                tracing::warn!(
                    model = self.name,
                    error,
                    waits,
                    "learning waits for descriptors"
                );
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

    /// Publishes at the end of the queue, when somebody waits, or when it is time; true at the
    /// end of the queue.
    fn publish_if_due(&self, follower: &mut Follower) -> bool {
        let reached = follower.learner.position();
        let done = reached >= self.synced.load(Relaxed);
        let published = *self.serving.position().borrow();
        let awaited = self.awaited.any(published, reached);
        let old = follower.last_publish.elapsed() >= PUBLISH_EVERY;
        if reached > published && (done || awaited || old) {
            // First, so that whoever sees the position reached knows what is due after it.
            let next_tick = follower.next_tick();
            self.next_tick.store(next_tick, Relaxed);
            self.serving.publish(follower.snapshot());
            if next_tick <= follower.learner.time().0 {
                // Where the queue is full the writer is awake.
                let _ = self.write_queue.offer(self.index, Work::Due);
            }
        }
        done
    }

    /// Does what a step says is due.
    fn act(&self, follower: &mut Follower, entry: &Entry, step: Step) {
        let order = match &entry.event {
            Event::Command(command) => Some(&command.order),
            _ => None,
        };
        if let Some(version) = order.and_then(Order::restored) {
            follower.lookup.versions.unpin(version);
        }
        if let (Some(contradicted), Event::Feedback(feedback)) = (&step.contradicts, &entry.event) {
            tracing::warn!(
                model = self.name,
                position = entry.position,
                feedback_id = feedback.feedback_id,
                contradicted,
                "a label contradicts another source's, which its sender may not supersede",
            );
        }
        let outcome = match (step.refused, step.version) {
            (Some(what), version) => {
                // What silence had earned by then may have made one due.
                version
                    .iter()
                    .for_each(|version| drop(self.keep(follower, entry, version)));
                if let Some(Order::Restore { .. }) = order {
                    let position = entry.position;
                    self.record(Event::Refusal(Refusal { position }));
                }
                let field = "version";
                Err(Error::Refused { field, what })
            }
            (None, Some(version)) => {
                if version.reason == Reason::Retract {
                    let oldest = self.oldest_id.load(Relaxed);
                    self.retracted.add(&step.excluded, oldest);
                }
                let kept = self.keep(follower, entry, &version);
                kept.map(|()| Done {
                    version: version.version,
                    excluded: step.excluded,
                })
            }
            (None, None) => Ok(Done::default()),
        };
        if order.is_some() {
            self.finish(entry.position, outcome);
        }
    }

    /// Publishes a version where it has to serve at once, saves and records it.
    fn keep(&self, follower: &mut Follower, entry: &Entry, version: &Version) -> Result<(), Error> {
        if matches!(
            version.reason,
            Reason::Restore | Reason::Retract | Reason::Adopt
        ) {
            // What was brought back, or is rid of what was taken back, serves before it is saved.
            self.serving.publish(follower.snapshot());
        }
        if version.reason == Reason::Retract {
            self.note_tainted(&follower.learner);
        }
        let saved = follower.save(version, entry).map_err(|error| {
            let version = version.version;
            tracing::error!(model = self.name, version, %error, "version was not saved");
            Error::Damaged {
                model: self.name.clone(),
                what: format!("version {version} was made but not saved: {error}"),
            }
        });
        // A retraction may start from any of them.
        if version.reason == Reason::Cadence && !self.retracting.load(Relaxed) {
            let pruned = follower.lookup.versions.prune_cadence(&follower.learner);
            pruned.unwrap_or_else(|error| {
                tracing::warn!(model = self.name, %error, "old versions were not removed");
            });
        }
        self.record(Event::Version(version.clone()));
        saved
    }

    /// Journals what was derived. The writer never waits for a learner, so this wait ends.
    pub fn record(&self, record: Event) {
        let _ = self.write_queue.insist(self.index, Work::Record(record));
    }

    fn finish(&self, position: u64, outcome: Outcome) {
        if let Ok(mut outcomes) = self.outcomes.lock() {
            outcomes.insert(position, outcome);
            while outcomes.len() > 1024 {
                outcomes.pop_first();
            }
        }
    }

    fn halt(&self, reason: &str) {
        tracing::error!(model = self.name, reason, "learning has stopped");
        let _ = self.halted.set(format!("learning has stopped: {reason}"));
        let _ = self.closed.set(format!("learning has stopped: {reason}"));
        self.feedback_stopped.send_replace(true);
        self.serving.wake();
    }

    /// Learns everything on disk, on this thread; true once no record is still to be written.
    pub fn catch_up(&self) -> bool {
        while !self.looks(|| false) {}
        let recorded = |follower: &Follower| follower.learner.unrecorded().is_empty();
        let stuck = self.halted.get().is_some()
            || [&self.journal_failed, &self.stalled, &self.starved]
                .iter()
                .any(|flag| flag.load(Relaxed));
        stuck
            || self
                .follower
                .lock()
                .map_or(true, |follower| recorded(&follower))
    }

    /// Writes the checkpoint from which the next start goes on.
    pub fn save_at_stop(&self) {
        let Ok(mut follower) = self.follower.lock() else {
            return;
        };
        if self.halted.get().is_some() {
            return;
        }
        let follower = &mut *follower;
        self.retain(follower);
        let chain = follower.lookup.reader.chain();
        if let Err(error) = follower.lookup.versions.save_stop(&follower.learner, chain) {
            tracing::error!(model = self.name, %error, "no checkpoint at stop");
        }
    }
}

impl Follower {
    pub fn new(learner: Learner, lookup: FollowerLookup) -> Follower {
        Follower {
            learner,
            lookup,
            retention: Retention::default(),
            stages: Stages::default(),
            published: None,
            last_publish: Instant::now(),
        }
    }

    /// Applies the next entry up to position `last`; none when all are applied.
    pub fn step(&mut self, last: u64) -> Result<Option<(Entry, Step)>, String> {
        let next = self.lookup.next(last);
        let Some(entry) = next.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        if let Event::Command(_) = entry.event {
            self.stages.pass(Stage::Applying(entry.position));
        }
        let step = self.learner.apply(&entry, &mut self.lookup);
        let step = step.map_err(|error| error.to_string())?;
        if step.changed {
            self.published = None;
        }
        Ok(Some((entry, step)))
    }

    /// What is to be served: the function is copied only if it has changed.
    pub fn snapshot(&mut self) -> Snapshot {
        self.last_publish = Instant::now();
        let learner = &self.learner;
        let model = self
            .published
            .get_or_insert_with(|| Arc::new(learner.model()));
        Snapshot {
            version: learner.version(),
            position: learner.position(),
            model: model.clone(),
            gone: Arc::new(learner.joins().gone(learner.spec().waiting_max)),
        }
    }

    /// When the next tick is due, in microseconds since the Unix epoch; `i64::MAX` for never.
    pub fn next_tick(&self) -> i64 {
        self.learner.next_tick().map_or(i64::MAX, |due| due.0)
    }

    /// Saves the version that `entry` made.
    pub fn save(&mut self, version: &Version, entry: &Entry) -> Result<(), store::Error> {
        let chain = self.lookup.reader.chain();
        self.lookup
            .versions
            .save(&self.learner, version, entry, chain)
    }
}
