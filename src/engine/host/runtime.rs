//! The runtime of one served model: the state that its requests, its writer and its learner share.
//!
//! Invariant: the follower has one owner at a time, behind its lock; everything that a request
//! reads is an immutable snapshot or an atomic number. Each part keeps an invariant of its own behind
//! its methods, and is handed out by reference alone; an act on two of them is a method here.

use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockResult};

use crossbeam::channel::Sender;
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::engine::compute::batcher::Batcher;
use crate::engine::compute::clock::JournalClock;
use crate::engine::compute::embed::Embedder;
use crate::engine::compute::forward::{ForwardRows, forwarder};
use crate::engine::compute::retry::ShortageRetry;
use crate::engine::compute::serving::ServingSlot;
use crate::engine::compute::shared_pass::SharedPasses;
use crate::engine::compute::stages::Stages;
use crate::engine::compute::threads;
use crate::engine::error::Error;
use crate::engine::host::bounds::BoundCounts;
use crate::engine::host::event_publisher::EventPublisher;
use crate::engine::host::follower::Follower;
use crate::engine::host::health::Health;
use crate::engine::host::journal_metrics::JournalMetrics;
use crate::engine::host::learning_event::{LearningEvent, LearningEventKind};
use crate::engine::host::orders::OrderOutcomes;
use crate::engine::host::phases::Phases;
use crate::engine::host::priority::Urgency;
use crate::engine::host::progress::JournalProgress;
use crate::engine::host::retracted::RetractedFeedback;
use crate::engine::host::retractions::Retractions;
use crate::engine::host::retraining::RetrainingThread;
use crate::engine::host::status::LastStatus;
use crate::engine::host::write_queue::WriteQueue;
use crate::engine::versions::saved::Versions;
use crate::store::Journal;

/// The bug that ends a learner thread, for messages.
const PANICKED: &str = "a learner thread has panicked";

/// The part of `journal.lag_max` from which on learning has the priority of everything else.
const LAGGING: f64 = 0.5;

/// Work for a learner thread.
pub(crate) enum LearnerTask {
    Learn(Arc<ModelRuntime>),
    Stop,
}

/// A model that is served.
pub(crate) struct ModelRuntime {
    name: String,
    /// The encoders, by the places of their inputs.
    embedders: Vec<Option<Embedder>>,
    /// The forward passes, where a device computes them.
    forwarder: Option<Batcher<ForwardRows>>,
    /// The forward passes that requests share, where the processor computes them.
    passes: SharedPasses,
    serving: ServingSlot,
    /// Held by the reader of a snapshot that does not serve: one at a time.
    reading: Arc<AsyncMutex<()>>,
    versions: Versions,
    write_queue: WriteQueue,
    clock: JournalClock,
    health: Health,
    progress: JournalProgress,
    metrics: JournalMetrics,
    phases: Phases,
    bound_counts: BoundCounts,
    orders: OrderOutcomes,
    retractions: Arc<Retractions>,
    retraining: RetrainingThread,
    urgency: Urgency,
    last_status: LastStatus,
    /// The publisher of learning events.
    events: Arc<EventPublisher>,
    retry: ShortageRetry,
    /// The stages at which a test holds orders.
    stages: Stages,
    /// Behind [`ModelRuntime::lock_follower`], which reports a panic of its owner.
    follower: Mutex<Follower>,
    jobs: Sender<LearnerTask>,
    /// True while the model stands in the queue of the learner threads.
    queued: AtomicBool,
    /// The queue of the threads that keep the lag, and whether the model stands in it.
    lagging_jobs: Sender<LearnerTask>,
    queued_as_lagging: AtomicBool,
}

/// A model as it was recovered.
pub(crate) struct RecoveredModel {
    pub follower: Follower,
    pub embedders: Vec<Option<Embedder>>,
    pub clock: JournalClock,
    /// The feedback that was taken back, as far as its ids are remembered.
    pub retracted: RetractedFeedback,
}

/// The queues that the models of an engine share.
pub(crate) struct Queues {
    pub write_queue: WriteQueue,
    pub jobs: Sender<LearnerTask>,
    /// Models that are far behind.
    pub lagging_jobs: Sender<LearnerTask>,
    /// Set once feedback has stopped for any model.
    pub feedback_stopped: watch::Sender<bool>,
    pub events: Arc<EventPublisher>,
}

