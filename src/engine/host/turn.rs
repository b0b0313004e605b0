//! Retractions take turns, each on a thread of its own that outlives whoever asked.
//!
//! Invariant: as long as one has its turn nothing is removed that it may start from; a bounded
//! number wait, and an engine that stops waits for the one that is under way.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::task::{Context, Poll, Wake};
use std::thread::{JoinHandle, Thread};

use tokio::sync::OwnedSemaphorePermit;

use crate::engine::error::Error;
use crate::engine::host::served_model::ModelRuntime;

/// Retractions of a model that wait for their turn at a time.
pub const TURNS_MAX: usize = 16;

/// What is said of a thread that ended by a bug.
pub const PANICKED: &str = "a thread has panicked";

/// As long as it lives no other retraction begins, and nothing is removed that it may start from.
pub struct Turn {
    runtime: Arc<ModelRuntime>,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Ok(mut prepared) = self.runtime.prepared.lock() {
            *prepared = None;
        }
        self.runtime.retracting.store(false, Release);
    }
}

impl ModelRuntime {
    /// Waits until no other retraction is under way.
    pub async fn take_turn(self: &Arc<ModelRuntime>) -> Result<Turn, Error> {
        let waiting = self.turns_waiting.clone().try_acquire_owned();
        let _waiting = waiting.map_err(|_| Error::Full {
            model: self.name.clone(),
            what: format!("{TURNS_MAX} retractions wait for their turn"),
        })?;
        let turn = self.turn.clone().acquire_owned().await;
        let turn = Turn {
            runtime: self.clone(),
            _turn: turn.expect("nobody closes it"),
        };
        self.retracting.store(true, Release);
        Ok(turn)
    }

    /// Runs a retraction, which ends before the engine does.
    pub fn on_a_thread(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = std::thread::Builder::new().name("retract".to_owned());
        let spawned = thread.spawn(work);
        let handle = spawned
            .map_err(|error| self.unavailable(&format!("no thread to derive on: {error}")))?;
        *self.retraction.lock().expect("nothing panics under it") = Some(handle);
        Ok(())
    }

    /// Waits until the thread of a retraction has ended.
    pub fn join_retraction(&self) {
        let handle = self
            .retraction
            .lock()
            .expect("nothing panics under it")
            .take();
        let _ = handle.map(JoinHandle::join);
    }

    /// Sees to it that what retention has decided to remove is gone before anything starts from
    /// what is there.
    pub fn settle_trims(&self) -> Result<(), Error> {
        let follower = self.follower.lock();
        drop(follower.map_err(|_| self.unavailable(PANICKED))?);
        match self.write_queue.flush() {
            true => Ok(()),
            false => Err(self.unavailable("the writer has stopped")),
        }
    }

    /// Waits until all up to a synced position is applied: on this thread, where no other one is
    /// at it. An engine that stops waits for this thread, and has no others any more.
    pub fn await_applied(self: &Arc<ModelRuntime>, position: u64) -> Result<(), Error> {
        self.learn_to(position);
        block_on(self.wait_for_position(position))
    }
}

/// What a future comes to, on a thread that has nothing else to do.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Parked(Thread);
    impl Wake for Parked {
        fn wake(self: Arc<Parked>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Parked(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
