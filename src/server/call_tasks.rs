//! The tasks of calls over gRPC.
//!
//! Invariant: a call that awaits [`end_if_reset`] does nothing behind it where its caller was known to
//! have gone. HTTP/2 reports that to the task of a call only where this waits; so it waits for nothing,
//! and is polled again at once.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::Executor;

/// Runs each call on a task of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallTasks;

/// The task of a thread that serves a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Polling {
    Nothing,
    /// The thread polls a call.
    Call,
    /// That one asks whether its caller has gone.
    Asking,
}

thread_local! {
    static POLLING: Cell<Polling> = const { Cell::new(Polling::Nothing) };
}

impl<C: Future<Output = ()> + Send + 'static> Executor<C> for CallTasks {
    fn execute(&self, call: C) {
        tokio::spawn(CallTask(call));
    }
}

struct CallTask<C>(C);

impl<C: Future<Output = ()>> Future for CallTask<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the call is pinned with its task, which never moves it.
        let mut call = unsafe { self.map_unchecked_mut(|task| &mut task.0) };
        loop {
            POLLING.set(Polling::Call);
            let polled = call.as_mut().poll(context);
            let asks = POLLING.replace(Polling::Nothing) == Polling::Asking;
            if polled.is_ready() || !asks {
                return polled;
            }
        }
    }
}

/// Ends the call that awaits it if its caller is known to have gone; else it goes on at once.
pub(super) async fn end_if_reset() {
    let mut has_asked = false;
    poll_fn(|_| {
        // Outside of such a task nothing would poll it again.
        if has_asked || POLLING.get() != Polling::Call {
            return Poll::Ready(());
        }
        has_asked = true;
        POLLING.set(Polling::Asking);
        Poll::Pending
    })
    .await;
}

/// True while the call that is polled asks whether its caller has gone, and waits for nothing else.
pub(super) fn is_asking() -> bool {
    POLLING.get() == Polling::Asking
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_call_that_asks_is_polled_again_at_once_and_any_other_goes_on() {
        end_if_reset().await;
        let (done, ended) = oneshot::channel();
        let n_polls = Arc::new(AtomicUsize::new(0));
        let counted = n_polls.clone();
        let mut call = Box::pin(async move {
            end_if_reset().await;
            end_if_reset().await;
            let _ = done.send(());
        });
        CallTasks.execute(poll_fn(move |context| {
            counted.fetch_add(1, Relaxed);
            call.as_mut().poll(context)
        }));
        ended.await.expect("it goes on");
        assert_eq!(n_polls.load(Relaxed), 3);
    }
}
