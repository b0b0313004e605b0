//! Silence: no feedback came, or nothing was learned, for as long as the description allows.
//!
//! Invariant: it is noticed with the first entry behind the moment, a tick where nothing else comes, and each
//! silence once.

use super::Learner;
use crate::event::Time;
use crate::learn::gate::IncidentKind;

impl Learner {
    /// Both silences, each with the time of its newest event and its due time; none where none is declared.
    fn awaited(&self) -> [(IncidentKind, Option<(Time, Time)>); 2] {
        let until = |last: Option<Time>, seconds: Option<u64>| {
            let (last, micros) = (last?, seconds?.checked_mul(1_000_000)?);
            let due = last.0.checked_add(i64::try_from(micros).ok()?)?;
            Some((last, Time(due)))
        };
        let settings = &self.spec.monitor;
        [
            (
                IncidentKind::Silent,
                until(self.last_feedback(), settings.silence_after_s),
            ),
            (
                IncidentKind::Stale,
                until(self.last_example(), settings.stale_after_s),
            ),
        ]
    }

    /// Silences without an incident so far: each with the time of the newest event, and its due time.
    fn silences(&self) -> impl Iterator<Item = (IncidentKind, Time, Time)> + '_ {
        let gate = self.accounts.gate.as_ref();
        let awaited = self.awaited().into_iter();
        let known = awaited.filter_map(|(kind, known)| known.map(|(last, due)| (kind, last, due)));
        known.filter(move |(kind, last, _)| {
            gate.is_some_and(|gate| !gate.knows_silence(*kind, *last))
        })
    }

    /// The next moment at which a silence is due.
    pub(super) fn next_silence(&self) -> Option<Time> {
        self.silences().map(|(_, _, due)| due).min()
    }

    /// Raises an incident for each silence that is due by the time of the entry.
    pub(super) fn note_silences(&mut self) {
        let settings = &self.spec.monitor;
        if settings.silence_after_s.is_none() && settings.stale_after_s.is_none() {
            return;
        }
        let now = self.stream.time;
        let due: Vec<(IncidentKind, Time)> = self
            .silences()
            .filter(|(_, _, due)| *due <= now)
            .map(|(kind, last, _)| (kind, last))
            .collect();
        let (position, publish) = (self.stream.position, self.spec.publish);
        if let Some(gate) = &mut self.accounts.gate {
            for (kind, last) in due {
                gate.note_silence((kind, last), position, &publish);
            }
        }
    }
}
