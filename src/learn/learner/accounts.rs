//! The accounts of a history: its predictions, the fates of its feedback, its sources and their budgets,
//! its quarantined events, its scores, its monitors and its tests for drift.
//!
//! Invariant: they follow from the entries of one history. A retraction derives them again with the
//! learned state; a restore brings back the tallies of its version, and the rest goes on.

use crate::learn::drift::Detectors;
use crate::learn::gate::champion::Gate;
use crate::learn::join::{HeldExamples, PendingPredictions};
use crate::learn::monitors::Monitors;
use crate::learn::records::budgets::Budgets;
use crate::learn::records::evaluate::Evaluation;
use crate::learn::records::ledger::Ledger;
use crate::learn::records::quarantine::Quarantine;
use crate::learn::records::sources::Sources;
use crate::learn::versions::tallies::Tallies;
use crate::model::Spec;
use crate::model::weights::{self, Tensors};

/// Predictions that wait, fates, sources, budgets, scores, monitors and tests for drift.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Accounts {
    pub pending: PendingPredictions,
    pub ledger: Ledger,
    pub sources: Sources,
    /// The spending of sources, where they have budgets.
    pub budgets: Budgets,
    /// The feedback that waits for a person.
    pub quarantine: Quarantine,
    pub evaluation: Evaluation,
    /// The gate; none under rules without one.
    pub gate: Option<Gate>,
    /// The drift detectors; none before their first row, and where nothing is watched.
    pub detectors: Option<Detectors>,
    /// The monitors; none before their first entry, and under rules without monitors.
    pub monitors: Option<Monitors>,
}

impl Accounts {
    /// The tallies that a restore of the state as it is now brings back, all but the learned part of the
    /// predictions that wait.
    pub(super) fn tallies(&self) -> Tallies {
        Tallies {
            ledger: self.ledger.clone(),
            sources: self.sources.clone(),
            held: None,
        }
    }

    /// BLAKE3 of the tallies; from the second revision of the rules on, with the learned part of the
    /// predictions that wait.
    pub(super) fn tallies_digest(&self, revision: u32) -> blake3::Hash {
        let mut tensors = Tensors::default();
        let fates = self.ledger.restored();
        tensors.put_u64("fates", &[fates.len()], fates.to_vec());
        self.sources.save(&mut tensors);
        let mut hash = blake3::Hasher::new();
        hash.update(tensors.digest().as_bytes());
        if revision >= 2 {
            HeldExamples::hash(&self.pending, &mut hash);
        }
        hash.finalize()
    }

    /// Brings back the tallies of a version; scores, waiting predictions and the tests of the world go
    /// on.
    pub(super) fn restore(&mut self, then: Tallies) {
        if let Some(held) = then.held {
            self.pending.hold(held);
        }
        self.sources = then.sources;
        self.ledger.undo_since(&then.ledger);
        self.detectors.iter_mut().for_each(Detectors::restore);
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        self.pending.save(tensors);
        self.ledger.save(tensors);
        self.sources.save(tensors);
        self.budgets.save(tensors);
        self.quarantine.save(tensors);
        self.evaluation.save(tensors);
        self.gate.iter().for_each(|gate| gate.save(tensors));
        self.detectors.iter().for_each(|tests| tests.save(tensors));
        self.monitors
            .iter()
            .for_each(|monitors| monitors.save(tensors));
    }

    /// The accounts of a state at `position`.
    pub(super) fn load(
        tensors: &mut Tensors,
        spec: &Spec,
        position: u64,
    ) -> Result<Accounts, weights::Error> {
        let mut pending = PendingPredictions::load(tensors)?;
        pending.reconfigure(spec);
        Ok(Accounts {
            pending,
            ledger: Ledger::load(tensors)?,
            sources: Sources::load(tensors, position)?,
            budgets: Budgets::load(spec.budget.as_ref(), tensors)?,
            quarantine: Quarantine::load(tensors)?,
            evaluation: Evaluation::load(tensors)?,
            gate: Gate::load(spec, tensors)?,
            detectors: Detectors::load(spec, tensors)?,
            monitors: Monitors::load(spec, tensors)?,
        })
    }
}
