//! Lines for people and programs.
//!
//! Invariant: a closed stdout is an error that ends the command quietly, and a closed stderr
//! changes nothing; neither panics.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Prints one record, and flushes it: who reads it may be waiting.
pub fn line(record: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{record}")?;
    Ok(stdout.flush()?)
}

/// Prints one line for people beside the results.
pub fn note(text: impl Display) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Who runs this command, as the journal names him where no server is asked.
pub fn user() -> String {
    // SAFETY: it takes nothing and cannot fail.
    let id = unsafe { libc::getuid() };
    format!("uid {id}")
}

/// Whether a command failed only because nobody reads its output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// A share or a mean as JSON and people read it: what is not known is null and `-`.
pub fn shown(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.4}"))
}

/// The same as JSON.
pub fn json(value: Option<f64>) -> Value {
    value.map_or(Value::Null, Value::from)
}

/// A line on stderr that says how far a command has come.
pub struct Progress {
    is_terminal: bool,
    period: Duration,
    shown: Instant,
    /// Whether a line stands on the terminal that must be ended.
    is_open: bool,
}

impl Progress {
    /// On a terminal one line that changes every second, elsewhere a line every five.
    pub fn new() -> Progress {
        let is_terminal = io::stderr().is_terminal();
        Progress {
            is_terminal,
            period: Duration::from_secs(if is_terminal { 1 } else { 5 }),
            shown: Instant::now(),
            is_open: false,
        }
    }

    /// Shows the text if it is time to.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        if self.shown.elapsed() < self.period {
            return;
        }
        self.shown = Instant::now();
        match self.is_terminal {
            // Erases what a longer line left behind.
            true => {
                let mut stderr = io::stderr().lock();
                let _ = write!(stderr, "\r{}\x1b[K", text()).and_then(|()| stderr.flush());
                self.is_open = true;
            }
            false => note(text()),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_open {
            note("");
        }
    }
}
