//! One progress line for runs that go on side by side.
//!
//! Invariant: it is told of a run a few times a second at most, whatever the run's pace.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::print::Progress;

/// How often a run says how far it is.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What is shown: the newest text of each run.
struct Board {
    progress: Progress,
    texts: Vec<String>,
}

/// The part of the line that belongs to one run.
pub struct Line {
    board: Arc<Mutex<Board>>,
    index: usize,
    /// What stands before each text; nothing for a run on its own.
    name: String,
    told: Instant,
}

impl Line {
    /// For a run on its own.
    pub fn alone() -> Line {
        let board = Board {
            progress: Progress::new(),
            texts: vec![String::new()],
        };
        Line {
            board: Arc::new(Mutex::new(board)),
            index: 0,
            name: String::new(),
            told: Instant::now(),
        }
    }

    /// One for each run, under its name; one run needs none.
    pub fn of(names: &[String]) -> Vec<Line> {
        if names.len() == 1 {
            return vec![Line::alone()];
        }
        let board = Arc::new(Mutex::new(Board {
            progress: Progress::new(),
            texts: names.iter().map(|name| format!("{name}: -")).collect(),
        }));
        let line = |(index, name): (usize, &String)| Line {
            board: board.clone(),
            index,
            name: format!("{name}: "),
            told: Instant::now(),
        };
        names.iter().enumerate().map(line).collect()
    }

    /// Says how far the run is, if it is time to.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        if self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        // What another run has left there is a text all the same.
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let Board { progress, texts } = &mut *board;
        texts[self.index] = format!("{}{}", self.name, text());
        progress.show(|| texts.join(" | "));
    }
}
