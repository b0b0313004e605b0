//! The journal applied again, entry by entry: as it was, without what is retracted, or under
//! another description.
//!
//! Invariant: it starts from a state that is older than everything left out, and takes from the
//! disk only what is as old; whatever is younger it derives itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::shelf::Shelf;
use super::translation::{Parting, Translation};
use super::versions::Versions;
use crate::event::{Command, Entry, Event, Order, Retraction};
use crate::learn::{Learner, Moment, Omission, Otherwise};
use crate::model::Spec;
use crate::store::{Reader, segments};

/// A history on its way.
pub struct Derivation {
    /// What makes it another history than the recorded one.
    order: Option<Order>,
    pub learner: Learner,
    shelf: Shelf,
    /// The versions whose states a later restore asks for, by position.
    wanted: BTreeMap<u64, Vec<u64>>,
    left_out: Vec<u64>,
    /// What a history that it is a part of leaves out.
    inherited: Vec<Omission>,
    /// Up to where it knows which versions are brought back.
    surveyed: u64,
    /// What it had come to, at the positions of commands behind the first left out.
    moments: BTreeMap<u64, Moment>,
    /// The position of the state that it started from; 0 is before the first entry.
    pub base: u64,
}

/// What stands between a base and the order.
#[derive(Default)]
struct Between {
    /// Earlier retractions, with the positions of their orders.
    retractions: Vec<(u64, Retraction)>,
    /// Versions brought back.
    restored: Vec<u64>,
    /// The positions of the versions made there.
    made: BTreeMap<u64, u64>,
}

impl Derivation {
    /// The history that `order` asks for, of which the journal holds the entries up to `last` by
    /// now; a history that already leaves something out passes that on. Nothing is applied yet.
    ///
    /// # Errors
    /// When no state is old enough, or the journal does not reach back to it or to a prediction
    /// that waits in it.
    pub fn begin(
        versions: &Versions,
        order: &Order,
        last: u64,
        omissions: &[Omission],
    ) -> Result<Derivation, String> {
        let first = match order {
            Order::Retract(retraction) => retraction.first_position,
            _ => 1,
        };
        Derivation::from_any(older(versions, first)?, |base| {
            Derivation::from(versions, Some(order), last, omissions, base)
        })
        .map_err(|why| format!("no state before position {first} can be gone on from: {why}"))
    }

    /// The recorded history up to `last`, from the newest state of it that is whole.
    ///
    /// # Errors
    /// As [`Derivation::begin`].
    pub fn again(versions: &Versions, last: u64) -> Result<Derivation, String> {
        Derivation::from_any(older(versions, last + 1)?, |base| {
            Derivation::from(versions, None, last, &[], base)
        })
        .map_err(|why| format!("no state up to position {last} can be gone on from: {why}"))
    }

    /// The recorded history up to `last`, from the state at `base`; 0 is before the first entry.
    ///
    /// # Errors
    /// As [`Derivation::begin`].
    pub fn again_from(versions: &Versions, last: u64, base: u64) -> Result<Derivation, String> {
        Derivation::from(versions, None, last, &[], base)
    }

    fn from_any(
        bases: Vec<u64>,
        from: impl Fn(u64) -> Result<Derivation, String>,
    ) -> Result<Derivation, String> {
        let mut reasons = Vec::new();
        for base in bases.into_iter().chain([0]) {
            match from(base) {
                Ok(derivation) => return Ok(derivation),
                Err(reason) => reasons.push(reason),
            }
        }
        // Of the nearest and of the oldest: those between tell nothing new.
        let last = reasons.pop().unwrap_or_default();
        match reasons.first() {
            Some(nearest) if *nearest != last => Err(format!("{nearest}; and {last}")),
            _ => Err(last),
        }
    }

