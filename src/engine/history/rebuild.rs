//! A rebuild applies the journal again, entry by entry: as it was, without retracted feedback, or
//! under another description.
//!
//! Invariant: it starts from a state that is older than all feedback that it excludes, and takes
//! from the disk only versions that are as old; younger ones it derives itself.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::engine::history::bases::{beginning, check_waiting, older, reaches_back};
use crate::engine::history::error::Error;
use crate::engine::history::facts::Facts;
use crate::engine::history::lookup::JournalLookup;
use crate::engine::history::orders::{RecordedFacts, RecordedOrders, exclusions};
use crate::engine::history::translation::{Divergence, Translation};
use crate::engine::history::trial::RetrainTrial;
use crate::engine::versions::kept::RetainedStates;
use crate::engine::versions::saved::Versions;
use crate::event::{Command, Description, Entry, Event, Feedback, Order, Prediction, Time};
use crate::learn::{
    Comparison, Counterfactual, CounterfactualLookup, Evidence, Learner, Lookup, LookupError,
};
use crate::model::weights::Tensors;
use crate::model::{Device, PinnedFile, Spec, TextEncoder, profile};
use crate::store::Reader;

/// A history that is being rebuilt.
pub(crate) struct Rebuild {
    /// The order that asks for it; none of the recorded history.
    order: Option<Order>,
    pub learner: Learner,
    lookup: JournalLookup,
    excluded: Vec<u64>,
    known: RecordedFacts,
    /// The position up to which it knows the orders.
    surveyed: u64,
    /// The first order that may have been refused or not: it stops before that.
    undecided: Option<u64>,
    /// The versions of the recorded history beside the states of this one.
    comparison: Comparison,
    /// The position of the state that it started from; 0 is before the first entry.
    pub base: u64,
    n_begun: u64,
    /// The trial of a learner that begins anew, where evidence is asked for.
    trial: Option<RetrainTrial>,
}

impl Rebuild {
    /// The history that `order` asks for, of which the journal holds the entries up to `last` by
    /// now. Nothing is applied yet.
    ///
    /// # Errors
    /// When no state is old enough, or the journal does not reach back to it or to a prediction
    /// that waits in it.
    pub(crate) fn begin(
        versions: &Versions,
        order: &Order,
        last: u64,
        known: &RecordedFacts,
    ) -> Result<Rebuild, Error> {
        let first = match order {
            Order::Retrain { from, .. } => {
                return Rebuild::from(versions, Some(order), last, known, from.saturating_sub(1));
            }
            Order::Retract(retraction) => retraction.first_position,
            _ => 1,
        };
        let place = format!("before position {first}");
        Rebuild::from_any(older(versions, first)?, place, |base| {
            Rebuild::from(versions, Some(order), last, known, base)
        })
    }

    /// The recorded history up to `last`, from the newest state of it that is whole.
    ///
    /// # Errors
    /// As [`Rebuild::begin`].
    pub(crate) fn again(versions: &Versions, last: u64, facts: &Facts) -> Result<Rebuild, Error> {
        let place = format!("up to position {last}");
        Rebuild::from_any(older(versions, last + 1)?, place, |base| {
            Rebuild::again_from(versions, last, base, facts)
        })
    }

    /// The recorded history up to `last`, from the state at `base`; 0 is before the first entry.
    ///
    /// # Errors
    /// As [`Rebuild::begin`].
    pub(crate) fn again_from(
        versions: &Versions,
        last: u64,
        base: u64,
        facts: &Facts,
    ) -> Result<Rebuild, Error> {
        let known = RecordedFacts::new(facts.clone());
        Rebuild::from(versions, None, last, &known, base)
    }

    fn from_any(
        bases: Vec<u64>,
        place: String,
        from: impl Fn(u64) -> Result<Rebuild, Error>,
    ) -> Result<Rebuild, Error> {
        let mut nearest = None;
        for base in bases {
            match from(base) {
                Ok(rebuild) => return Ok(rebuild),
                Err(error) => drop(nearest.get_or_insert(error)),
            }
        }
        from(0).map_err(|oldest| Error::NoBase {
            place,
            nearest: nearest.map(Box::new),
            oldest: Box::new(oldest),
        })
    }

