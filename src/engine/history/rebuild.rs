//! The journal applied again, entry by entry: as it was, without what is retracted, or under
//! another description.
//!
//! Invariant: it starts from a state that is older than everything left out, and takes from the
//! disk only what is as old; whatever is younger it derives itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::history::between::Between;
use crate::engine::history::lookup::JournalLookup;
use crate::engine::history::translation::{Divergence, Translation};
use crate::engine::versions::kept::Kept;
use crate::engine::versions::saved::Versions;
use crate::event::{Command, Entry, Event, Order};
use crate::learn::{Comparison, Learner, Omission, Otherwise};
use crate::model::Spec;
use crate::store::{Reader, segments};

/// A history on its way.
pub struct Rebuild {
    /// What makes it another history than the recorded one.
    order: Option<Order>,
    pub learner: Learner,
    lookup: JournalLookup,
    left_out: Vec<u64>,
    known: Known,
    /// Up to where it knows the orders.
    surveyed: u64,
    /// The first of those of which it is not known whether it was refused: it stops before that.
    undecided: Option<u64>,
    /// The versions of the recorded history beside what it comes to.
    comparison: Comparison,
    /// The position of the state that it started from; 0 is before the first entry.
    pub base: u64,
    n_begun: u64,
}

/// What is known of the recorded history besides the entries that are derived from.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Feedback that a history leaves out which this one is a part of.
    pub omissions: Vec<Omission>,
    /// Orders that were refused, of which the journal need not say so yet.
    pub refused: BTreeSet<u64>,
    /// Up to where every order that was refused is known, from the journal or from `refused`.
    pub applied: u64,
    /// Up to where the journal is written, for records of refusals that stand behind the entries.
    pub written: u64,
    /// From where on it is not known what the recorded history has learned, if anywhere.
    pub unknown_from: Option<u64>,
}

impl Rebuild {
    /// The history that `order` asks for, of which the journal holds the entries up to `last` by
    /// now. Nothing is applied yet.
    ///
    /// # Errors
    /// When no state is old enough, or the journal does not reach back to it or to a prediction
    /// that waits in it.
    pub fn begin(
        versions: &Versions,
        order: &Order,
        last: u64,
        known: &Known,
    ) -> Result<Rebuild, String> {
        let first = match order {
            Order::Retract(retraction) => retraction.first_position,
            _ => 1,
        };
        Rebuild::from_any(older(versions, first)?, |base| {
            Rebuild::from(versions, Some(order), last, known, base)
        })
        .map_err(|why| format!("no state before position {first} can be gone on from: {why}"))
    }

    /// The recorded history up to `last`, from the newest state of it that is whole.
    ///
    /// # Errors
    /// As [`Rebuild::begin`].
    pub fn again(versions: &Versions, last: u64) -> Result<Rebuild, String> {
        Rebuild::from_any(older(versions, last + 1)?, |base| {
            Rebuild::again_from(versions, last, base)
        })
        .map_err(|why| format!("no state up to position {last} can be gone on from: {why}"))
    }

    /// The recorded history up to `last`, from the state at `base`; 0 is before the first entry.
    ///
    /// # Errors
    /// As [`Rebuild::begin`].
    pub fn again_from(versions: &Versions, last: u64, base: u64) -> Result<Rebuild, String> {
        Rebuild::from(versions, None, last, &Known::default(), base)
    }

