//! One model as others see it, and what its threads share.
//!
//! Invariant: the learner has one owner at a time, behind its lock; everything that a request
//! reads is an immutable snapshot or an atomic number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crossbeam::channel::Sender;
use tokio::sync::{Semaphore, watch};

use crate::engine::compute::batcher::Batcher;
use crate::engine::compute::clock::JournalClock;
use crate::engine::compute::embed::Embedder;
use crate::engine::compute::forward::{Rows, forwarder};
use crate::engine::compute::histogram::Histogram;
use crate::engine::compute::retry::ShortageRetry;
use crate::engine::compute::serving::{ServingSlot, Snapshot};
use crate::engine::compute::stages::Stages;
use crate::engine::error::Error;
use crate::engine::flows::command::Outcome;
use crate::engine::history::following::Prepared;
use crate::engine::host::awaited::Awaited;
use crate::engine::host::bounds::BoundCounts;
use crate::engine::host::follower::{Follower, Job};
use crate::engine::host::priority::Urgency;
use crate::engine::host::retracted::Retracted;
use crate::engine::host::stats::Status;
use crate::engine::host::turn::TURNS_MAX;
use crate::engine::host::write_queue::WriteQueue;
use crate::engine::versions::saved::Versions;
use crate::event::Time;
use crate::learn::Tainted;
use crate::model::Spec;
use crate::store::Journal;

/// A model of the folder, whether it can be served or not.
pub struct ServedModel {
    name: String,
    runtime: Result<Arc<ModelRuntime>, String>,
}

/// A model that is served.
pub(crate) struct ModelRuntime {
    pub name: String,
    /// Its place among the writer's journals.
    pub index: usize,
    /// By the place of the input whose texts they encode.
    pub embedders: Vec<Option<Embedder>>,
    /// Where a device computes the answers.
    pub forwarder: Option<Batcher<Rows>>,
    pub serving: ServingSlot,
    pub follower: Mutex<Follower>,
    pub versions: Versions,
    pub write_queue: WriteQueue,
    pub clock: Arc<JournalClock>,
    pub jobs: Sender<Job>,
    /// Whether an order that a person waits for is on its way.
    pub urgency: Urgency,
    /// Whether it stands in the queue of the learner threads.
    pub queued: AtomicBool,
    /// The last position on disk, and the bytes of the journal with what is only appended.
    pub synced: AtomicU64,
    pub journal_bytes: AtomicU64,
    /// Feedback ids that are known, and where the oldest of their events stands.
    pub ids_held: AtomicU64,
    pub oldest_id: AtomicU64,
    pub bound_counts: BoundCounts,
    /// Bytes of predictions on their way to it.
    pub promised_bytes: AtomicU64,
    /// The positions that requests wait for.
    pub awaited: Awaited,
    /// When the learner's next tick is due, in microseconds since the Unix epoch; `i64::MAX`
    /// where none is.
    pub next_tick: AtomicI64,
    /// When the room of the journal is looked at next, by the monotonic clock.
    pub next_look: AtomicI64,
    /// One order at a time changes the limits.
    pub limiting: tokio::sync::Mutex<()>,
    /// Predictions answered without an entry.
    pub unjournaled: AtomicU64,
    /// Whether the journal failed: nothing more can be written.
    pub journal_failed: AtomicBool,
    /// Whether nothing can be written until the next segment can be made, and why it cannot.
    pub stalled: AtomicBool,
    pub stall: Mutex<String>,
    /// Whether the learner waits for a descriptor to read on with, between two entries; and what
    /// waits within one.
    pub starved: AtomicBool,
    pub retry: ShortageRetry,
    /// The last look at what is learned.
    pub looked: Mutex<Status>,
    /// How many look at what is learned, or are about to.
    pub n_looking: AtomicUsize,
    /// Entries of each synced group, and how long each sync took, in microseconds.
    pub group_entries: Histogram,
    pub sync_us: Histogram,
    /// Set once feedback has stopped for any model.
    pub feedback_stopped: watch::Sender<bool>,
    /// Why feedback is no longer taken, and why nothing is learned any more.
    pub closed: OnceLock<String>,
    pub halted: OnceLock<String>,
    /// What became of the newest commands, by position.
    pub outcomes: Mutex<BTreeMap<u64, Outcome>>,
    /// Where a retraction hands over what it has derived beside the learner.
    pub prepared: Prepared,
    /// Versions that hold what was retracted.
    pub tainted: Mutex<Tainted>,
    /// Feedback that was taken back, as far as its ids are remembered.
    pub retracted: Retracted,
    /// Whether a retraction is under way: nothing is removed that it may start from.
    pub retracting: AtomicBool,
    /// Retractions take turns; those that wait have a bound.
    pub turn: Arc<Semaphore>,
    pub turns_waiting: Arc<Semaphore>,
    /// The thread of the newest one.
    pub retraction: Mutex<Option<JoinHandle<()>>>,
    /// Where a test holds orders.
    pub stages: Stages,
}

