//! The learner of one model that begins anew: at most one is derived at a time, on a thread of its own.
//!
//! Invariant: an engine that stops waits for the thread, which ends soon by itself then.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release};
use std::thread::JoinHandle;

/// Whether one is derived, and where.
#[derive(Debug, Default)]
pub(crate) struct Retraining {
    runs: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
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
        let thread = std::thread::Builder::new().name("retrain".to_owned());
        let handle = thread.spawn(work)?;
        *self.thread.lock().expect("nothing panics under it") = Some(handle);
        Ok(())
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(&self) {
        let mut thread = self.thread.lock().expect("nothing panics under it");
        let handle = thread.take();
        drop(thread);
        let _ = handle.map(JoinHandle::join);
    }
}