impl ModelRuntime {
    /// The model whose journal has this index among the writer's.
    pub(crate) fn new(
        name: &str,
        index: usize,
        recovered: RecoveredModel,
        queues: &Queues,
    ) -> ModelRuntime {
        let RecoveredModel {
            mut follower,
            embedders,
            clock,
            retracted,
        } = recovered;
        let (versions, retry) = (follower.lookup.versions.clone(), ShortageRetry::of(name));
        follower.lookup.versions.retry = retry.clone();
        let prepared = follower.lookup.prepared.clone();
        let tainted = follower.learner.tainted().clone();
        ModelRuntime {
            name: name.to_owned(),
            embedders,
            forwarder: forwarder(follower.learner.spec()),
            passes: SharedPasses::default(),
            serving: ServingSlot::new(follower.snapshot()),
            reading: Arc::default(),
            versions,
            write_queue: queues.write_queue.for_model(index),
            clock,
            health: Health::new(queues.feedback_stopped.clone()),
            progress: JournalProgress::new(follower.next_tick()),
            metrics: JournalMetrics::default(),
            phases: Phases::default(),
            bound_counts: BoundCounts::default(),
            orders: OrderOutcomes::default(),
            retractions: Arc::new(Retractions::new(prepared, tainted, retracted)),
            retraining: RetrainingThread::default(),
            urgency: Urgency::default(),
            last_status: LastStatus::default(),
            events: queues.events.clone(),
            retry,
            stages: follower.stages.clone(),
            jobs: queues.jobs.clone(),
            queued: AtomicBool::new(false),
            lagging_jobs: queues.lagging_jobs.clone(),
            queued_as_lagging: AtomicBool::new(false),
            follower: Mutex::new(follower),
        }
    }

    /// The name of the model.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The encoders, by the places of their inputs.
    pub(crate) fn embedders(&self) -> &[Option<Embedder>] {
        &self.embedders
    }

    /// The forward passes, where a device computes them.
    pub(crate) fn forwarder(&self) -> Option<&Batcher<ForwardRows>> {
        self.forwarder.as_ref()
    }

    /// The forward passes that requests share, where the processor computes them.
    pub(crate) fn passes(&self) -> &SharedPasses {
        &self.passes
    }

    /// Held by the reader of a snapshot that does not serve.
    pub(crate) fn reading(&self) -> &Arc<AsyncMutex<()>> {
        &self.reading
    }

    /// The snapshot that serves, and those kept beside it.
    pub(crate) fn serving(&self) -> &ServingSlot {
        &self.serving
    }

    /// The versions on disk.
    pub(crate) fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The queue of the writer, for this model.
    pub(crate) fn write_queue(&self) -> &WriteQueue {
        &self.write_queue
    }

    /// The clock of the journal.
    pub(crate) fn clock(&self) -> &JournalClock {
        &self.clock
    }

    /// Whether the model takes entries, and learns.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Positions and due times.
    pub(crate) fn progress(&self) -> &JournalProgress {
        &self.progress
    }

    /// The figures of the journal.
    pub(crate) fn metrics(&self) -> &JournalMetrics {
        &self.metrics
    }

    /// The durations of predictions and feedback, by phase.
    pub(crate) fn phases(&self) -> &Phases {
        &self.phases
    }

    /// The uses of bounds.
    pub(crate) fn bound_counts(&self) -> &BoundCounts {
        &self.bound_counts
    }

    /// The outcomes of orders that a request waits for.
    pub(crate) fn orders(&self) -> &OrderOutcomes {
        &self.orders
    }

    /// The turns of retractions, and the feedback that they took back.
    pub(crate) fn retractions(&self) -> &Arc<Retractions> {
        &self.retractions
    }

    /// The learner that begins anew, where one is derived.
    pub(crate) fn retraining(&self) -> &RetrainingThread {
        &self.retraining
    }

    /// The orders that a person waits for.
    pub(crate) fn urgency(&self) -> &Urgency {
        &self.urgency
    }

    /// The status as it was last read.
    pub(crate) fn last_status(&self) -> &LastStatus {
        &self.last_status
    }

    /// The publisher of learning events.
    pub(crate) fn events(&self) -> &Arc<EventPublisher> {
        &self.events
    }

    /// The lookups that wait for the end of a shortage.
    pub(crate) fn retry(&self) -> &ShortageRetry {
        &self.retry
    }

    /// The stages at which a test holds orders.
    pub(crate) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Serves the state of the follower, and ends the phases of the entries in it.
    pub(crate) fn publish(&self, follower: &mut Follower) {
        let snapshot = follower.snapshot();
        let position = snapshot.position;
        self.serving.publish(snapshot);
        self.phases.serve(position);
    }

    /// Takes over how far the journal is on disk.
    pub(crate) fn note_journal(&self, journal: &Journal) {
        self.metrics.set_bytes(journal.bytes());
        self.progress.set_synced(journal.synced());
    }

