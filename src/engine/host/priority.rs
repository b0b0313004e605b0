//! Thread priorities: learning gives way to answers, and to an order that a person waits for.
//!
//! Invariant: a thread that learns in the background runs only where no other wants the core, and
//! an order that a person waits for is not left to such a thread.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

/// The orders on their way to a model, and the learner thread that has its turn.
#[derive(Debug, Default)]
pub(crate) struct Urgency {
    /// Orders that persons wait for.
    n_orders: AtomicUsize,
    /// The learner thread that has the model's turn; 0 where none has.
    learner: AtomicI32,
}

impl Urgency {
    /// True if learner threads are to leave the model to orders that are about to come.
    pub(crate) fn is_urgent(&self) -> bool {
        self.n_orders.load(Relaxed) > 0
    }

    /// An order is on its way. A learner thread in the middle of an entry is hastened, where the
    /// system allows that, so that the order does not wait for a thread that is not run.
    pub(crate) fn begin(&self) {
        self.n_orders.fetch_add(1, Relaxed);
        let learner = self.learner.load(Relaxed);
        if learner != 0 {
            policy::hasten(learner);
        }
    }

    /// An order has been carried out, or refused.
    pub(crate) fn end(&self) {
        self.n_orders.fetch_sub(1, Relaxed);
    }

    /// A learner thread's turn. Where it was hastened in the one before, it stands back again.
    pub(crate) fn turn<T>(&self, turn: impl FnOnce() -> T) -> T {
        if !policy::is_background() {
            stand_back();
        }
        self.learner.store(policy::this_thread(), Relaxed);
        let done = turn();
        self.learner.store(0, Relaxed);
        done
    }
}

/// Lets the system run this thread only where no other thread wants the core.
pub(crate) fn stand_back() {
    if !policy::stand_back() {
        tracing::warn!("learner threads keep the priority of the others");
    }
}

/// Scheduling policies, sched(7). Every thread may enter `SCHED_IDLE`; to leave it, or to take
/// another thread out of it, takes CAP_SYS_NICE or a RLIMIT_NICE of 20.
#[cfg(target_os = "linux")]
mod policy {
    use libc::{SCHED_IDLE, SCHED_OTHER};

    fn set(thread: i32, policy: libc::c_int) -> bool {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the pointer is to a live value.
        unsafe { libc::sched_setscheduler(thread, policy, &parameters) == 0 }
    }

    pub(super) fn stand_back() -> bool {
        set(0, SCHED_IDLE)
    }

    pub(super) fn hasten(thread: i32) {
        // Where that is not allowed, its entry ends when the system lets it.
        set(thread, SCHED_OTHER);
    }

    pub(super) fn is_background() -> bool {
        // SAFETY: it takes no pointer, and 0 names the calling thread.
        unsafe { libc::sched_getscheduler(0) == SCHED_IDLE }
    }

    pub(super) fn this_thread() -> i32 {
        // SAFETY: it takes nothing and cannot fail.
        unsafe { libc::gettid() }
    }
}

/// Elsewhere every thread keeps its priority.
#[cfg(not(target_os = "linux"))]
mod policy {
    pub(crate) fn stand_back() -> bool {
        true
    }

    pub(crate) fn hasten(_: i32) {}

    pub(crate) fn is_background() -> bool {
        true
    }

    pub(crate) fn this_thread() -> i32 {
        0
    }
}
