//! What became of each feedback event.
//!
//! Invariant: every journaled event is counted under exactly one fate, so the counts add up to
//! the events accepted, at every moment.

use crate::model::weights::{Error, Tensors};

/// What became of a feedback event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Learned.
    Applied,
    /// Joined, and waiting until enough examples make up an update.
    Pending,
    /// It came before, or its prediction has had this signal.
    Duplicate,
    /// No prediction of this id is known here.
    Unmatched,
    /// Its prediction waited too long or made room for newer ones.
    Expired,
    /// A reward after its window had closed.
    Late,
    /// Its update was not finite and was rejected.
    Quarantined,
    /// Learned once, and taken back by a restore.
    Undone,
}

impl Fate {
    /// Every fate, in the order in which they are counted.
    pub const ALL: [Fate; 8] = [
        Fate::Applied,
        Fate::Pending,
        Fate::Duplicate,
        Fate::Unmatched,
        Fate::Expired,
        Fate::Late,
        Fate::Quarantined,
        Fate::Undone,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Applied => "applied",
            Fate::Pending => "pending",
            Fate::Duplicate => "duplicate",
            Fate::Unmatched => "unmatched",
            Fate::Expired => "expired",
            Fate::Late => "late",
            Fate::Quarantined => "quarantined",
            Fate::Undone => "undone",
        }
    }
}

/// How many events met each fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    counts: [u64; Fate::ALL.len()],
}

impl Ledger {
    /// How many met this fate.
    pub fn count(&self, fate: Fate) -> u64 {
        self.counts[fate as usize]
    }

    /// Events accepted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn add(&mut self, fate: Fate, n_events: u64) {
        self.counts[fate as usize] += n_events;
    }

    /// Moves events from one fate to another.
    pub(super) fn shift(&mut self, from: Fate, to: Fate, n_events: u64) {
        self.counts[from as usize] -= n_events;
        self.counts[to as usize] += n_events;
    }

    /// What a restore to the state of `then` means: what was learned since is undone, and what
    /// had been undone on the way to `then` counts as learned again.
    pub(super) fn undo_since(&mut self, then: &Ledger) {
        let total = self.total();
        for fate in [Fate::Applied, Fate::Pending, Fate::Quarantined] {
            self.counts[fate as usize] = then.count(fate);
        }
        self.counts[Fate::Undone as usize] = 0;
        self.counts[Fate::Undone as usize] = total.saturating_sub(self.total());
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        tensors.put_u64("fates", &[self.counts.len()], self.counts.to_vec());
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Ledger, Error> {
        let counts = tensors.take_u64("fates", &[Some(Fate::ALL.len())])?;
        let counts = counts.try_into().expect("the length was checked");
        Ok(Ledger { counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_through_shifts_and_restores() {
        let mut ledger = Ledger::default();
        ledger.add(Fate::Pending, 3);
        ledger.shift(Fate::Pending, Fate::Applied, 2);
        let then = ledger.clone();
        ledger.add(Fate::Applied, 4);
        ledger.add(Fate::Unmatched, 1);
        ledger.undo_since(&then);
        assert_eq!(ledger.count(Fate::Undone), 4);
        assert_eq!(ledger.count(Fate::Applied), 2);
        assert_eq!(ledger.total(), 8);
        let mut ahead = then.clone();
        ahead.add(Fate::Applied, 4);
        ledger.undo_since(&ahead);
        assert_eq!(ledger.count(Fate::Undone), 0);
        assert_eq!(ledger.total(), 8);
        // Pending events may be rejected later: a restore makes them pending again.
        let then = ledger.clone();
        ledger.shift(Fate::Pending, Fate::Quarantined, 1);
        ledger.undo_since(&then);
        assert_eq!(ledger, then);
    }
}
