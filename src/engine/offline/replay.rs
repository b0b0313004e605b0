//! REPLAY: apply the journal again, and compare the states with the recorded ones, or apply it under
//! another description.
//!
//! Invariant: nothing on disk is changed.

use std::collections::BTreeSet;

use crate::engine::error::{Error, Remedy};
use crate::engine::history::error as history;
use crate::engine::history::facts::Facts;
use crate::engine::history::orders::RecordedFacts;
use crate::engine::history::pass::first_position;
use crate::engine::history::rebuild::Rebuild;
use crate::engine::history::translation::Divergence;
use crate::engine::versions::saved::Versions;
use crate::event::{Description, Order};
use crate::learn::{ChampionScore, Evaluation, Fate};
use crate::store::Manifest;

/// A replay that is under way.
pub struct Replay {
    rebuild: Rebuild,
    versions: Versions,
    base: u64,
    last: u64,
    /// The positions of checkpoints.
    saved: BTreeSet<u64>,
    compared: u64,
}

/// The outcome of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayReport {
    /// Entries applied.
    pub entries: u64,
    /// Checkpoints whose digests were compared, every one of them equal.
    pub compared: u64,
    /// True if entries were written under another numeric profile than the one here: behind those no
    /// digest is compared.
    pub has_other_bits: bool,
    /// BLAKE3 of the learned state, in hexadecimal digits.
    pub digest: String,
    /// The scores of the answers: those served, or those that the other description gives.
    pub evaluation: Evaluation,
    /// The champion with its score; none under rules without a gate.
    pub champion: Option<ChampionScore>,
    /// Incidents.
    pub n_incidents: u64,
    /// Feedback that was held out.
    pub n_held_out: u64,
    /// Feedback that a rewind or a restore has undone.
    pub n_undone: u64,
    /// True if examples are scored and not learned at the end.
    pub frozen: bool,
    /// The first divergence of the answers of another description from those served.
    pub divergence: Option<Divergence>,
}

impl Replay {
    pub(crate) fn recorded(
        versions: &Versions,
        last: u64,
        facts: &Facts,
        from: Option<u64>,
    ) -> Result<Replay, Error> {
        let bases = match from {
            Some(version) => {
                vec![versions.get(version, 0)?.position]
            }
            None => {
                let first = first_position(versions)?;
                let saved = versions.positions()?;
                let bases = (first == 1).then_some(0).into_iter().chain(saved);
                bases.filter(|base| *base >= facts.last_erased()).collect()
            }
        };
        let what = "no checkpoint is left to go on from".to_owned();
        let mut why = history::Error::NotRetained(what);
        for base in bases {
            match Rebuild::again_from(versions, last, base, facts) {
                Ok(rebuild) => return Ok(Replay::new(versions, last, base, rebuild)),
                Err(error) => why = error,
            }
        }
        Err(why.of_request(&versions.model, "version"))
    }

    pub(crate) fn with(
        versions: &Versions,
        last: u64,
        facts: &Facts,
        description: Description,
    ) -> Result<Replay, Error> {
        let order = Order::Adopt(description);
        let known = RecordedFacts::new(facts.clone());
        let rebuild = Rebuild::begin(versions, &order, last, &known);
        let rebuild = rebuild.map_err(|error| error.of_request(&versions.model, "description"))?;
        Ok(Replay::new(versions, last, 0, rebuild))
    }

    fn new(versions: &Versions, last: u64, base: u64, rebuild: Rebuild) -> Replay {
        let saved = match rebuild.order() {
            None => versions.positions().unwrap_or_default(),
            Some(_) => Vec::new(),
        };
        Replay {
            rebuild,
            versions: versions.clone(),
            base,
            last,
            saved: saved.into_iter().collect(),
            compared: 0,
        }
    }

    /// The position that it has reached, the one that it started after, and the last.
    pub fn positions(&self) -> (u64, u64, u64) {
        (self.rebuild.position(), self.base, self.last)
    }

    /// Applies up to `n_max` entries; false once all are applied.
    ///
    /// # Errors
    /// [`Error::Damaged`]: the journal gives another state than a checkpoint or record has.
    pub fn advance(&mut self, n_max: u64) -> Result<bool, Error> {
        let until = (self.rebuild.position() + n_max).min(self.last);
        while self.rebuild.position() < until {
            let next = self.saved.range(self.rebuild.position() + 1..).next();
            let stop = next.map_or(until, |position| until.min(*position));
            let advanced = self.rebuild.advance(stop, usize::MAX);
            advanced.map_err(|error| match error.remedy() {
                Remedy::Wait | Remedy::Mend => error.of_request(&self.versions.model, "journal"),
                Remedy::Restore | Remedy::Change | Remedy::Report => {
                    self.damaged(error.to_string())
                }
            })?;
            self.compare(stop)?;
        }
        Ok(until < self.last)
    }

    fn compare(&mut self, position: u64) -> Result<(), Error> {
        if !self.saved.contains(&position) {
            return Ok(());
        }
        // One that is not sound proves nothing about the journal.
        let Ok(Manifest { digest: saved, .. }) = self.versions.manifest_at(position) else {
            return Ok(());
        };
        if self.rebuild.has_other_bits() {
            // A checkpoint of another numeric profile holds other bits.
            return Ok(());
        }
        let digest = self.rebuild.learner.learned().digest().to_string();
        if digest != saved {
            return Err(self.damaged(format!(
                "the checkpoint at position {position} was saved with digest {saved}, \
                 but applying the journal gave {digest}"
            )));
        }
        self.compared += 1;
        Ok(())
    }

    fn damaged(&self, what: String) -> Error {
        Error::Damaged {
            model: self.versions.model.clone(),
            what,
        }
    }

    /// The rebuilt history, to be adopted.
    pub(crate) fn into_rebuild(self) -> Rebuild {
        self.rebuild
    }

    /// The outcome so far.
    pub fn outcome(&self) -> ReplayReport {
        let learner = &self.rebuild.learner;
        ReplayReport {
            entries: learner.position() - self.base,
            compared: self.compared,
            has_other_bits: self.rebuild.has_other_bits(),
            digest: learner.learned().digest().to_string(),
            evaluation: learner.evaluation().clone(),
            champion: learner.champion_score(),
            n_incidents: learner.incidents().len() as u64,
            n_held_out: learner.ledger().count(Fate::HeldOut),
            n_undone: learner.ledger().count(Fate::Undone),
            frozen: learner.is_frozen(),
            divergence: self.rebuild.divergence(),
        }
    }
}
