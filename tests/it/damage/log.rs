//! The log of this thread, from warnings upwards.

use std::io::Write;
use std::sync::{Arc, Mutex};

/// The result of a function, and the log of its run.
pub(crate) fn warnings<T>(run: impl FnOnce() -> T) -> (T, String) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let given = tracing::subscriber::with_default(subscriber, run);
    let logged = log.0.lock().unwrap().clone();
    (given, String::from_utf8(logged).unwrap())
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