    fn from(
        versions: &Versions,
        order: Option<&Order>,
        last: u64,
        omissions: &[Omission],
        base: u64,
    ) -> Result<Derivation, String> {
        let said = |error: crate::store::Error| error.to_string();
        let first = reaches_back(&versions.journal, base)?;
        let between = Between::survey(&versions.journal, base, last)?;
        let inherited = omissions.to_vec();
        let omissions = [omissions, &between.omissions(order, base)?].concat();
        let wanted = between.wanted(versions, base)?;
        let learner = match base {
            0 => versions.beginning(first_spec(&versions.journal, order)?)?,
            base => versions.state_at(base)?,
        };
        if let Some(oldest) = learner.joins().oldest_position().filter(|at| *at < first) {
            return Err(format!(
                "predictions from position {oldest} on wait in the state at {base}, but the \
                 journal was shortened and starts at {first} now"
            ));
        }
        let reader = Reader::open(&versions.journal, base + 1, u64::MAX).map_err(said)?;
        let mut shelf = Shelf::new(reader, versions.clone());
        shelf.omissions = omissions.clone();
        if let Some(Order::Adopt(description)) = order {
            shelf.translation = Some(Translation::new(description.clone())?);
        }
        Ok(Derivation {
            order: order.cloned(),
            learner: match order {
                Some(_) => learner.rederive(omissions),
                None => learner,
            },
            shelf,
            wanted,
            left_out: Vec::new(),
            inherited,
            surveyed: last,
            moments: BTreeMap::new(),
            base,
        })
    }

    /// What it is derived for.
    pub fn order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// The position of the last entry applied.
    pub fn position(&self) -> u64 {
        self.learner.position()
    }

    /// Where its answers first part from those served, under another description.
    pub fn parting(&self) -> Option<Parting> {
        self.shelf.translation.as_ref()?.parting()
    }

    /// Applies the entries up to `last`, `n_max` at most.
    ///
    /// # Errors
    /// When the journal cannot be read, or does not fit the state.
    pub fn advance(&mut self, last: u64, n_max: usize) -> Result<(), String> {
        for _ in 0..n_max {
            let next = self.shelf.reader.next(last);
            let Some(entry) = next.map_err(|error| error.to_string())? else {
                break;
            };
            if let Some(again) = self.with_in_view(&entry)? {
                *self = again;
                continue;
            }
            let entry = match &mut self.shelf.translation {
                Some(translation) => translation.entry(entry, &self.learner)?,
                None => entry,
            };
            self.apply(&entry)?;
        }
        Ok(())
    }

