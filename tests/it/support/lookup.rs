//! The lookups of the learner that is fed in memory.
//!
//! Invariant: another history is derived from the first entry on, or from the one that it begins at.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use perennial::event::{Command, Entry, Event, Feedback, Order, Prediction, Time};
use perennial::learn::{
    Comparison, Counterfactual, CounterfactualLookup, Exclusion, Lookup, LookupError,
};
use perennial::model::weights::Tensors;

use super::LearnerHarness;

/// The lookups of a learner: the journal so far, the versions, and other histories from the start.
pub(super) struct JournalLookup<'a> {
    pub journal: &'a [Entry],
    pub versions: &'a BTreeMap<u64, (Tensors, Tensors)>,
    pub exclusions: &'a [Exclusion],
    pub refused: &'a BTreeSet<u64>,
}

fn absent(what: String) -> LookupError {
    LookupError::NotRetained(what)
}

impl Lookup for JournalLookup<'_> {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, LookupError> {
        match &self.journal[position as usize - 1].event {
            Event::Prediction(prediction) => Ok(Cow::Borrowed(prediction)),
            other => Err(absent(format!("no prediction at {position}: {other:?}"))),
        }
    }

    fn feedback(&mut self, position: u64) -> Result<(Time, Feedback), LookupError> {
        let entry = &self.journal[position as usize - 1];
        match &entry.event {
            Event::Feedback(feedback) => Ok((entry.time, feedback.clone())),
            other => Err(absent(format!("no feedback at {position}: {other:?}"))),
        }
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), LookupError> {
        let found = self.versions.get(&version).cloned();
        found.ok_or_else(|| absent(format!("no version {version}")))
    }

    fn refused(&mut self, position: u64) -> bool {
        self.refused.contains(&position)
    }
}

impl JournalLookup<'_> {
    /// The exclusions of a history that applies these entries, and the orders that were refused.
    fn orders(&self, journal: &[Entry], refused: &[u64]) -> (Vec<Exclusion>, BTreeSet<u64>) {
        let mut exclusions = self.exclusions.to_vec();
        let mut refused: BTreeSet<u64> = refused.iter().copied().collect();
        for entry in journal {
            match &entry.event {
                Event::Command(Command {
                    order: Order::Retract(earlier),
                    ..
                }) => exclusions.push(Exclusion {
                    selector: earlier.selector.clone(),
                    before: entry.position,
                }),
                Event::Refusal(refusal) => drop(refused.insert(refusal.position)),
                _ => {}
            }
        }
        (exclusions, refused)
    }
}

impl CounterfactualLookup for JournalLookup<'_> {
    fn counterfactual(
        &mut self,
        order: &Order,
        position: u64,
        refused: &[u64],
        _: Option<u64>,
    ) -> Result<Counterfactual, LookupError> {
        let journal = &self.journal[..position as usize - 1];
        let (mut exclusions, refused) = self.orders(journal, refused);
        let retraction = match order {
            Order::Retract(retraction) => retraction,
            Order::Retrain { from, description } => {
                let anew = (*from, description);
                let other = LearnerHarness::begin_anew(journal, anew, exclusions, refused);
                return Ok(Counterfactual {
                    learner: other.learner,
                    excluded: Vec::new(),
                    comparison: Comparison::default(),
                });
            }
            other => return Err(absent(format!("{other:?} is not derived here"))),
        };
        let chosen = |exclusion: &Exclusion, entry: &Entry| match &entry.event {
            Event::Feedback(feedback) => {
                entry.position < exclusion.before
                    && exclusion.selector.chooses(feedback, entry.time)
            }
            _ => false,
        };
        let ours = Exclusion {
            selector: retraction.selector.clone(),
            before: position,
        };
        let new = |entry: &&Entry| {
            chosen(&ours, entry) && !exclusions.iter().any(|earlier| chosen(earlier, entry))
        };
        let excluded: Vec<u64> = journal
            .iter()
            .filter(new)
            .map(|entry| entry.position)
            .collect();
        exclusions.push(ours);
        let first = excluded.first().copied();
        let other = LearnerHarness::compare(journal, exclusions, refused, first);
        Ok(Counterfactual {
            learner: other.learner,
            excluded,
            comparison: other.comparison,
        })
    }
}
