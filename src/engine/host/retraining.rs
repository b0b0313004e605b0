//! The learner of one model that begins anew: at most one is derived at a time, on a thread of its own.
//!
//! Invariant: an engine that stops waits for the thread, which ends soon by itself then.

use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release};

use crate::engine::compute::threads::NewestThread;

/// Whether one is derived, and where.
#[derive(Debug)]
pub(crate) struct Retraining {
    runs: AtomicBool,
    thread: NewestThread,
}

impl Default for Retraining {
    fn default() -> Retraining {
        Retraining {
            runs: AtomicBool::new(false),
            thread: NewestThread::named("retrain"),
        }
    }
}

impl Retraining {
    /// Begins; false where one is derived already.
    pub(crate) fn begin(&self) -> bool {
        !self.runs.swap(true, AcqRel)
    }

    /// Ends.
    pub(crate) fn end(&self) {
        self.runs.store(false, Release);
    }

    /// True while one is derived.
    pub(crate) fn runs(&self) -> bool {
        self.runs.load(Relaxed)
    }

    /// Runs what derives it on a thread of its own.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.thread.run(work)
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(&self) {
        self.thread.join();
    }
}
