//! Feedback that waits for a person, and its release or discard.
//!
//! Invariant: quarantined feedback is neither scored nor learned. A released event counts as if
//! it had come with the order, of a sender who may supersede every other one, and costs its source nothing.

use std::sync::Arc;

use super::super::lookup::Lookup;
use super::{Error, History, Learner, Step};
use crate::event::{Feedback, Order, OrderRefusal, Selector, Subject, Time};
use crate::learn::records::ledger::Fate;
use crate::learn::records::quarantine::{QuarantineCause, QuarantinedEvent};

impl Learner {
    /// The events that wait to be released or discarded, the oldest first.
    pub fn quarantined(&self) -> impl Iterator<Item = QuarantinedEvent> {
        self.accounts.quarantine.waiting()
    }

    /// How many wait.
    pub(crate) fn n_quarantined(&self) -> usize {
        self.accounts.quarantine.len()
    }

    /// The oldest entry that may be asked for again: of a prediction that waits for feedback, or of
    /// feedback that waits for a person.
    pub fn oldest_needed(&self) -> Option<u64> {
        let predictions = self.accounts.pending.oldest_position();
        let quarantined = self.accounts.quarantine.oldest_position();
        [predictions, quarantined].into_iter().flatten().min()
    }

    /// The reason why an event is to wait, if it is.
    pub(super) fn suspects(
        &mut self,
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<Option<QuarantineCause>, Error> {
        let settings = self.spec.quarantine;
        if !settings.looks_at_events() || self.is_past(feedback) {
            return Ok(None);
        }
        let mut prediction = None;
        if let Subject::Prediction(id) = &feedback.subject {
            // An event about a prediction that does not wait has a fate of its own.
            let Ok(waiting) = self.waiting(*id) else {
                return Ok(None);
            };
            if settings.outliers.is_some() {
                let found = self.fetch(waiting.position, lookup)?;
                prediction = Some((found, waiting.row as usize));
            }
        }
        let row = match (&feedback.subject, &prediction) {
            (Subject::Inputs { batch, .. }, _) => Some((batch, 0)),
            (_, Some((found, row))) => Some((&Arc::as_ref(found).batch, *row)),
            _ => None,
        };
        let quarantine = &mut self.accounts.quarantine;
        Ok(quarantine.look(&settings, feedback, row))
    }

    /// Has the event that came wait for a person; gives the cause of the oldest where that has to make room.
    pub(super) fn hold_back(&mut self, cause: QuarantineCause) -> Option<QuarantineCause> {
        if !self.spec.has_quarantine() {
            return None;
        }
        let event = QuarantinedEvent {
            position: self.position_taken(),
            time: self.stream.time,
            cause,
        };
        let accounts = &mut self.accounts;
        let gone = accounts
            .quarantine
            .wait(event, self.spec.quarantine.waiting_max);
        gone.into_iter()
            .for_each(|cause| accounts.ledger.discard(cause));
        gone
    }

    /// Discards events that have waited for as long as the journal may keep it.
    pub(super) fn expire_quarantined(&mut self) {
        let age_max_us = self.spec.journal.age_max_s as i64 * 1_000_000;
        let since = Time(self.stream.time.0.saturating_sub(age_max_us));
        let accounts = &mut self.accounts;
        while let Some(cause) = accounts.quarantine.take_older(since) {
            accounts.ledger.discard(cause);
        }
    }

    /// The position of the event that is taken: that of the entry, or of the event that is released.
    pub(super) fn position_taken(&self) -> u64 {
        self.released.unwrap_or(self.stream.position)
    }

    /// Releases or discards the selected events that wait.
    pub(super) fn review(
        &mut self,
        order: &Order,
        selector: &Selector,
        lookup: &mut dyn Lookup,
    ) -> Result<Step, Error> {
        let waiting: Vec<QuarantinedEvent> = self.quarantined().collect();
        let mut step = Step::default();
        let mut n_selected = 0;
        for one in waiting {
            let found = lookup.feedback(one.position);
            let (time, feedback) = found.map_err(|what| self.missing(what))?;
            if !selector.chooses(&feedback, time) {
                continue;
            }
            n_selected += 1;
            self.accounts.quarantine.take(one.position);
            if let Order::Release(_) = order {
                let fate = self.release(one, &feedback, lookup)?;
                step.changed |= Learner::is_held(fate) && self.serves_what_comes();
            } else {
                self.accounts.ledger.discard(one.cause);
            }
        }
        if n_selected == 0 && self.history == History::Recorded {
            let position = self.stream.position;
            self.stream.refusals.push(OrderRefusal { position });
            step.refused = Some(format!("nothing of {selector} waits in quarantine"));
        }
        Ok(step)
    }

    /// Takes an event that waited.
    fn release(
        &mut self,
        one: QuarantinedEvent,
        feedback: &Feedback,
        lookup: &mut dyn Lookup,
    ) -> Result<Fate, Error> {
        self.released = Some(one.position);
        let taken = self.take_subject(feedback, lookup);
        self.released = None;
        let (fate, _) = taken?;
        self.accounts.ledger.release(one.cause, fate);
        Ok(fate)
    }
}
