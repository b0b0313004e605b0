//! Counts of feedback events by their fate.
//!
//! Invariant: every journaled event is counted under exactly one fate, so the counts add up to
//! the events accepted, at every moment.

use super::quarantine::QuarantineCause;
use crate::model::weights::{Error, Tensors};

/// The fate of a feedback event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Learned.
    Applied,
    /// Joined, and waiting until enough examples make up an update.
    Pending,
    /// Sent before, or a signal that its prediction has had.
    Duplicate,
    /// Another signal of its prediction counts instead: a newer one took the place of one that was
    /// learned, or one that counts was there.
    Superseded,
    /// About nothing here: no prediction of this id, no such class, action or signal.
    Unmatched,
    /// About a prediction that waited too long or made room for newer ones.
    Expired,
    /// A reward after its window had closed; it corrects the default reward, where there is one.
    Late,
    /// Rejected since its update was not finite; or it waits for a person: as a contradiction of another
    /// source, which its sender may not supersede, as an outlier, or as part of a flood.
    Quarantined,
    /// Learned once, and taken back by a restore.
    Undone,
    /// Taken back for good: the learner is one that never saw it.
    Retracted,
    /// Scored and not learned, while the model was frozen.
    HeldOut,
    /// Scored and not learned, since its source had spent its budget.
    Throttled,
    /// Never to be learned: it was quarantined, and a person, or the bound on waiting events, has decided so.
    Discarded,
}

impl Fate {
    /// Every fate, in the order in which they are counted.
    pub const ALL: [Fate; 13] = [
        Fate::Applied,
        Fate::Pending,
        Fate::Duplicate,
        Fate::Superseded,
        Fate::Unmatched,
        Fate::Expired,
        Fate::Late,
        Fate::Quarantined,
        Fate::Undone,
        Fate::Retracted,
        Fate::HeldOut,
        Fate::Throttled,
        Fate::Discarded,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Applied => "applied",
            Fate::Pending => "pending",
            Fate::Duplicate => "duplicate",
            Fate::Superseded => "superseded",
            Fate::Unmatched => "unmatched",
            Fate::Expired => "expired",
            Fate::Late => "late",
            Fate::Quarantined => "quarantined",
            Fate::Undone => "undone",
            Fate::Retracted => "retracted",
            Fate::HeldOut => "held_out",
            Fate::Throttled => "throttled",
            Fate::Discarded => "discarded",
        }
    }
}

/// The counts of events by fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    counts: [u64; Fate::ALL.len()],
    /// Superseded events that were learned before. A restore may bring them back.
    n_replaced: u64,
    /// Quarantined contradictions. No restore changes them.
    n_contradictions: u64,
    /// Quarantined outliers and floods, which no restore changes either.
    n_held_back: u64,
}

impl Ledger {
    /// The number of events with this fate.
    pub fn count(&self, fate: Fate) -> u64 {
        self.counts[fate as usize]
    }

