//! The learner of one model that begins anew: at most one is derived at a time, on a thread of its own.
//!
//! Invariant: an engine that stops waits for the thread, which ends soon by itself then.

use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::compute::threads::NewestThread;

/// The pause after an order that the journal did not take.
const REST: Duration = Duration::from_secs(60);

/// Whether one is derived, and where.
#[derive(Debug)]
pub(crate) struct RetrainingThread {
    runs: AtomicBool,
    /// The time at which the journal last did not take an order of it.
    failed_at: Mutex<Option<Instant>>,
    thread: NewestThread,
}

impl Default for RetrainingThread {
    fn default() -> RetrainingThread {
        RetrainingThread {
            runs: AtomicBool::new(false),
            failed_at: Mutex::default(),
            thread: NewestThread::named("retrain"),
        }
    }
}

impl RetrainingThread {
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

    /// The journal did not take an order of it at this moment: an order that a description asks for would begin
    /// again at once, at every turn of the learner.
    pub(crate) fn fail(&self, now: Instant) {
        let mut failed_at = self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *failed_at = Some(now);
    }

    /// True for a minute after that.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        let failed_at = self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failed_at.is_some_and(|at| now.saturating_duration_since(at) < REST)
    }

    /// Runs the derivation on a thread of its own.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.thread.run(work)
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(&self) {
        self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_after_an_order_that_was_not_taken_it_rests_and_then_goes_on() {
        let (retraining, now) = (RetrainingThread::default(), Instant::now());
        assert!(!retraining.rests(now));
        retraining.fail(now);
        assert!(retraining.rests(now));
        assert!(retraining.rests(now + REST / 2));
        assert!(!retraining.rests(now + REST));
    }
}
