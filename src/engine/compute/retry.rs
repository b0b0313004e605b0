//! Retries of reads and writes while the system is short of descriptors, of memory or of room on the disk.
//!
//! Invariant: a shortage that passes decides nothing. The learner of a served model waits for its
//! end, in steps that a stop ends at once; all other readers get the error.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::store::Error;

/// The time between two attempts.
const STEP: Duration = Duration::from_millis(50);

/// The retrying of lookups where the system is short of something; a clone retries and ends with
/// the others. The default never retries.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShortageRetry(Option<Arc<RetryState>>);

#[derive(Debug)]
struct RetryState {
    model: String,
    n_waiting: AtomicUsize,
    ended: Mutex<bool>,
    end: Condvar,
}

impl ShortageRetry {
    /// The retrying for the learner of a model that is served.
    pub(crate) fn of(model: &str) -> ShortageRetry {
        ShortageRetry(Some(Arc::new(RetryState {
            model: model.to_owned(),
            n_waiting: AtomicUsize::new(0),
            ended: Mutex::new(false),
            end: Condvar::new(),
        })))
    }

    /// Ends every wait, for good.
    pub(crate) fn end(&self) {
        if let Some(state) = &self.0 {
            *state.ended.lock().expect("nothing panics under it") = true;
            state.end.notify_all();
        }
    }

    /// True while a lookup waits.
    pub(crate) fn is_waiting(&self) -> bool {
        let state = self.0.as_ref();
        state.is_some_and(|state| state.n_waiting.load(Relaxed) > 0)
    }

    /// Looks it up, and again as long as the system is short of something.
    ///
    /// # Errors
    /// Those of the lookup; a shortage only where lookups do not wait, or no longer do.
    pub(crate) fn run<T>(&self, mut lookup: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let found = lookup();
        let Some(state) = &self.0 else {
            return found;
        };
        match found {
            Err(error) if error.is_passing() => state.look_again(error, lookup),
            found => found,
        }
    }
}

impl RetryState {
    fn look_again<T>(
        &self,
        mut error: Error,
        mut lookup: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let model = &self.model;
        tracing::warn!(model, %error, "learning waits for descriptors, memory or room");
        self.n_waiting.fetch_add(1, Relaxed);
        let found = loop {
            if self.wait() {
                break Err(error);
            }
            match lookup() {
                Err(again) if again.is_passing() => error = again,
                found => break found,
            }
        };
        self.n_waiting.fetch_sub(1, Relaxed);
        if found.is_ok() {
            tracing::info!(model, "learning goes on");
        }
        found
    }

    /// Waits a step; true where no wait goes on.
    fn wait(&self) -> bool {
        let ended = self.ended.lock().expect("nothing panics under it");
        let waited = self.end.wait_timeout_while(ended, STEP, |ended| !*ended);
        *waited.expect("nothing panics under it").0
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    fn refused(code: i32) -> Error {
        Error::Io {
            path: PathBuf::from("segment"),
            doing: "open it",
            source: io::Error::from_raw_os_error(code),
        }
    }

    #[test]
    fn p12_what_passes_is_looked_up_again_and_nothing_else_is() {
        let check = |retry: &ShortageRetry, code: i32, n_looks: usize| {
            let mut n_looked = 0;
            let found = retry.run(|| {
                n_looked += 1;
                match n_looked {
                    3 => Ok("found"),
                    _ => Err(refused(code)),
                }
            });
            assert_eq!((n_looked, found.is_ok()), (n_looks, n_looks == 3), "{code}");
            assert!(!retry.is_waiting());
        };
        let retry = ShortageRetry::of("m");
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            check(&retry, code, 3);
        }
        check(&retry, libc::EIO, 1);
        check(&ShortageRetry::default(), libc::EMFILE, 1);
        retry.end();
        check(&retry.clone(), libc::EMFILE, 1);
    }

    #[test]
    fn p12_a_stop_ends_a_wait() {
        let retry = ShortageRetry::of("m");
        let (waits, other) = (retry.clone(), retry.clone());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || waits.run(|| Err::<(), _>(refused(libc::EMFILE))));
            while !other.is_waiting() {
                std::thread::yield_now();
            }
            other.end();
            assert!(waiter.join().unwrap().unwrap_err().is_passing());
        });
    }
}
