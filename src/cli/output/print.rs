//! Lines for people and programs.
//!
//! Invariant: a closed stdout is an error that ends the command quietly, and a closed stderr
//! changes nothing; neither panics.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Prints one record, and flushes it: a reader may be waiting.
pub(crate) fn line(record: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{record}")?;
    Ok(stdout.flush()?)
}

/// Prints one line for people on stderr.
pub(crate) fn note(text: impl Display) {
    // A closed stderr is ignored.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The user who runs this command, as the journal records an actor without a server.
pub(crate) fn user() -> String {
    // SAFETY: it takes nothing and cannot fail.
    let id = unsafe { libc::getuid() };
    format!("uid {id}")
}

/// True if a command failed only because its output was closed.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// A share or a mean for people; `-` where it is not known.
pub(crate) fn shown(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.4}"))
}

/// A share or a mean as JSON; null where it is not known.
pub(crate) fn json(value: Option<f64>) -> Value {
    value.map_or(Value::Null, Value::from)
}

/// A count with its noun, as in `1 row` and `2 rows`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// The verb for so many things.
pub(crate) fn were(n: u64) -> &'static str {
    if n == 1 { "was" } else { "were" }
}

/// The progress line of a command, on stderr.
pub(crate) struct ProgressLine {
    is_terminal: bool,
    period: Duration,
    shown: Instant,
    /// True while a line on the terminal has yet to be ended.
    is_open: bool,
}

impl ProgressLine {
    /// A progress line: on a terminal updated every second, elsewhere a new line every five.
    pub(crate) fn new() -> ProgressLine {
        let is_terminal = io::stderr().is_terminal();
        ProgressLine {
            is_terminal,
            period: Duration::from_secs(if is_terminal { 1 } else { 5 }),
            shown: Instant::now(),
            is_open: false,
        }
    }

    /// Shows the text, if the period is over.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.shown.elapsed() < self.period {
            return;
        }
        self.shown = Instant::now();
        if self.is_terminal {
            // Erases the rest of a longer line.
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r{}\x1b[K", text()).and_then(|()| stderr.flush());
            self.is_open = true;
        } else {
            note(text());
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_open {
            note("");
        }
    }
}