    fn from(
        versions: &Versions,
        order: Option<&Order>,
        last: u64,
        known: &RecordedFacts,
        base: u64,
    ) -> Result<Rebuild, Error> {
        let first = reaches_back(versions, base)?;
        let mut facts = known.facts.spanning(versions, base + 1, last)?;
        let mut orders = RecordedOrders::between(&facts, base, last, known);
        if !orders.undecided.is_empty() {
            // Records of their outcome may stand behind.
            facts.read_on(versions, known.written)?;
            orders = RecordedOrders::between(&facts, base, last, known);
        }
        if let Some(Order::Retrain { .. }) = order
            && let Some(moved) = facts.last_moved(last, &orders.refused)
            && moved > base
        {
            return Err(Error::Overtaken(moved));
        }
        let own = exclusions(order, &facts, base, last)?;
        let exclusions = [&known.exclusions[..], &own].concat();
        let wanted = orders.wanted(versions, &facts, base, last)?;
        // The recorded history decides by itself.
        let undecided = order.and_then(|_| orders.undecided.keys().next().copied());
        let learner = beginning(versions, order, &exclusions, base)?;
        check_waiting(&learner, base, first)?;
        let open = || Reader::open(&versions.journal, base + 1, u64::MAX);
        let reader = versions.retry.run(open)?;
        let mut comparison = Comparison::default();
        known
            .unknown_from
            .iter()
            .for_each(|first| comparison.begin(*first));
        let mut lookup = JournalLookup::new(reader, versions.clone());
        lookup.exclusions = exclusions;
        lookup.refused = orders.refused;
        lookup.facts = facts;
        lookup.kept = RetainedStates::new(versions, wanted);
        if let Some(Order::Adopt(description)) = order {
            lookup.translation = Some(Translation::new(description.clone())?);
        }
        Ok(Rebuild {
            order: order.cloned(),
            learner,
            trial: None,
            lookup,
            excluded: Vec::new(),
            known: known.clone(),
            surveyed: last,
            undecided,
            comparison,
            base,
            n_begun: 1,
        })
    }

    /// The order that it is rebuilt for.
    pub(crate) fn order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// Has the learner answer the rows of the second half as well, beside the served answers; it is the `attempt`-th
    /// one since the champion was chosen.
    pub(crate) fn tried(mut self, attempt: u64) -> Rebuild {
        self.trial = Some(RetrainTrial::new((self.base, self.surveyed), attempt));
        self
    }

