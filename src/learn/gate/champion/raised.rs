//! The incidents that a gate raises.
//!
//! Invariant: one of a kind and a slice is open at a time, but for rewinds, each of which is one.

use super::{Constancy, EXPLODED, Gate, WATCHED_EXAMPLES};
use crate::event::{Alarm, Time, WatchedStream};
use crate::learn::gate::differences::Differences;
use crate::learn::gate::evidence::Evidence;
use crate::learn::gate::incident::{Incident, IncidentKind, IncidentState};
use crate::learn::monitors::OF_SOURCE;
use crate::model::{Publish, PublishPolicy};

impl Gate {
    /// The candidate proved worse, at a position: raises an incident, and begins the evidence anew. True
    /// if it is a second rewind too close to the first, which freezes the model.
    pub(crate) fn note_decline(&mut self, position: u64, publish: &Publish) -> bool {
        let is_live = publish.policy == PublishPolicy::Live;
        let before = self.rewound_at.replace(self.n_labels);
        let is_close = before.is_some_and(|at| self.n_labels - at <= publish.freeze_within);
        let kind = match (is_live, is_close) {
            (false, _) => IncidentKind::Worse,
            (true, false) => IncidentKind::Rewound,
            (true, true) => IncidentKind::Frozen,
        };
        if is_live || !self.incidents.has_open(kind, "") {
            let incident = self.incident(position, kind, publish);
            self.incidents.raise(incident);
        }
        let freezes = kind == IncidentKind::Frozen;
        self.is_frozen |= freezes;
        self.n_declines += 1;
        if is_live {
            // The candidate is the champion again, and has learned nothing of these labels.
            self.blame.clear();
            self.begin_again();
        } else {
            // The contender that is tested is a copy of before: this says nothing against it. The next one
            // waits, since the candidate would be copied as it is now.
            self.decline = Differences::default();
            self.constancy = Constancy::default();
            self.rests_until = self.n_labels + WATCHED_EXAMPLES;
        }
        freezes
    }

    fn incident(&self, position: u64, kind: IncidentKind, publish: &Publish) -> Incident {
        Incident {
            position,
            kind,
            about: String::new(),
            version: self.champion.version,
            since: self.champion.position,
            evidence: self.decline(publish),
            suspects: self.blame.suspects(),
            state: IncidentState::Open,
            actor: String::new(),
            note: String::new(),
        }
    }

    /// The approval that stands at a position was of weights that this history does not have: raises an
    /// incident.
    pub(crate) fn note_void(&mut self, position: u64, publish: &Publish) {
        let incident = Incident {
            suspects: Vec::new(),
            ..self.incident(position, IncidentKind::Void, publish)
        };
        self.incidents.raise(incident);
    }

    /// True if an incident was raised for the silence since this moment.
    pub(crate) fn knows_silence(&self, kind: IncidentKind, since: Time) -> bool {
        self.silences[silence_place(kind)] == since.0
    }

    /// Nothing of this kind has come since a moment: raises an incident, unless one is open.
    pub(crate) fn note_silence(
        &mut self,
        (kind, since): (IncidentKind, Time),
        position: u64,
        publish: &Publish,
    ) {
        self.silences[silence_place(kind)] = since.0;
        if self.incidents.has_open(kind, "") {
            return;
        }
        let incident = Incident {
            evidence: Evidence::default(),
            suspects: Vec::new(),
            ..self.incident(position, kind, publish)
        };
        self.incidents.raise(incident);
    }

    /// A served answer had this error by a label of a source.
    pub(crate) fn note_error(&mut self, source: &str, error: f64) {
        self.errors.add(source, error);
    }

    /// The errors of served answers, or of a slice of them, rise: raises an incident unless one is open, and
    /// scores the examples that follow.
    pub(crate) fn note_alarm(&mut self, alarm: &Alarm, needed: f64, publish: &Publish) {
        let kind = match alarm.watched {
            WatchedStream::Error | WatchedStream::ErrorWindow => IncidentKind::Errors,
            WatchedStream::Slice => IncidentKind::Slice,
            _ => return,
        };
        self.watched_until = self.watched_until.max(self.n_labels + WATCHED_EXAMPLES);
        if self.incidents.has_open(kind, &alarm.input) {
            return;
        }
        let (labels, difference) = self.errors.rise();
        let incident = Incident {
            about: alarm.input.clone(),
            evidence: Evidence {
                labels,
                wealth: alarm.evidence,
                needed,
                difference,
            },
            suspects: self.errors.suspects(alarm.input.strip_prefix(OF_SOURCE)),
            ..self.incident(alarm.position, kind, publish)
        };
        self.incidents.raise(incident);
    }

    /// Raises an incident where the candidate answers every row alike, or its weights, which have this norm
    /// beside the champion's, have exploded; none of both decides alone, so the test begins anew.
    pub(crate) fn note_health(
        &mut self,
        position: u64,
        norms: Option<[f64; 2]>,
        publish: &Publish,
    ) {
        let has_exploded = norms.is_some_and(|[of_candidate, of_champion]| {
            of_champion > 0.0 && of_candidate > EXPLODED * of_champion
        });
        let signs = [
            (IncidentKind::Constant, self.constancy.is_shown()),
            (IncidentKind::Exploding, has_exploded),
        ];
        for (kind, is_shown) in signs {
            if is_shown && !self.incidents.has_open(kind, "") {
                let incident = self.incident(position, kind, publish);
                self.incidents.raise(incident);
                self.watched_until = self.watched_until.max(self.n_labels + WATCHED_EXAMPLES);
                // A new test, so that earlier evidence is no help to the candidate.
                self.n_declines += 1;
                self.decline = Differences::default();
            }
        }
    }
}

/// The place of a silence: of feedback, or of learning.
fn silence_place(kind: IncidentKind) -> usize {
    usize::from(kind == IncidentKind::Stale)
}