    /// The follower, once its owner is done with it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: its owner has panicked.
    pub(crate) fn lock_follower(&self) -> Result<MutexGuard<'_, Follower>, Error> {
        self.follower.lock().map_err(|_| self.unavailable(PANICKED))
    }

    /// The follower, if no owner holds it now.
    pub(crate) fn try_lock_follower(&self) -> TryLockResult<MutexGuard<'_, Follower>> {
        self.follower.try_lock()
    }

    /// Runs work that reads the disk or waits for the follower on a thread of its own: requests share
    /// theirs with others.
    ///
    /// # Errors
    /// Those of the work; [`Error::Unavailable`]: it has panicked.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        self: &Arc<ModelRuntime>,
        work: impl FnOnce(&Arc<ModelRuntime>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let runtime = self.clone();
        let done = threads::run("order", move || work(&runtime)).await;
        done.unwrap_or_else(|| Err(self.unavailable("the thread of the order has panicked")))
    }

    /// Stops learning for good, by a reason or a bug.
    pub(crate) fn halt(&self, reason: Option<&str>) {
        let reason = reason.unwrap_or(PANICKED);
        tracing::error!(model = self.name, reason, "learning has stopped");
        let reason = format!("learning has stopped: {reason}");
        let was_halted = self.health.is_halted();
        self.health.halt(reason.clone());
        self.serving.wake();
        if !was_halted {
            self.publish_halt(*self.serving.position().borrow(), reason);
        }
    }

    /// Publishes that a person is needed before this model goes on.
    pub(crate) fn publish_halt(&self, position: u64, reason: String) {
        let place = (&self.name[..], position, self.clock.now());
        let halted = LearningEvent::new(LearningEventKind::Halted, place, reason);
        self.events.publish(halted);
    }

    /// Refuses feedback and commands from here on.
    pub(crate) fn stop_accepting(&self) {
        self.health.stop();
        self.retry.end();
        self.serving.wake();
    }

    /// Puts the model into the queue of the learner threads, where it is not there yet. One that is far behind
    /// comes into that of the threads that do not stand back as well.
    pub(crate) fn schedule(self: &Arc<ModelRuntime>) {
        if self.is_behind(LAGGING) && !self.queued_as_lagging.swap(true, AcqRel) {
            let _ = self.lagging_jobs.try_send(LearnerTask::Learn(self.clone()));
        }
        if !self.queued.swap(true, AcqRel) {
            let _ = self.jobs.try_send(LearnerTask::Learn(self.clone()));
        }
    }

    /// True if the learner can go on and is behind by this part of `journal.lag_max` at least, or at all
    /// while a segment more leaves no room for predictions: only segments that were learned give room back.
    pub(crate) fn is_behind(&self, part: f64) -> bool {
        let served = self.serving.served();
        let limits = &served.model.spec.journal;
        let lag = self.progress.lag(served.position);
        let stands = self.health.is_halted() || self.health.is_starved();
        let room = limits
            .prediction_bytes_max()
            .saturating_sub(self.metrics.bytes());
        let is_full = room < limits.segment_bytes();
        lag > 0 && !stands && (is_full || lag as f64 >= part * limits.lag_max as f64)
    }

    /// A thread that keeps the lag has taken it out of the queue of these.
    pub(crate) fn unqueue_as_lagging(&self) {
        self.queued_as_lagging.swap(false, AcqRel);
    }

    /// A learner thread has taken it out of that queue.
    pub(crate) fn unqueue(&self) {
        self.queued.swap(false, AcqRel);
    }

    /// Waits until the served state has reached `position`.
    pub(crate) async fn wait_for_position(
        self: &Arc<ModelRuntime>,
        position: u64,
    ) -> Result<(), Error> {
        let mut reached = self.serving.position();
        if *reached.borrow() >= position {
            return Ok(());
        }
        let _waiter = self.progress.wait(position);
        self.schedule();
        let ended = || self.health.ended(position <= self.progress.synced());
        let reaches = |reached: &u64| *reached >= position;
        let waited = reached.wait_for(|now| reaches(now) || ended().is_some());
        let last = *waited.await.map_err(|_| self.unavailable("it is closed"))?;
        match ended() {
            Some(reason) if !reaches(&last) => Err(self.unavailable(&reason)),
            _ => Ok(()),
        }
    }

    /// The error that names this model and why it does not take a request.
    pub(crate) fn unavailable(&self, reason: &str) -> Error {
        Error::Unavailable {
            model: self.name.clone(),
            reason: reason.to_owned(),
        }
    }
}