    /// The evidence that it answers no worse than the served ones, where it was asked for.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        let trial = self.trial.as_ref()?;
        Some(trial.evidence(&self.learner))
    }

    /// Lookups from here on wait for descriptors where those of these versions do.
    pub(crate) fn retry_like(&mut self, versions: &Versions) {
        self.lookup.versions.retry = versions.retry.clone();
    }

    /// The counter of the entries that it reads.
    pub(crate) fn entries_read(&self) -> Arc<AtomicU64> {
        self.lookup.versions.entries_read.clone()
    }

    /// The number of times it has begun.
    pub(crate) fn n_begun(&self) -> u64 {
        self.n_begun
    }

    /// True if the entries that it applied were written under another numeric profile than the one here.
    pub(crate) fn has_other_bits(&self) -> bool {
        self.learner.has_other_bits(&self.lookup)
    }

    /// The position of the last entry applied.
    pub(crate) fn position(&self) -> u64 {
        self.learner.position()
    }

    /// The first divergence of its answers from those served, under another description.
    pub(crate) fn divergence(&self) -> Option<Divergence> {
        self.lookup.translation.as_ref()?.divergence()
    }

    /// The order before which it stops until it is known whether that was refused.
    pub(crate) fn undecided(&self) -> Option<u64> {
        self.undecided
    }

    /// Applies the entries up to `last`, `n_max` at most, and none from an order on of which it is
    /// not known whether it was refused.
    ///
    /// # Errors
    /// When the journal cannot be read, or does not fit the state.
    pub(crate) fn advance(&mut self, last: u64, n_max: usize) -> Result<(), Error> {
        for _ in 0..n_max {
            let until = self.undecided.map_or(last, |order| last.min(order - 1));
            let Some(entry) = self.lookup.next(until)? else {
                break;
            };
            self.lookup.versions.entries_read.fetch_add(1, Relaxed);
            if self.order.is_some() && self.is_unseen(&entry) {
                self.begin_again(last)?;
                continue;
            }
            let entry = match &mut self.lookup.translation {
                Some(translation) => translation.entry(entry, &self.learner)?,
                None => entry,
            };
            self.apply(&entry)?;
        }
        Ok(())
    }

    /// Begins the history again from its base, with all orders up to `last` in view.
    ///
    /// # Errors
    /// As [`Rebuild::begin`].
    pub(crate) fn begin_again(&mut self, last: u64) -> Result<(), Error> {
        if let Some(order) = &self.order {
            let versions = &self.lookup.versions;
            let known = RecordedFacts {
                facts: self.lookup.facts.clone(),
                ..self.known.clone()
            };
            let again = Rebuild::begin(versions, order, last, &known)?;
            let place = (again.base, last);
            let trial = self.trial.as_ref();
            *self = Rebuild {
                n_begun: self.n_begun + 1,
                trial: trial.map(|trial| RetrainTrial::new(place, trial.attempt())),
                ..again
            };
        }
        Ok(())
    }

    /// True if this is an order that was not known when the rebuild began. The version that it
    /// brings back may have been passed without being kept, and the feedback that it takes back may
    /// have been learned.
    fn is_unseen(&self, entry: &Entry) -> bool {
        let Event::Command(Command { order, .. }) = &entry.event else {
            return false;
        };
        match order {
            Order::Checkpoint
            | Order::Erase(_)
            | Order::Promote { .. }
            | Order::Freeze
            | Order::Resume
            | Order::Acknowledge { .. }
            | Order::Close { .. }
            | Order::BeginRetraining { .. }
            | Order::EndRetraining
            | Order::Release(_)
            | Order::Discard(_)
            | Order::SetAlias { .. }
            | Order::RemoveAlias { .. } => false,
            Order::Restore { .. }
            | Order::EarlierRestore { .. }
            | Order::Retract(_)
            | Order::Adopt(_)
            | Order::Retrain { .. } => entry.position > self.surveyed,
        }
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), Error> {
        let own = self.lookup.exclusions.len().checked_sub(1);
        if own.is_some() && self.takes_back() && self.exclusion(entry) == own {
            self.excluded.push(entry.position);
            self.comparison.begin(entry.position);
        }
        let excluded = self.exclusion(entry).is_some();
        if let Some(trial) = self.trial.as_mut().filter(|_| !excluded) {
            trial.observe(entry, &self.learner)?;
        }
        let step = self.learner.apply(entry, &mut self.lookup)?;
        if let Some(trial) = self.trial.as_mut().filter(|_| step.changed) {
            trial.changed();
        }
        if let Some(translation) = self.lookup.translation.as_mut().filter(|_| step.changed) {
            translation.changed();
        }
        self.comparison.observe(entry, &self.learner);
        let retry = &self.lookup.versions.retry;
        Ok(self.lookup.kept.follow(&self.learner, retry)?)
    }

    /// The first exclusion that takes the entry back; that of its own order is the last.
    fn exclusion(&self, entry: &Entry) -> Option<usize> {
        let Event::Feedback(feedback) = &entry.event else {
            return None;
        };
        let mut exclusions = self.lookup.exclusions.iter();
        exclusions.position(|one| one.excludes(entry.position, entry.time, feedback))
    }

    /// True if the order that it derives a state for takes feedback back.
    fn takes_back(&self) -> bool {
        matches!(self.order, Some(Order::Retract(_)))
    }

    /// Applies the entries up to `last`, and gives the state and its comparison.
    ///
    /// # Errors
    /// As [`Rebuild::advance`].
    pub(crate) fn finish(mut self, last: u64) -> Result<Counterfactual, Error> {
        self.advance(last, usize::MAX)?;
        match (self.learner.position() == last, self.undecided) {
            (true, _) => Ok(Counterfactual {
                learner: self.learner,
                excluded: self.excluded,
                comparison: self.comparison,
            }),
            (false, Some(order)) => Err(Error::Undecided(order)),
            (false, None) => Err(Error::NotRetained(format!(
                "the journal has no entry {last}"
            ))),
        }
    }

    /// The finished rebuild for a learner that has applied those entries and refused `refused` of them.
    ///
    /// # Errors
    /// As [`Rebuild::advance`].
    pub(crate) fn finish_for(
        mut self,
        last: u64,
        refused: BTreeSet<u64>,
    ) -> Result<Counterfactual, Error> {
        self.known.refused.extend(refused);
        self.known.applied = last;
        if self.undecided.is_some() {
            self.begin_again(last)?;
        }
        self.finish(last)
    }
}

impl JournalLookup {
    /// The state of a version whose checkpoint is not whole, rebuilt from an older one.
    fn rebuilt(&self, version: u64) -> Result<(Tensors, Tensors), Error> {
        let last = self.reader.next_position() - 1;
        let position = self.position_of(version, last)?;
        let rebuild = Rebuild::again(&self.versions, position, &self.facts)?;
        let learner = rebuild.finish(position)?.learner;
        let learner = match learner.frozen_part(version) {
            Some((part, _)) if learner.version() != version => part,
            _ => learner,
        };
        Ok((learner.learned().weights(), learner.state()))
    }

    fn version_at(&self, version: u64) -> Result<(Tensors, Tensors), LookupError> {
        let (retry, kept) = (&self.versions.retry, &self.kept);
        let kept = retry.run(|| kept.find(version));
        if let Some(kept) = kept.map_err(|error| Error::from(error).of_lookup())? {
            return Ok(kept);
        }
        let loaded = retry.run(|| self.versions.load(version));
        loaded.or_else(|error| {
            let again = self.rebuilt(version);
            let model = &self.versions.model;
            tracing::warn!(model, version, %error, "rebuilt a version that is not whole");
            again.map_err(|why| {
                let both = format!("{error}; and it cannot be made again: {why}");
                why.remedy().of_lookup(both)
            })
        })
    }
}