    fn from_any(
        bases: Vec<u64>,
        from: impl Fn(u64) -> Result<Rebuild, String>,
    ) -> Result<Rebuild, String> {
        let mut reasons = Vec::new();
        for base in bases.into_iter().chain([0]) {
            match from(base) {
                Ok(rebuild) => return Ok(rebuild),
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
        known: &Known,
        base: u64,
    ) -> Result<Rebuild, String> {
        let said = |error: crate::store::Error| error.to_string();
        let first = reaches_back(versions, base)?;
        let between = Between::survey(versions, base, last, known)?;
        let omissions = [&known.omissions[..], &between.omissions(order)?].concat();
        let wanted = between.wanted(versions, last)?;
        // The recorded history decides by itself.
        let undecided = order.and_then(|_| between.first_undecided());
        let learner = match base {
            0 => versions.beginning(first_spec(&versions.journal, order)?)?,
            base => versions.base_at(base)?,
        };
        if let Some(oldest) = learner.joins().oldest_position().filter(|at| *at < first) {
            return Err(format!(
                "predictions from position {oldest} on wait in the state at {base}, but the \
                 journal was shortened and starts at {first} now"
            ));
        }
        let open = || Reader::open(&versions.journal, base + 1, u64::MAX);
        let reader = versions.retry.run(open).map_err(said)?;
        let mut comparison = Comparison::default();
        known
            .unknown_from
            .iter()
            .for_each(|first| comparison.begin(*first));
        let mut lookup = JournalLookup::new(reader, versions.clone());
        lookup.omissions = omissions.clone();
        lookup.refused = between.refused;
        lookup.kept = Kept::new(versions, wanted);
        if let Some(Order::Adopt(description)) = order {
            lookup.translation = Some(Translation::new(description.clone())?);
        }
        Ok(Rebuild {
            order: order.cloned(),
            learner: match order {
                Some(_) => learner.rederive(omissions),
                None => learner,
            },
            lookup,
            left_out: Vec::new(),
            known: known.clone(),
            surveyed: last,
            undecided,
            comparison,
            base,
            n_begun: 1,
        })
    }

    /// What it is derived for.
    pub fn order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// What it looks up from here on waits for descriptors where that of these versions does.
    pub fn retry_like(&mut self, versions: &Versions) {
        self.lookup.versions.retry = versions.retry.clone();
    }

    /// How often it has begun.
    pub fn n_begun(&self) -> u64 {
        self.n_begun
    }

    /// The position of the last entry applied.
    pub fn position(&self) -> u64 {
        self.learner.position()
    }

    /// Where its answers first part from those served, under another description.
    pub fn divergence(&self) -> Option<Divergence> {
        self.lookup.translation.as_ref()?.divergence()
    }

    /// The order before which it stops until it is known whether that was refused.
    pub fn undecided(&self) -> Option<u64> {
        self.undecided
    }

    /// Applies the entries up to `last`, `n_max` at most, and none from an order on of which it is
    /// not known whether it was refused.
    ///
    /// # Errors
    /// When the journal cannot be read, or does not fit the state.
    pub fn advance(&mut self, last: u64, n_max: usize) -> Result<(), String> {
        for _ in 0..n_max {
            let until = self.undecided.map_or(last, |order| last.min(order - 1));
            let Some(entry) = self.lookup.next(until)? else {
                break;
            };
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

    /// The same history from its base, with all orders up to `last` in view.
    ///
    /// # Errors
    /// As [`Rebuild::begin`].
    pub fn begin_again(&mut self, last: u64) -> Result<(), String> {
        if let Some(order) = &self.order {
            let versions = &self.lookup.versions;
            let again = Rebuild::begin(versions, order, last, &self.known)?;
            *self = Rebuild {
                n_begun: self.n_begun + 1,
                ..again
            };
        }
        Ok(())
    }

    /// Whether this is an order that came after the survey. What it brings back may have been
    /// passed without being kept, and what it takes back may have been learned.
    fn is_unseen(&self, entry: &Entry) -> bool {
        let Event::Command(Command { order, .. }) = &entry.event else {
            return false;
        };
        match order {
            Order::Checkpoint | Order::Erase(_) => false,
            Order::Restore { .. }
            | Order::EarlierRestore { .. }
            | Order::Retract(_)
            | Order::Adopt(_) => entry.position > self.surveyed,
        }
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        let own = self.lookup.omissions.len().checked_sub(1);
        if own.is_some() && self.takes_back() && self.omission(entry) == own {
            self.left_out.push(entry.position);
            self.comparison.begin(entry.position);
        }
        let applied = self.learner.apply(entry, &mut self.lookup);
        let step = applied.map_err(|error| error.to_string())?;
        if let Some(translation) = self.lookup.translation.as_mut().filter(|_| step.changed) {
            translation.changed();
        }
        self.comparison.observe(entry, &self.learner);
        let followed = self.lookup.kept.follow(&self.learner);
        followed.map_err(|error| error.to_string())
    }

    /// The first omission that takes the entry back; that of its own order is the last.
    fn omission(&self, entry: &Entry) -> Option<usize> {
        let Event::Feedback(feedback) = &entry.event else {
            return None;
        };
        let chosen = |omission: &Omission| {
            entry.position < omission.before && omission.selector.chooses(feedback, entry.time)
        };
        self.lookup.omissions.iter().position(chosen)
    }

    /// Whether its own order takes feedback back.
    fn takes_back(&self) -> bool {
        matches!(self.order, Some(Order::Retract(_)))
    }

    /// Applies the entries up to `last`, and gives what they led to.
    ///
    /// # Errors
    /// As [`Rebuild::advance`].
    pub fn finish(mut self, last: u64) -> Result<Otherwise, String> {
        self.advance(last, usize::MAX)?;
        match (self.learner.position() == last, self.undecided) {
            (true, _) => Ok(Otherwise {
                learner: self.learner,
                left_out: self.left_out,
                comparison: self.comparison,
            }),
            (false, Some(order)) => Err(format!(
                "the journal does not say yet whether order {order} was refused; \
                 it does once a server has run"
            )),
            (false, None) => Err(format!("the journal has no entry {last}")),
        }
    }

    /// The same for a learner that has applied those entries and refused `refused` of them.
    ///
    /// # Errors
    /// As [`Rebuild::advance`].
    pub fn finish_for(mut self, last: u64, refused: BTreeSet<u64>) -> Result<Otherwise, String> {
        self.known.refused.extend(refused);
        self.known.applied = last;
        if self.undecided.is_some() {
            self.begin_again(last)?;
        }
        self.finish(last)
    }
}

/// The first position of the journal, if what follows the state at `base` is still there.
fn reaches_back(versions: &Versions, base: u64) -> Result<u64, String> {
    let segments = versions.retry.run(|| segments(&versions.journal));
    let segments = segments.map_err(|error| error.to_string())?;
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
    let positions = versions.retry.run(|| versions.positions());
    let positions = positions.map_err(|error| error.to_string())?;
    let older = positions.into_iter().rev();
    Ok(older.filter(|position| *position < first).collect())
}

/// The description that a history starts with.
fn first_spec(journal: &std::path::Path, order: Option<&Order>) -> Result<Arc<Spec>, String> {
    let toml = match order {
        Some(Order::Adopt(description)) => description.toml.clone(),
        _ => crate::engine::flows::recover::first_description(journal)?,
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
            let derived = Rebuild::from_any(bases.to_vec(), |base| Err(why(base)));
            assert_eq!(derived.err().as_deref(), Some(expected));
        };
        check(&[], |base| format!("no {base}"), "no 0");
        check(&[9, 5], |base| format!("no {base}"), "no 9; and no 0");
        check(&[9, 5], |_| "none".to_owned(), "none");
    }
}