    /// A version that is brought back after the survey may have been passed without its state
    /// being kept: then the history begins again, with that in view.
    fn with_in_view(&self, entry: &Entry) -> Result<Option<Derivation>, String> {
        let restores = matches!(
            entry.event,
            Event::Command(Command {
                order: Order::Restore { .. },
                ..
            })
        );
        match &self.order {
            Some(order) if restores && entry.position > self.surveyed => {
                let versions = &self.shelf.versions;
                Derivation::begin(versions, order, entry.position, &self.inherited).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        if self.leaves_out(entry) {
            self.left_out.push(entry.position);
        }
        let applied = self.learner.apply(entry, &mut self.shelf);
        let step = applied.map_err(|error| error.to_string())?;
        if let Some(translation) = self.shelf.translation.as_mut().filter(|_| step.changed) {
            translation.changed();
        }
        if matches!(entry.event, Event::Command(_)) && !self.left_out.is_empty() {
            self.moments.insert(entry.position, self.learner.moment());
        }
        for version in self.wanted.remove(&entry.position).unwrap_or_default() {
            let state = (self.learner.learned().weights(), self.learner.state());
            self.shelf.kept.insert(version, state);
        }
        Ok(())
    }

    /// Whether this order, and no earlier one, takes the entry back.
    fn leaves_out(&self, entry: &Entry) -> bool {
        let (Event::Feedback(feedback), Some(Order::Retract(_))) = (&entry.event, &self.order)
        else {
            return false;
        };
        let chosen = |omission: &Omission| {
            entry.position < omission.before && omission.selector.chooses(feedback, entry.time)
        };
        match self.shelf.omissions.split_last() {
            Some((ours, earlier)) => chosen(ours) && !earlier.iter().any(chosen),
            None => false,
        }
    }

    /// Applies the entries up to `last`, and gives what they led to.
    ///
    /// # Errors
    /// As [`Derivation::advance`].
    pub fn finish(mut self, last: u64) -> Result<Otherwise, String> {
        self.advance(last, usize::MAX)?;
        match self.learner.position() == last {
            true => Ok(Otherwise {
                learner: self.learner,
                left_out: self.left_out,
                moments: self.moments,
            }),
            false => Err(format!("the journal has no entry {last}")),
        }
    }
}

impl Between {
    /// The versions that were brought back and that the history makes itself, by position; the
    /// others must be on disk.
    fn wanted(&self, versions: &Versions, base: u64) -> Result<BTreeMap<u64, Vec<u64>>, String> {
        let mut wanted: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for &version in &self.restored {
            let made = self.made.get(&version).copied();
            let saved = || Some(versions.find(version).ok()??.position);
            match made.or_else(saved) {
                Some(position) if position > base => {
                    wanted.entry(position).or_default().push(version);
                }
                _ => {
                    let loaded = versions.load(version);
                    loaded.map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(wanted)
    }

    /// What a history that `order` asks for leaves out besides: what was retracted on the way,
    /// and last what the order itself takes back.
    fn omissions(&self, order: Option<&Order>, base: u64) -> Result<Vec<Omission>, String> {
        let Some(order) = order else {
            return Ok(Vec::new());
        };
        let mut omissions = Vec::new();
        for (before, retraction) in &self.retractions {
            if retraction.first_position <= base {
                return Err(format!(
                    "the state at {base} holds what was retracted since"
                ));
            }
            omissions.push(Omission {
                selector: retraction.selector.clone(),
                before: *before,
            });
        }
        if let Order::Retract(retraction) = order {
            // It applies no entry behind its order.
            omissions.push(Omission {
                selector: retraction.selector.clone(),
                before: u64::MAX,
            });
        }
        Ok(omissions)
    }

    fn survey(journal: &Path, base: u64, last: u64) -> Result<Between, String> {
        let said = |error: crate::store::Error| error.to_string();
        let mut reader = Reader::open(journal, base + 1, u64::MAX).map_err(said)?;
        let mut between = Between::default();
        while let Some(entry) = reader.next(last).map_err(said)? {
            match entry.event {
                Event::Command(Command { order, .. }) => match order {
                    Order::Retract(retraction) => {
                        between.retractions.push((entry.position, retraction));
                    }
                    Order::Restore { version } => between.restored.push(version),
                    Order::Checkpoint | Order::Adopt(_) => {}
                },
                Event::Version(version) => {
                    between.made.insert(version.version, version.position);
                }
                _ => {}
            }
        }
        Ok(between)
    }
}

/// The first position of the journal, if what follows the state at `base` is still there.
fn reaches_back(journal: &Path, base: u64) -> Result<u64, String> {
    let segments = segments(journal).map_err(|error| error.to_string())?;
    let first = segments.first().map_or(1, |one| one.first_position);
    match base + 1 < first {
        false => Ok(first),
        true => Err(format!(
            "the journal no longer reaches back far enough: it was shortened and starts at \
             position {first} now, behind position {}",
            base + 1
        )),
    }
}

/// The positions before `first` that have a checkpoint, the newest first.
fn older(versions: &Versions, first: u64) -> Result<Vec<u64>, String> {
    let listed = versions.checkpoints().map_err(|error| error.to_string())?;
    let older = listed.iter().rev().map(|one| one.position);
    Ok(older.filter(|position| *position < first).collect())
}

/// The description that a history starts with.
fn first_spec(journal: &Path, order: Option<&Order>) -> Result<Arc<Spec>, String> {
    let toml = match order {
        Some(Order::Adopt(description)) => description.toml.clone(),
        _ => super::recover::first_description(journal)?,
    };
    let spec = Spec::journaled(&toml).map_err(|error| error.to_string())?;
    Ok(Arc::new(spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_state_and_the_oldest_say_why_they_do_not_do() {
        let check = |bases: &[u64], why: fn(u64) -> String, expected: &str| {
            let derived = Derivation::from_any(bases.to_vec(), |base| Err(why(base)));
            assert_eq!(derived.err().as_deref(), Some(expected));
        };
        check(&[], |base| format!("no {base}"), "no 0");
        check(&[9, 5], |base| format!("no {base}"), "no 9; and no 0");
        check(&[9, 5], |_| "none".to_owned(), "none");
    }
}