impl Lookup for JournalLookup {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, LookupError> {
        let found = self.prediction_at(position);
        found.map(Cow::Owned).map_err(Error::of_lookup)
    }

    fn feedback(&mut self, position: u64) -> Result<(Time, Feedback), LookupError> {
        self.feedback_at(position).map_err(Error::of_lookup)
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), LookupError> {
        self.version_at(version)
    }

    fn encoder(&mut self, pinned: &PinnedFile) -> Result<Arc<TextEncoder>, LookupError> {
        let found = self.versions.encoder(pinned);
        found.map_err(|error| Error::from(error).of_lookup())
    }

    fn has_profile(&self, description: &Description, spec: &Spec) -> bool {
        let written = &description.profile;
        written.is_empty() || *written == profile(spec.device, spec.revision)
    }

    fn device(&self, named: Device) -> Device {
        self.device_for(named)
    }

    fn refused(&mut self, position: u64) -> bool {
        self.refused.contains(&position)
    }
}

impl CounterfactualLookup for JournalLookup {
    fn counterfactual(
        &mut self,
        order: &Order,
        position: u64,
        refused: &[u64],
        unknown_from: Option<u64>,
    ) -> Result<Counterfactual, LookupError> {
        let last = position - 1;
        let known = RecordedFacts {
            exclusions: self.exclusions.clone(),
            refused: self.refused.iter().chain(refused).copied().collect(),
            applied: last,
            written: last,
            unknown_from,
            facts: self.facts.clone(),
        };
        let rebuild = Rebuild::begin(&self.versions, order, last, &known);
        let other = rebuild.and_then(|mut rebuild| {
            if let (Order::Retrain { .. }, Some(ours)) = (order, &self.translation) {
                rebuild.lookup.translation = Some(ours.begun_anew());
            }
            rebuild.finish(last)
        });
        other.map_err(Error::of_lookup)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::engine::error::Error as EngineError;
    use crate::event::{Batch, Outputs, PredictionId};
    use crate::learn;
    use crate::store::{Config, Directory, Journal};

    /// A prediction of no column.
    fn prediction() -> Event {
        Event::Prediction(Prediction {
            ids: vec![PredictionId(7)],
            batch: Batch {
                n_rows: 1,
                columns: Vec::new(),
            },
            outputs: Outputs::Values(vec![0.7]),
            labels: BTreeMap::new(),
            version: 1,
            position: 0,
        })
    }

    #[test]
    fn a_damaged_prediction_is_no_fault_of_a_request() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let path = directory.journal("m");
        let (mut journal, opened) = Journal::create_or_open(&path, 0, Config::default()).unwrap();
        let position = journal.append(Time(0), &prediction()).unwrap();
        journal.append(Time(1), &Event::Tick(Time(1))).unwrap();
        journal.close().unwrap();
        let look_up = || {
            let versions = Versions::new(&directory, "m", opened.journal_id);
            let reader = Reader::open(&path, position, u64::MAX).unwrap();
            let mut lookup = JournalLookup::new(reader, versions);
            lookup.prediction(position).map(Cow::into_owned)
        };
        assert_eq!(look_up().unwrap().ids, [PredictionId(7)]);

        let segment = path.join("00000000000000000001.seg");
        let mut bytes = fs::read(&segment).unwrap();
        let value = 0.7_f64.to_le_bytes();
        let at = bytes.windows(8).position(|window| *window == value);
        bytes[at.expect("the answer is in it")] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let cause = look_up().unwrap_err();
        assert!(matches!(cause, LookupError::Damaged(_)), "{cause}");
        let error = Error::Learner(learn::Error::Lookup { position: 9, cause });
        let error = error.of_request("m", "selector");
        assert!(matches!(error, EngineError::Damaged { .. }), "{error}");
    }

    #[test]
    fn the_nearest_state_and_the_oldest_say_why_they_do_not_do() {
        let check = |bases: &[u64], why: fn(u64) -> String, expected: &str| {
            let failed = |base| Err(Error::NotRetained(why(base)));
            let rebuilt = Rebuild::from_any(bases.to_vec(), "here".to_owned(), failed);
            let message = rebuilt.err().expect("no state does").to_string();
            let expected = format!("no state here can be gone on from: {expected}");
            assert_eq!(message, expected);
        };
        check(&[], |base| format!("no {base}"), "no 0");
        check(&[9, 5], |base| format!("no {base}"), "no 9; and no 0");
        check(&[9, 5], |_| "none".to_owned(), "none");
    }
}