impl ModelRuntime {
    pub fn new(
        name: &str,
        index: usize,
        mut follower: Follower,
        write_queue: &WriteQueue,
        jobs: &Sender<Job>,
        clock: Arc<JournalClock>,
        feedback_stopped: &watch::Sender<bool>,
    ) -> ModelRuntime {
        let (versions, retry) = (follower.lookup.versions.clone(), ShortageRetry::of(name));
        follower.lookup.versions.retry = retry.clone();
        ModelRuntime {
            name: name.to_owned(),
            index,
            embedders: Vec::new(),
            forwarder: forwarder(follower.learner.spec()),
            serving: ServingSlot::new(follower.snapshot()),
            versions,
            prepared: follower.lookup.prepared.clone(),
            tainted: Mutex::new(follower.learner.tainted().clone()),
            retracted: Retracted::default(),
            retracting: AtomicBool::new(false),
            turn: Arc::new(Semaphore::new(1)),
            turns_waiting: Arc::new(Semaphore::new(TURNS_MAX)),
            retraction: Mutex::new(None),
            stages: follower.stages.clone(),
            write_queue: write_queue.clone(),
            clock,
            jobs: jobs.clone(),
            urgency: Urgency::default(),
            queued: AtomicBool::new(false),
            synced: AtomicU64::new(0),
            journal_bytes: AtomicU64::new(0),
            ids_held: AtomicU64::new(0),
            oldest_id: AtomicU64::new(0),
            bound_counts: BoundCounts::default(),
            promised_bytes: AtomicU64::new(0),
            awaited: Awaited::default(),
            next_tick: AtomicI64::new(follower.next_tick()),
            next_look: AtomicI64::new(i64::MIN),
            limiting: tokio::sync::Mutex::new(()),
            unjournaled: AtomicU64::new(0),
            journal_failed: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            stall: Mutex::default(),
            starved: AtomicBool::new(false),
            retry,
            looked: Mutex::default(),
            n_looking: AtomicUsize::new(0),
            group_entries: Histogram::default(),
            sync_us: Histogram::default(),
            feedback_stopped: feedback_stopped.clone(),
            closed: OnceLock::new(),
            halted: OnceLock::new(),
            outcomes: Mutex::new(BTreeMap::new()),
            follower: Mutex::new(follower),
        }
    }

    /// Takes over how far the journal is on disk.
    pub fn note_journal(&self, journal: &Journal) {
        self.note_bytes(journal);
        self.synced.store(journal.synced(), Relaxed);
    }

    /// Takes over how long the journal is.
    pub fn note_bytes(&self, journal: &Journal) {
        self.journal_bytes.store(journal.bytes(), Relaxed);
    }

    /// Refuses feedback and commands from here on.
    pub fn stop_accepting(&self) {
        let _ = self.closed.set("the server is stopping".to_owned());
        self.retry.end();
        self.serving.wake();
    }