    /// Events accepted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn add(&mut self, fate: Fate) {
        self.counts[fate as usize] += 1;
    }

    /// Counts the events that waited for an update by its outcome.
    pub(crate) fn settle(&mut self, fate: Fate) {
        let n_pending = std::mem::take(&mut self.counts[Fate::Pending as usize]);
        self.counts[fate as usize] += n_pending;
    }

    /// One event that was learned, or waits to be, gave way to a newer one of its prediction.
    pub(crate) fn replace(&mut self, before: Fate) {
        let count = &mut self.counts[before as usize];
        if *count > 0 {
            *count -= 1;
            self.counts[Fate::Superseded as usize] += 1;
            self.n_replaced += 1;
        }
    }

    /// Quarantined events that contradict the label of another source.
    pub fn n_contradictions(&self) -> u64 {
        self.n_contradictions
    }

    /// One event contradicts another: it is quarantined for good.
    pub(crate) fn contradict(&mut self) {
        self.n_contradictions += 1;
    }

    /// One event is an outlier or part of a flood.
    pub(crate) fn hold_back(&mut self) {
        self.n_held_back += 1;
    }

    /// One event that was quarantined waits no more, and has this fate.
    pub(crate) fn release(&mut self, cause: QuarantineCause, fate: Fate) {
        let part = match cause {
            QuarantineCause::Contradiction => &mut self.n_contradictions,
            QuarantineCause::Outlier | QuarantineCause::Flood => &mut self.n_held_back,
        };
        *part = part.saturating_sub(1);
        self.counts[Fate::Quarantined as usize] -= 1;
        self.counts[fate as usize] += 1;
    }

    /// One event that was quarantined is never to be learned.
    pub(crate) fn discard(&mut self, cause: QuarantineCause) {
        self.release(cause, Fate::Discarded);
    }

    /// Counts a restore to the state of `then`: the learning since then is undone, and learning
    /// that had been undone on the way to `then` counts as learned again.
    ///
    /// `then` may be of a learner that began anew, which has learned events that were not learned when
    /// they came, since the model was frozen, their predictions had made room or their sources had spent
    /// their budgets. Which of these fates an
    /// event had is not known: where more are learned than came, they leave them in the order below.
    pub(crate) fn undo_since(&mut self, then: &Ledger) {
        let total = self.total();
        let superseded = &mut self.counts[Fate::Superseded as usize];
        *superseded = *superseded - self.n_replaced + then.n_replaced;
        self.n_replaced = then.n_replaced;
        for fate in [Fate::Applied, Fate::Pending, Fate::Quarantined] {
            self.counts[fate as usize] = then.count(fate);
        }
        let n_waiting = self.n_waiting();
        let quarantined = &mut self.counts[Fate::Quarantined as usize];
        *quarantined = *quarantined - then.n_waiting() + n_waiting;
        self.counts[Fate::Undone as usize] = 0;
        self.counts[Fate::Undone as usize] = total.saturating_sub(self.total());
        let mut excess = self.total().saturating_sub(total);
        let left = [
            Fate::HeldOut,
            Fate::Throttled,
            Fate::Expired,
            Fate::Late,
            Fate::Unmatched,
        ];
        for fate in left.into_iter().chain(Fate::ALL) {
            let count = &mut self.counts[fate as usize];
            let leaves = excess.min(*count);
            *count -= leaves;
            excess -= leaves;
        }
    }

    /// Quarantined events that wait for a person, or did under rules without a decision.
    fn n_waiting(&self) -> u64 {
        self.n_contradictions + self.n_held_back
    }

    /// All that [`Ledger::undo_since`] reads of it as `then`.
    pub(crate) fn restored(&self) -> [u64; 4] {
        let n_rejected = self.count(Fate::Quarantined) - self.n_waiting();
        let [applied, pending] = [Fate::Applied, Fate::Pending].map(|fate| self.count(fate));
        [applied, pending, n_rejected, self.n_replaced]
    }

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        // A state without the newest fates is saved as earlier programs saved it.
        let is_newer = |fate: &&Fate| **fate > Fate::Retracted;
        let newer = Fate::ALL.iter().rev().take_while(is_newer);
        let n_absent = newer.take_while(|fate| self.count(**fate) == 0).count();
        let n_fates = self.counts.len() - n_absent;
        tensors.put_u64("fates", &[n_fates], self.counts[..n_fates].to_vec());
        let mut parts = vec![self.n_replaced, self.n_contradictions];
        parts.extend((self.n_held_back > 0).then_some(self.n_held_back));
        if parts != [0, 0] {
            tensors.put_u64("fates.parts", &[parts.len()], parts);
        }
    }

    pub(crate) fn load(tensors: &mut Tensors) -> Result<Ledger, Error> {
        let mut saved = tensors.take_u64("fates", &[None])?;
        // Fates that came into the program since then have met no event yet.
        saved.resize(Fate::ALL.len().max(saved.len()), 0);
        let n_fates = saved.len();
        let counts = saved.try_into().map_err(|_| {
            let n_known = Fate::ALL.len();
            Error::value(
                "fates",
                format!("{n_fates} fates, of which only {n_known} are known"),
            )
        })?;
        let parts = if tensors.0.contains_key("fates.parts") {
            tensors.take_u64("fates.parts", &[None])?
        } else {
            vec![0, 0]
        };
        let (&[n_replaced, n_contradictions] | &[n_replaced, n_contradictions, _]) = &parts[..]
        else {
            return Err(Error::value(
                "fates.parts",
                format!("{} numbers", parts.len()),
            ));
        };
        let ledger = Ledger {
            counts,
            n_replaced,
            n_contradictions,
            n_held_back: parts.get(2).copied().unwrap_or(0),
        };
        let wholes = [Fate::Superseded, Fate::Quarantined].map(|fate| ledger.count(fate));
        let waiting = n_contradictions.saturating_add(ledger.n_held_back);
        if n_replaced <= wholes[0] && waiting <= wholes[1] {
            Ok(ledger)
        } else {
            Err(Error::value("fates.parts", "more than their fates"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(ledger: &mut Ledger, fate: Fate, n_events: usize) {
        (0..n_events).for_each(|_| ledger.add(fate));
    }

    #[test]
    fn what_a_learner_that_began_anew_has_learned_counts_once() {
        let mut ledger = Ledger::default();
        add(&mut ledger, Fate::Applied, 5);
        add(&mut ledger, Fate::HeldOut, 3);
        let mut then = Ledger::default();
        add(&mut then, Fate::Applied, 2);
        let mut fewer = ledger.clone();
        fewer.undo_since(&then);
        let counts = |ledger: &Ledger| {
            [Fate::Applied, Fate::Undone, Fate::HeldOut].map(|fate| ledger.count(fate))
        };
        assert_eq!(counts(&fewer), [2, 3, 3]);
        // It has learned all three that were held out.
        add(&mut then, Fate::Applied, 6);
        ledger.undo_since(&then);
        assert_eq!(counts(&ledger), [8, 0, 0]);
    }

    #[test]
    fn counts_add_up_through_updates_and_restores() {
        let mut ledger = Ledger::default();
        add(&mut ledger, Fate::Pending, 2);
        ledger.settle(Fate::Applied);
        add(&mut ledger, Fate::Pending, 1);
        let then = ledger.clone();
        add(&mut ledger, Fate::Applied, 4);
        add(&mut ledger, Fate::Unmatched, 1);
        ledger.undo_since(&then);
        assert_eq!(ledger.count(Fate::Undone), 4);
        assert_eq!(ledger.count(Fate::Applied), 2);
        assert_eq!(ledger.total(), 8);
        let mut ahead = then.clone();
        add(&mut ahead, Fate::Applied, 4);
        ledger.undo_since(&ahead);
        assert_eq!(ledger.count(Fate::Undone), 0);
        assert_eq!(ledger.total(), 8);
        // Pending events may be rejected later: a restore makes them pending again.
        let then = ledger.clone();
        ledger.settle(Fate::Quarantined);
        ledger.undo_since(&then);
        assert_eq!(ledger, then);
    }
}
