//! Threads of the engine: starting one, waiting for its result, waiting for a future on one.
//!
//! Invariant: no async runtime is needed here and none is entered, so callers may have any, also
//! one with a single thread.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread::{JoinHandle, Thread};

use tokio::sync::oneshot;

/// Starts a named thread.
///
/// # Panics
/// When the system has no thread to give.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder
        .spawn(work)
        .expect("the system has a thread to give")
}

/// The newest thread of one purpose, which an engine that stops waits for.
#[derive(Debug)]
pub(crate) struct NewestThread {
    name: &'static str,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl NewestThread {
    /// No thread yet; the threads to come have this name.
    pub(crate) fn named(name: &'static str) -> NewestThread {
        NewestThread {
            name,
            handle: Mutex::new(None),
        }
    }

    /// Runs work on a thread of its own.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        let handle = thread.spawn(work)?;
        *self.handle.lock().expect("nothing panics under it") = Some(handle);
        Ok(())
    }

    /// Waits until the newest one has ended.
    pub(crate) fn join(&self) {
        let handle = self.handle.lock().expect("nothing panics under it").take();
        let _ = handle.map(JoinHandle::join);
    }
}

/// Runs work that blocks on a thread of its own, where it goes on to its end also when the caller
/// no longer waits; none where it panics, or the system has no thread to give.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, ended) = oneshot::channel();
    let builder = std::thread::Builder::new().name(name.to_owned());
    let spawned = builder.spawn(move || drop(done.send(work())));
    if let Err(error) = spawned {
        tracing::error!(name, %error, "no thread to run on");
    }
    ended.await.ok()
}

/// Waits for a future on a thread that has nothing else to do.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_panics_has_no_result() {
        assert_eq!(block_on(run("test", || 7)), Some(7));
        assert_eq!(block_on(run("test", || -> u8 { panic!("a bug") })), None);
    }
}
