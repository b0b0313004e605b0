//! Which thread gives way to which: learning to answering, and neither to what a person waits for.
//!
//! Invariant: a thread that learns in the background runs only where no other wants the core, and
//! an order that a person waits for is not left to such a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

use crate::engine::host::served_model::ModelRuntime;

/// What of a model is urgent, and which learner thread is at it.
#[derive(Debug, Default)]
pub struct Urgency {
    /// Orders that persons wait for.
    n_orders: AtomicUsize,
    /// The learner thread that has the model's turn; 0 where none has.
    learner: AtomicI32,
}

impl Urgency {
    /// Whether learner threads are to leave the model to the orders on their way.
    pub fn is_urgent(&self) -> bool {
        self.n_orders.load(Relaxed) > 0
    }

    /// A learner thread's turn. Where it was hastened in the one before, it stands back again.
    pub fn turn<T>(&self, turn: impl FnOnce() -> T) -> T {
        if !policy::is_background() {
            stand_back();
        }
        self.learner.store(policy::this_thread(), Relaxed);
        let done = turn();
        self.learner.store(0, Relaxed);
        done
    }
}

/// An order that a person waits for: as long as it lives, learner threads leave the model alone.
pub struct Urgent(Arc<ModelRuntime>);

impl Urgent {
    /// An order is on its way. A learner thread in the middle of an entry is hastened, where the
    /// system allows that, so that the order does not wait for a thread that is not run.
    pub fn new(runtime: &Arc<ModelRuntime>) -> Urgent {
        let urgency = &runtime.urgency;
        urgency.n_orders.fetch_add(1, Relaxed);
        let learner = urgency.learner.load(Relaxed);
        if learner != 0 {
            policy::hasten(learner);
        }
        Urgent(runtime.clone())
    }

    /// Learns up to the order on this thread, which does not stand back.
    pub fn learn_to(&self, position: u64) {
        self.0.learn_to(position);
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.urgency.n_orders.fetch_sub(1, Relaxed);
        // What came meanwhile is the learner threads' again.
        self.0.schedule();
    }
}

/// Lets the system run this thread only where no other thread wants the core.
pub fn stand_back() {
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

    pub fn stand_back() -> bool {
        set(0, SCHED_IDLE)
    }

    pub fn hasten(thread: i32) {
        // Where that is not allowed, its entry ends when the system lets it.
        set(thread, SCHED_OTHER);
    }

    pub fn is_background() -> bool {
        // SAFETY: it takes no pointer, and 0 names the calling thread.
        unsafe { libc::sched_getscheduler(0) == SCHED_IDLE }
    }

    pub fn this_thread() -> i32 {
        // SAFETY: it takes nothing and cannot fail.
        unsafe { libc::gettid() }
    }
}

/// Elsewhere every thread keeps its priority.
#[cfg(not(target_os = "linux"))]
mod policy {
    pub fn stand_back() -> bool {
        true
    }

    pub fn hasten(_: i32) {}

    pub fn is_background() -> bool {
        true
    }

    pub fn this_thread() -> i32 {
        0
    }
}