    /// Why a position that was not reached never will be, if that is so.
    fn end_before(&self, position: u64) -> Option<&str> {
        let journaled = position <= self.synced.load(Relaxed);
        let closed = self.closed.get().filter(|_| !journaled);
        self.halted.get().or(closed).map(String::as_str)
    }

    /// Waits until what is served has reached `position`.
    pub async fn wait_for_position(self: &Arc<ModelRuntime>, position: u64) -> Result<(), Error> {
        let mut reached = self.serving.position();
        if *reached.borrow() >= position {
            return Ok(());
        }
        let _waiter = self.awaited.wait(position);
        self.schedule();
        let reaches = |reached: &u64| *reached >= position;
        let ended = reached.wait_for(|now| reaches(now) || self.end_before(position).is_some());
        let last = *ended.await.map_err(|_| self.unavailable("it is closed"))?;
        match self.end_before(position) {
            Some(reason) if !reaches(&last) => Err(self.unavailable(reason)),
            _ => Ok(()),
        }
    }

    /// The error that names this model and why it does not take what it is sent.
    pub fn unavailable(&self, reason: &str) -> Error {
        Error::Unavailable {
            model: self.name.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl ServedModel {
    pub(crate) fn runtime(name: &str, runtime: Arc<ModelRuntime>) -> ServedModel {
        ServedModel {
            name: name.to_owned(),
            runtime: Ok(runtime),
        }
    }

    pub(crate) fn unavailable(name: &str, reason: String) -> ServedModel {
        ServedModel {
            name: name.to_owned(),
            runtime: Err(reason),
        }
    }

    /// Entries that were read of its journal besides what the learner follows.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    #[doc(hidden)]
    pub fn entries_read(&self) -> Result<u64, Error> {
        Ok(self.get()?.versions.entries_read.load(Relaxed))
    }

    /// Its name: the name of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn get(&self) -> Result<&Arc<ModelRuntime>, Error> {
        self.runtime.as_ref().map_err(|reason| Error::Unavailable {
            model: self.name.clone(),
            reason: reason.clone(),
        })
    }

    /// The description in force.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn spec(&self) -> Result<Arc<Spec>, Error> {
        Ok(self.get()?.serving.served().model.spec.clone())
    }

    /// Journal time and the time of the wall clock, now; the earlier first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn times(&self) -> Result<(Time, Time), Error> {
        let (journal, wall) = self.get()?.clock.both();
        Ok((journal.min(wall), journal.max(wall)))
    }

    /// Which clock entries are dated by, and how far it is from the machine's.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn clock_note(&self) -> Result<String, Error> {
        let (ahead_us, _) = self.get()?.clock.offset();
        let seconds = ahead_us.unsigned_abs() / 1_000_000;
        Ok(match ahead_us {
            _ if seconds == 0 => "the journal's clock, which agrees with this machine's".to_owned(),
            1.. => format!("the journal's clock, {seconds} s behind this machine's"),
            _ => format!("the journal's clock, {seconds} s ahead of this machine's"),
        })
    }

    /// What answers a request for `version`: empty for what the policy serves, an alias, or the
    /// number of the version being served.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::UnknownVersion`].
    pub fn snapshot(&self, version: &str) -> Result<Arc<Snapshot>, Error> {
        let serving = &self.get()?.serving;
        let served = serving.served();
        match version {
            "" | "candidate" => Ok(served),
            "champion" => Ok(serving.champion()),
            number if number.parse() == Ok(served.version) => Ok(served),
            other => Err(Error::UnknownVersion {
                model: self.name.clone(),
                version: other.to_owned(),
                served: served.version,
            }),
        }
    }

    /// Waits until what is served has reached `position`, which need not be in the journal yet: how
    /// long, and how many may wait, is the caller's bound.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it cannot be reached any more.
    pub async fn wait_for_position(&self, position: u64) -> Result<(), Error> {
        self.get()?.wait_for_position(position).await
    }
}
