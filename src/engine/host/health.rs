//! Health of a served model: whether it takes entries and whether it learns, as one state machine.
//!
//! Invariant: the phase only rises: open, stopping, journal failed, halted. A shortage that passes
//! (no room for a segment or for feedback ids, no descriptor) is beside it and ends by itself.

use arc_swap::ArcSwap;
use tokio::sync::watch;

/// The phases, in the order in which they can follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum AcceptancePhase {
    /// Entries are taken and learned.
    #[default]
    Open,
    /// The engine closes: no entry is taken any more, and those on disk are learned.
    Stopping,
    /// The journal takes no more entries; those on disk are learned.
    JournalFailed(String),
    /// Learning has ended for this reason.
    Halted(String),
}

#[derive(Clone, Debug, Default)]
struct HealthState {
    phase: AcceptancePhase,
    /// The reason why the next segment cannot be made now.
    stalled: Option<String>,
    /// True while the learner waits for a descriptor to read on with, between two entries.
    starved: bool,
    /// Why the disk takes no feedback ids now.
    unwritten_ids: Option<String>,
}

/// The readiness of a model for a further entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryReadiness {
    Open,
    /// Entries wait until the next segment can be made; the reason why it cannot be now.
    Stalled(String),
    /// No entry is taken any more, for this reason.
    Closed(String),
}

/// The health of one model, read without a lock.
#[derive(Debug)]
pub(crate) struct Health {
    state: ArcSwap<HealthState>,
    /// Set once feedback has stopped for any model of the engine.
    feedback_stopped: watch::Sender<bool>,
}

impl AcceptancePhase {
    fn rank(&self) -> u8 {
        match self {
            AcceptancePhase::Open => 0,
            AcceptancePhase::Stopping => 1,
            AcceptancePhase::JournalFailed(_) => 2,
            AcceptancePhase::Halted(_) => 3,
        }
    }

    /// The reason why no entry is taken.
    fn closed(&self) -> Option<&str> {
        match self {
            AcceptancePhase::Open => None,
            AcceptancePhase::Stopping => Some("the server is stopping"),
            AcceptancePhase::JournalFailed(why) | AcceptancePhase::Halted(why) => Some(why),
        }
    }
}

impl Health {
    pub(crate) fn new(feedback_stopped: watch::Sender<bool>) -> Health {
        Health {
            state: ArcSwap::default(),
            feedback_stopped,
        }
    }

    /// The readiness of the model for a further entry.
    pub(crate) fn intake(&self) -> EntryReadiness {
        let state = self.state.load();
        match (state.phase.closed(), &state.stalled) {
            (Some(why), _) => EntryReadiness::Closed(why.to_owned()),
            (None, Some(why)) => EntryReadiness::Stalled(why.clone()),
            (None, None) => EntryReadiness::Open,
        }
    }

    /// The reason why no entry is taken any more.
    pub(crate) fn closed(&self) -> Option<String> {
        self.state.load().phase.closed().map(str::to_owned)
    }

