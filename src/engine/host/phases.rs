//! The durations of the phases of predictions and of feedback.
//!
//! Invariant: only requests to this process are counted, and no entries of an earlier one.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::engine::compute::histogram::{Histogram, HistogramCounts};

/// Events that were taken and are not served yet; further ones are not counted.
const UNSERVED_MAX: usize = 65_536;

/// A phase of a prediction, or of feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A prediction waits for its turn to be computed.
    Queue,
    /// Its texts and vectors pass their encoders.
    Encode,
    /// The forward pass, and the answer from its outputs.
    Compute,
    /// The answer is handed to the journal.
    Journal,
    /// Feedback, from when it is taken until it is on disk.
    Acknowledge,
    /// Feedback, from when it is taken until a state that has learned it answers.
    Serve,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 6] = [
        Phase::Queue,
        Phase::Encode,
        Phase::Compute,
        Phase::Journal,
        Phase::Acknowledge,
        Phase::Serve,
    ];

    /// Its name in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Queue => "queue",
            Phase::Encode => "encode",
            Phase::Compute => "compute",
            Phase::Journal => "journal",
            Phase::Acknowledge => "acknowledge",
            Phase::Serve => "serve",
        }
    }
}

/// The durations of each phase, in microseconds, and the feedback that is on its way.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    histograms: [Histogram; Phase::ALL.len()],
    /// Positions of feedback that is on disk and not served yet, with the moment it was taken.
    unserved: Mutex<VecDeque<(u64, Instant)>>,
}

impl Phases {
    /// A phase ends now that began then; the moment is that of the next one.
    pub(crate) fn end(&self, phase: Phase, began: Instant) -> Instant {
        let now = Instant::now();
        self.add(phase, now.duration_since(began));
        now
    }

    fn add(&self, phase: Phase, took: Duration) {
        self.histograms[phase as usize].add(took.as_micros() as u64);
    }

    /// Feedback that was taken at these moments is on disk, in the order of its positions.
    pub(crate) fn acknowledge(&self, taken: impl Iterator<Item = (Option<u64>, Instant)>) {
        let mut unserved = self.unserved.lock().expect("nothing panics under it");
        for (position, since) in taken {
            self.end(Phase::Acknowledge, since);
            if let Some(position) = position.filter(|_| unserved.len() < UNSERVED_MAX) {
                unserved.push_back((position, since));
            }
        }
    }

    /// The state of this position answers.
    pub(crate) fn serve(&self, position: u64) {
        let mut unserved = self.unserved.lock().expect("nothing panics under it");
        while let Some((_, since)) = unserved.pop_front_if(|(one, _)| *one <= position) {
            self.end(Phase::Serve, since);
        }
    }

    /// The durations so far, in the order of [`Phase::ALL`].
    pub(crate) fn counts(&self) -> [HistogramCounts; Phase::ALL.len()] {
        self.histograms.each_ref().map(Histogram::counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feedback_is_served_once_its_position_is() {
        let (phases, since) = (Phases::default(), Instant::now());
        let n = |phase: Phase| phases.counts()[phase as usize].total();
        let taken = [Some(3), None, Some(5), Some(8)];
        phases.acknowledge(taken.into_iter().map(|position| (position, since)));
        assert_eq!((n(Phase::Acknowledge), n(Phase::Serve)), (4, 0));
        phases.serve(5);
        assert_eq!(n(Phase::Serve), 2);
        phases.serve(7);
        phases.serve(8);
        assert_eq!(n(Phase::Serve), 3);
        let many = (0..2 * UNSERVED_MAX as u64).map(|position| (Some(position), since));
        phases.acknowledge(many);
        phases.serve(u64::MAX);
        assert_eq!(n(Phase::Serve), 3 + UNSERVED_MAX as u64);
    }
}
