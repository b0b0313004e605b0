//! Retractions of one model: their turns and threads, and the work that they have left.
//!
//! Invariant: one at a time has its turn, and as long as it has, nothing is removed that it may
//! start from; a bounded number wait. An engine that stops waits for the thread of the newest.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::compute::threads::NewestThread;
use crate::engine::history::following::PreparedHistory;
use crate::engine::history::rebuild::Rebuild;
use crate::engine::host::retracted::RetractedFeedback;
use crate::learn::TaintedVersions;

/// Retractions of a model that wait for their turn at a time.
pub(crate) const TURNS_MAX: usize = 16;

/// The retractions of one model.
pub(crate) struct Retractions {
    turn: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// True while a retraction has its turn.
    under_way: AtomicBool,
    /// The thread of the newest one.
    thread: NewestThread,
    /// The rebuild beside the learner, on its way to it.
    prepared: PreparedHistory,
    /// Versions that hold retracted feedback.
    tainted: Mutex<TaintedVersions>,
    /// Feedback that was taken back, as far as its ids are remembered.
    retracted: RetractedFeedback,
}

/// The turn of a retraction: as long as it lives no other one begins.
pub(crate) struct RetractionTurn {
    retractions: Arc<Retractions>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for RetractionTurn {
    fn drop(&mut self) {
        if let Ok(mut prepared) = self.retractions.prepared.lock() {
            *prepared = None;
        }
        self.retractions.under_way.store(false, Release);
    }
}

impl Retractions {
    pub(crate) fn new(
        prepared: PreparedHistory,
        tainted: TaintedVersions,
        retracted: RetractedFeedback,
    ) -> Retractions {
        Retractions {
            turn: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(TURNS_MAX)),
            under_way: AtomicBool::new(false),
            thread: NewestThread::named("retract"),
            prepared,
            tainted: Mutex::new(tainted),
            retracted,
        }
    }

    /// Waits until no other retraction is under way; none where too many wait already.
    pub(crate) async fn take_turn(self: &Arc<Retractions>) -> Option<RetractionTurn> {
        let _waiting = self.waiting.clone().try_acquire_owned().ok()?;
        let permit = self.turn.clone().acquire_owned().await;
        let turn = RetractionTurn {
            retractions: self.clone(),
            _permit: permit.expect("nobody closes it"),
        };
        self.under_way.store(true, Release);
        Some(turn)
    }

    /// True while a retraction waits for its turn.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.available_permits() < TURNS_MAX
    }

    /// True while a retraction is under way: no state is removed that it may start from.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.load(Relaxed)
    }

    /// Runs a retraction on a thread of its own, which ends before the engine does.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.thread.run(work)
    }

    /// Waits until the thread of the newest one has ended.
    pub(crate) fn join(&self) {
        self.thread.join();
    }

    /// Hands a rebuild over to the learner, until the turn ends.
    pub(crate) fn prepare(&self, rebuild: Rebuild) {
        let mut prepared = self.prepared.lock().expect("nothing panics under it");
        *prepared = Some(rebuild);
    }

    /// The versions that hold retracted feedback.
    pub(crate) fn tainted(&self) -> TaintedVersions {
        self.tainted
            .lock()
            .expect("nothing panics under it")
            .clone()
    }

    pub(crate) fn set_tainted(&self, tainted: &TaintedVersions) {
        let mut all = self.tainted.lock().expect("nothing panics under it");
        all.clone_from(tainted);
    }

    /// The feedback that was taken back.
    pub(crate) fn retracted(&self) -> &RetractedFeedback {
        &self.retracted
    }
}