    /// The reason why nothing is learned any more.
    pub(crate) fn halted(&self) -> Option<String> {
        match &self.state.load().phase {
            AcceptancePhase::Halted(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// The reason why a position that was not reached never will be; one on `disk` needs the learner alone.
    pub(crate) fn ended(&self, on_disk: bool) -> Option<String> {
        if on_disk {
            self.halted()
        } else {
            self.closed()
        }
    }

    /// True once nothing can be written any more.
    pub(crate) fn journal_has_failed(&self) -> bool {
        matches!(self.state.load().phase, AcceptancePhase::JournalFailed(_))
    }

    pub(crate) fn is_halted(&self) -> bool {
        matches!(self.state.load().phase, AcceptancePhase::Halted(_))
    }

    /// The reason why the next segment cannot be made now.
    pub(crate) fn stalled(&self) -> Option<String> {
        self.state.load().stalled.clone()
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.state.load().stalled.is_some()
    }

    pub(crate) fn is_starved(&self) -> bool {
        self.state.load().starved
    }

    /// Why the disk takes no feedback ids now.
    pub(crate) fn unwritten_ids(&self) -> Option<String> {
        self.state.load().unwritten_ids.clone()
    }

    /// True if learning to the end of the journal, or journaling its records, has to wait.
    pub(crate) fn is_stuck(&self) -> bool {
        let state = self.state.load();
        let failed = matches!(
            state.phase,
            AcceptancePhase::JournalFailed(_) | AcceptancePhase::Halted(_)
        );
        failed || state.starved || state.stalled.is_some()
    }

    /// Takes no entry from here on.
    pub(crate) fn stop(&self) {
        self.raise(AcceptancePhase::Stopping);
    }

    /// Takes no entry from here on, since none can be written; whether any was taken until now.
    pub(crate) fn fail_journal(&self, why: String) -> bool {
        let was_open = self.raise(AcceptancePhase::JournalFailed(why)) == AcceptancePhase::Open;
        if was_open {
            self.feedback_stopped.send_replace(true);
        }
        was_open
    }

    /// Takes and learns nothing from here on.
    pub(crate) fn halt(&self, why: String) {
        self.raise(AcceptancePhase::Halted(why));
        self.feedback_stopped.send_replace(true);
    }

    /// Takes no entry until the next segment can be made; whether that is new.
    pub(crate) fn stall(&self, why: String) -> bool {
        self.replace(|state| HealthState {
            stalled: Some(why.clone()),
            ..state.clone()
        })
        .stalled
        .is_none()
    }

    /// The segment could be made, or never can be.
    pub(crate) fn end_stall(&self) {
        self.replace(|state| HealthState {
            stalled: None,
            ..state.clone()
        });
    }

    /// Notes whether the learner waits for a descriptor; whether that is new.
    pub(crate) fn set_starved(&self, starved: bool) -> bool {
        // Looked at every few entries, and hardly ever changed.
        if self.is_starved() == starved {
            return false;
        }
        self.replace(|state| HealthState {
            starved,
            ..state.clone()
        });
        true
    }

    /// Notes why the disk takes no feedback ids now, or that it does; whether it did before.
    pub(crate) fn set_unwritten_ids(&self, why: Option<String>) -> bool {
        if self.state.load().unwritten_ids == why {
            return why.is_none();
        }
        let before = self.replace(|state| HealthState {
            unwritten_ids: why.clone(),
            ..state.clone()
        });
        before.unwritten_ids.is_none()
    }

    /// Goes on to a phase unless a later one is reached; gives the phase before.
    fn raise(&self, phase: AcceptancePhase) -> AcceptancePhase {
        let before = self.replace(|state| HealthState {
            phase: if state.phase.rank() < phase.rank() {
                phase.clone()
            } else {
                state.phase.clone()
            },
            ..state.clone()
        });
        before.phase
    }

    fn replace(&self, next: impl Fn(&HealthState) -> HealthState) -> HealthState {
        HealthState::clone(&self.state.rcu(|state| next(state)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> (Health, watch::Receiver<bool>) {
        let (stopped, has_stopped) = watch::channel(false);
        (Health::new(stopped), has_stopped)
    }

    #[test]
    fn p12_a_shortage_ends_and_leaves_nothing_behind() {
        let (health, stopped) = health();
        assert!(health.stall("no room".to_owned()));
        assert!(!health.stall("no descriptor".to_owned()));
        assert_eq!(
            health.intake(),
            EntryReadiness::Stalled("no descriptor".to_owned())
        );
        assert!(health.is_stuck() && health.closed().is_none());
        health.end_stall();
        assert!(health.set_starved(true) && !health.set_starved(true));
        assert!(health.is_stuck());
        assert_eq!(health.intake(), EntryReadiness::Open);
        assert!(health.set_starved(false));
        assert!(!health.is_stuck() && !*stopped.borrow());
    }

    #[test]
    fn ids_that_are_not_written_are_a_shortage_that_is_new_once() {
        let (health, _) = health();
        assert!(health.set_unwritten_ids(None));
        assert!(health.set_unwritten_ids(Some("no room".to_owned())));
        assert!(!health.set_unwritten_ids(Some("no room".to_owned())));
        assert!(!health.set_unwritten_ids(Some("no file".to_owned())));
        assert_eq!(health.unwritten_ids().as_deref(), Some("no file"));
        assert_eq!(health.intake(), EntryReadiness::Open);
        assert!(!health.set_unwritten_ids(None));
        assert!(health.set_unwritten_ids(Some("no room".to_owned())));
    }

    #[test]
    fn a_phase_only_rises() {
        let (health, stopped) = health();
        health.stop();
        assert_eq!(health.ended(true), None);
        assert_eq!(
            health.ended(false).as_deref(),
            Some("the server is stopping")
        );
        // Feedback had ended before.
        assert!(!health.fail_journal("no disk".to_owned()));
        assert!(!*stopped.borrow() && health.journal_has_failed());
        health.stop();
        assert_eq!(health.closed().as_deref(), Some("no disk"));
        health.halt("a bug".to_owned());
        assert!(!health.fail_journal("no disk".to_owned()));
        assert_eq!(health.intake(), EntryReadiness::Closed("a bug".to_owned()));
        assert_eq!(health.ended(true).as_deref(), Some("a bug"));
        assert!(*stopped.borrow() && health.is_stuck());
    }

    #[test]
    fn a_failed_journal_stops_feedback_and_no_learning() {
        let (health, stopped) = health();
        assert!(health.fail_journal("no disk".to_owned()));
        assert!(*stopped.borrow() && !health.is_halted());
        assert_eq!(health.ended(true), None);
    }
}
