//! The progress line of a run, shared by parallel runs.
//!
//! Invariant: a run updates the line a few times a second at most, whatever its speed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::print::ProgressLine;

/// The shortest time between two updates of one run.
const UPDATE_PERIOD: Duration = Duration::from_millis(250);

/// The line: the newest text of each run.
struct SharedProgress {
    progress: ProgressLine,
    texts: Vec<String>,
}

/// The part of the line that one run updates.
pub(crate) struct RunProgress {
    shared: Arc<Mutex<SharedProgress>>,
    index: usize,
    /// The prefix of each text; empty for a single run.
    name: String,
    updated: Instant,
}

impl RunProgress {
    /// The line of a single run.
    pub(crate) fn alone() -> RunProgress {
        let shared = SharedProgress {
            progress: ProgressLine::new(),
            texts: vec![String::new()],
        };
        RunProgress {
            shared: Arc::new(Mutex::new(shared)),
            index: 0,
            name: String::new(),
            updated: Instant::now(),
        }
    }

    /// A part for each run, prefixed by its name; a single run has no prefix.
    pub(crate) fn of(names: &[String]) -> Vec<RunProgress> {
        if names.len() == 1 {
            return vec![RunProgress::alone()];
        }
        let shared = Arc::new(Mutex::new(SharedProgress {
            progress: ProgressLine::new(),
            texts: names.iter().map(|name| format!("{name}: -")).collect(),
        }));
        let line = |(index, name): (usize, &String)| RunProgress {
            shared: shared.clone(),
            index,
            name: format!("{name}: "),
            updated: Instant::now(),
        };
        names.iter().enumerate().map(line).collect()
    }

    /// Shows the text, if the last update is old enough.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.updated.elapsed() < UPDATE_PERIOD {
            return;
        }
        self.updated = Instant::now();
        // The texts are whole also where another run panicked.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let SharedProgress { progress, texts } = &mut *shared;
        texts[self.index] = format!("{}{}", self.name, text());
        progress.show(|| texts.join(" | "));
    }
}
