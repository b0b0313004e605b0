//! Facts of a journal: its orders and their outcomes, its descriptions, its erasures.
//!
//! Invariant: one pass gathers them all, and a fact that is noted twice counts once. They grow with
//! the orders and descriptions that the journal holds, never with predictions, feedback or the versions
//! of the cadence, and facts of entries that retention removes are dropped.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::history::pass::Pass;
use crate::engine::versions::kept::VersionOrigin;
use crate::engine::versions::saved::Versions;
use crate::event::{
    Description, Entry, ErasedKind, Event, Feedback, Order, Reason, Retraction, Selector, Time,
    Version,
};
use crate::learn::Exclusion;
use crate::store::Error;

/// The facts of a stretch of a journal.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The first position of the stretch, and the last; an empty one ends before it begins.
    first: u64,
    last: u64,
    /// Retractions, by the positions of the orders.
    retractions: BTreeMap<u64, Retraction>,
    /// The versions that were asked for, by the positions of the orders.
    restores: BTreeMap<u64, u64>,
    /// The positions of adoptions.
    adoptions: BTreeSet<u64>,
    /// Restores whose version is recorded, and those of an older program, which refused none.
    carried_out: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// The origins of the versions that orders made; those of the cadence are too many.
    made: BTreeMap<u64, VersionOrigin>,
    /// Descriptions, by the positions from which they were in force; adopted ones as well.
    descriptions: BTreeMap<u64, Description>,
    /// The last entry that was erased and without which nothing is applied across it.
    last_erased: u64,
}

impl Facts {
    /// No facts yet, of a stretch that begins at `first`.
    pub(crate) fn from(first: u64) -> Facts {
        Facts {
            first,
            last: first.saturating_sub(1),
            retractions: BTreeMap::new(),
            restores: BTreeMap::new(),
            adoptions: BTreeSet::new(),
            carried_out: BTreeSet::new(),
            refused: BTreeSet::new(),
            made: BTreeMap::new(),
            descriptions: BTreeMap::new(),
            last_erased: 0,
        }
    }

    /// The facts of the entries from `first` to `last`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn read(versions: &Versions, first: u64, last: u64) -> Result<Facts, Error> {
        let mut facts = Facts::from(first);
        facts.read_on(versions, last)?;
        Ok(facts)
    }

    /// Reads on, behind the stretch, up to `last`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn read_on(&mut self, versions: &Versions, last: u64) -> Result<(), Error> {
        if last <= self.last {
            return Ok(());
        }
        let mut pass = Pass::from(versions, self.last + 1, u64::MAX)?;
        while let Some(entry) = pass.next(last)? {
            self.note(&entry);
        }
        Ok(())
    }

    /// The facts of `first..=last`: a copy if these span it, else read from the journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn spanning(
        &self,
        versions: &Versions,
        first: u64,
        last: u64,
    ) -> Result<Facts, Error> {
        if self.first <= first && first <= self.last + 1 {
            let mut facts = self.clone();
            facts.read_on(versions, last)?;
            return Ok(facts);
        }
        Facts::read(versions, first, last)
    }

    /// Takes note of an entry, which makes the stretch longer where it follows it.
    pub(crate) fn note(&mut self, entry: &Entry) {
        let position = entry.position;
        match &entry.event {
            Event::Description(description) => self.describe(position, description),
            Event::Command(command) => self.order(position, &command.order),
            Event::Version(version)
                if !matches!(version.reason, Reason::Cadence | Reason::Contender) =>
            {
                self.made.insert(version.version, self.made_as(version));
                if version.reason == Reason::Restore {
                    self.carried_out.insert(version.position);
                }
            }
            Event::Refusal(refusal) => {
                self.refused.insert(refusal.position);
            }
            Event::Erased(ErasedKind::Feedback(_) | ErasedKind::Prediction) => {
                self.last_erased = self.last_erased.max(position);
            }
            _ => {}
        }
        if position == self.last + 1 {
            self.last = position;
        }
    }

    fn describe(&mut self, position: u64, description: &Description) {
        self.descriptions.insert(position, description.clone());
    }

    fn order(&mut self, position: u64, order: &Order) {
        match order {
            Order::Retract(retraction) => {
                self.retractions.insert(position, retraction.clone());
            }
            Order::Restore { version } => {
                self.restores.insert(position, *version);
            }
            Order::EarlierRestore { version } => {
                self.restores.insert(position, *version);
                self.carried_out.insert(position);
            }
            Order::Adopt(description) => {
                self.describe(position, description);
                self.adoptions.insert(position);
            }
            Order::Checkpoint
            | Order::Erase(_)
            | Order::Promote { .. }
            | Order::Freeze
            | Order::Resume
            | Order::Acknowledge { .. }
            | Order::Close { .. }
            | Order::BeginRetraining { .. }
            | Order::Retrain { .. }
            | Order::EndRetraining
            | Order::Release(_)
            | Order::Discard(_)
            | Order::SetAlias { .. }
            | Order::RemoveAlias { .. } => {}
        }
    }

    /// Takes over those of an earlier stretch, where that reaches this one.
    pub(crate) fn join(&mut self, earlier: &Facts) {
        if earlier.first <= self.first && self.first <= earlier.last + 1 {
            self.first = earlier.first;
            self.last = self.last.max(earlier.last);
            self.know(earlier);
        }
    }

    /// Takes over other facts of the same journal; the stretch stays as it is.
    pub(crate) fn know(&mut self, others: &Facts) {
        let retractions = others.retractions.iter();
        self.retractions
            .extend(retractions.map(|(at, one)| (*at, one.clone())));
        self.restores.extend(&others.restores);
        self.adoptions.extend(&others.adoptions);
        self.carried_out.extend(&others.carried_out);
        self.refused.extend(&others.refused);
        self.made.extend(&others.made);
        let descriptions = others.descriptions.iter();
        self.descriptions
            .extend(descriptions.map(|(at, one)| (*at, one.clone())));
        self.last_erased = self.last_erased.max(others.last_erased);
    }

    /// Drops the facts of entries before `first`, which the journal is to hold no longer. Nothing asks
    /// for them: an order concerns the events and states before it, and those that are left stand from
    /// `first - 1` on. The description that is in force at `first` stays.
    pub(crate) fn forget_before(&mut self, first: u64) {
        if first <= self.first {
            return;
        }
        self.first = first;
        self.last = self.last.max(first - 1);
        self.retractions = self.retractions.split_off(&first);
        self.restores = self.restores.split_off(&first);
        self.adoptions = self.adoptions.split_off(&first);
        self.carried_out = self.carried_out.split_off(&first);
        self.refused = self.refused.split_off(&first);
        self.made.retain(|_, made| made.position >= first);
        let in_force = self.descriptions.range(..=first).next_back();
        if let Some(in_force) = in_force.map(|(position, _)| *position) {
            self.descriptions = self.descriptions.split_off(&in_force);
        }
    }

    /// True if an entry stands in the stretch.
    pub(crate) fn span(&self, position: u64) -> bool {
        (self.first..=self.last).contains(&position)
    }

    /// The retraction that was ordered at a position.
    pub(crate) fn retraction(&self, order: u64) -> Option<&Retraction> {
        self.retractions.get(&order)
    }

    /// The retractions that were ordered behind a position, rising.
    pub(crate) fn retractions_behind(
        &self,
        position: u64,
    ) -> impl Iterator<Item = (u64, &Retraction)> {
        let behind = self.retractions.range(position + 1..);
        behind.map(|(order, retraction)| (*order, retraction))
    }

    /// The first order up to `until` that took an event back, by its position.
    pub(crate) fn retracted_by(
        &self,
        position: u64,
        time: Time,
        feedback: &Feedback,
        until: u64,
    ) -> Option<u64> {
        let mut behind = self.retractions_behind(position);
        let takes = |selector: &Selector| selector.chooses(feedback, time);
        let found = behind.find(|(order, one)| *order > until || takes(&one.selector));
        found
            .map(|(order, _)| order)
            .filter(|order| *order <= until)
    }

    /// The last order that took back an event that is erased by now, by its position.
    pub(crate) fn taken_back_by(&self, position: u64) -> Option<u64> {
        let behind = self.retractions.range(position + 1..).rev();
        let mut took = behind.filter(|(_, one)| one.first_position <= position);
        took.next().map(|(order, _)| *order)
    }

    /// The exclusions of retractions that were ordered between a state and position `last`.
    ///
    /// # Errors
    /// The order that concerns the state itself.
    pub(crate) fn exclusions(&self, base: u64, last: u64) -> Result<Vec<Exclusion>, u64> {
        let between = self.retractions.range(base + 1..=last.max(base + 1));
        let between = between.filter(|(order, _)| **order <= last);
        let exclusion = |(order, one): (&u64, &Retraction)| {
            if one.first_position <= base {
                Err(*order)
            } else {
                Ok(Exclusion {
                    selector: one.selector.clone(),
                    before: *order,
                })
            }
        };
        between.map(exclusion).collect()
    }

    /// The restores that were ordered behind a state, up to position `last`, each with its version.
    pub(crate) fn restores(&self, base: u64, last: u64) -> impl Iterator<Item = (u64, u64)> {
        let behind = self.restores.range(base + 1..);
        let behind = behind.map(|(order, version)| (*order, *version));
        behind.take_while(move |(order, _)| *order <= last)
    }

    /// The last order up to `last` that brought other learning back, or may have: a restore or an
    /// adoption. Those of `refused` did not.
    pub(crate) fn last_moved(&self, last: u64, refused: &BTreeSet<u64>) -> Option<u64> {
        let restores = self.restores.keys().chain(&self.adoptions);
        let carried_out = restores.filter(|order| **order <= last && !refused.contains(order));
        carried_out.max().copied()
    }

    /// True if a restore is known to be carried out.
    pub(crate) fn is_carried_out(&self, order: u64) -> bool {
        self.carried_out.contains(&order)
    }

    /// The origin of a version by its record. The contender of a history that an order brought stands at the
    /// order, as its champion does.
    pub(crate) fn made_as(&self, record: &Version) -> VersionOrigin {
        let Version {
            position, reason, ..
        } = *record;
        let is_side = match reason {
            Reason::Champion => true,
            Reason::Contender => self.brings_history(position),
            _ => false,
        };
        VersionOrigin {
            position,
            side: is_side.then_some(reason),
        }
    }

    /// True if the order at a position brought another history.
    fn brings_history(&self, position: u64) -> bool {
        let made = self.made.values().any(|made| made.position == position);
        self.retractions.contains_key(&position)
            || (made && self.descriptions.contains_key(&position))
    }

    /// The origin of a version that an order made.
    pub(crate) fn version_made(&self, version: u64) -> Option<VersionOrigin> {
        self.made.get(&version).copied()
    }

    /// Orders that were refused.
    pub(crate) fn refused(&self) -> &BTreeSet<u64> {
        &self.refused
    }

    /// The description in force at a position.
    pub(crate) fn description_at(&self, position: u64) -> Option<&Description> {
        let (_, description) = self.descriptions.range(..=position).next_back()?;
        Some(description)
    }

    /// The descriptions that came behind a state, up to position `last`.
    pub(crate) fn descriptions(
        &self,
        base: u64,
        last: u64,
    ) -> impl Iterator<Item = (u64, &Description)> {
        let behind = self.descriptions.range(base + 1..);
        let behind = behind.map(|(position, one)| (*position, one));
        behind.take_while(move |(position, _)| *position <= last)
    }

    /// The position of the last erased entry that is needed to go on; 0 where none was erased.
    pub(crate) fn last_erased(&self) -> u64 {
        self.last_erased
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Command, Disposal, OrderRefusal, Signal, Subject};

    fn entry(position: u64, event: Event) -> Entry {
        let time = Time(position as i64);
        Entry {
            position,
            time,
            event,
        }
    }

    fn order(position: u64, order: Order) -> Entry {
        let (actor, note) = Default::default();
        entry(position, Event::Command(Command { order, actor, note }))
    }

    fn retraction(position: u64, source: &str, first_position: u64) -> Entry {
        let selector = Selector::Source(source.to_owned());
        let disposal = Disposal::Keep;
        order(
            position,
            Order::Retract(Retraction {
                selector,
                first_position,
                disposal,
            }),
        )
    }

    fn feedback(source: &str) -> Feedback {
        Feedback {
            feedback_id: String::new(),
            subject: Subject::Prediction(crate::event::PredictionId(1)),
            signal: Signal::Reward(1.0),
            source: source.to_owned(),
            event_time: None,
            tags: Default::default(),
            actor: String::new(),
            weight: 1.0,
            comment: String::new(),
            may_correct: false,
        }
    }

    fn facts(entries: &[Entry]) -> Facts {
        let mut facts = Facts::from(entries[0].position);
        entries.iter().for_each(|entry| facts.note(entry));
        facts
    }

    #[test]
    fn the_first_order_behind_an_event_takes_it_back() {
        let facts = facts(&[
            retraction(5, "a", 2),
            retraction(6, "b", 3),
            retraction(7, "a", 6),
        ]);
        let by = |position, source: &str, until| {
            facts.retracted_by(position, Time(0), &feedback(source), until)
        };
        assert_eq!([by(2, "a", 9), by(2, "b", 9)], [Some(5), Some(6)]);
        assert_eq!([by(5, "a", 9), by(7, "a", 9)], [Some(7), None]);
        assert_eq!([by(2, "b", 5), by(2, "c", 9)], [None, None]);
        assert_eq!(facts.taken_back_by(4), Some(6));
        let orders = |base, last| {
            let exclusions = facts.exclusions(base, last);
            exclusions.map(|all| all.iter().map(|one| one.before).collect::<Vec<_>>())
        };
        assert_eq!(orders(0, 6), Ok(vec![5, 6]));
        // The state at 5 holds the feedback that the order at 6 takes back.
        assert_eq!(orders(5, 9), Err(6));
        assert_eq!(orders(6, 6), Ok(vec![]));
    }

    #[test]
    fn a_restore_is_carried_out_where_its_version_is_recorded() {
        let version = |position| {
            Event::Version(crate::event::Version {
                version: 9,
                parent: 1,
                position,
                reason: Reason::Restore,
                digest: [0; 32].into(),
                tallies: None,
            })
        };
        let facts = facts(&[
            order(3, Order::Restore { version: 1 }),
            entry(4, version(3)),
            order(5, Order::Restore { version: 2 }),
            entry(6, Event::Refusal(OrderRefusal { position: 5 })),
            order(7, Order::EarlierRestore { version: 1 }),
        ]);
        let restores: Vec<_> = facts.restores(3, 9).collect();
        assert_eq!(restores, [(5, 2), (7, 1)]);
        assert_eq!(
            [3, 5, 7].map(|at| facts.is_carried_out(at)),
            [true, false, true]
        );
        assert!(facts.refused().contains(&5));
        assert_eq!(
            [8, 9].map(|version| facts.version_made(version).map(|made| made.position)),
            [None, Some(3)]
        );
    }

    #[test]
    fn p8_facts_of_what_retention_removes_are_dropped() {
        let description = |toml: &str| {
            let (build, profile) = Default::default();
            let toml = toml.to_owned();
            Event::Description(Description {
                toml,
                build,
                profile,
            })
        };
        let version = |version, position| {
            Event::Version(crate::event::Version {
                version,
                parent: 1,
                position,
                reason: Reason::Restore,
                digest: [0; 32].into(),
                tallies: None,
            })
        };
        let all = facts(&[
            entry(1, description("one")),
            retraction(2, "a", 1),
            entry(3, description("two")),
            order(4, Order::Restore { version: 1 }),
            entry(5, version(7, 4)),
            order(6, Order::Restore { version: 9 }),
            entry(7, Event::Refusal(OrderRefusal { position: 6 })),
            retraction(8, "b", 7),
            order(9, Order::Restore { version: 7 }),
            entry(10, version(8, 9)),
        ]);
        let mut left = all.clone();
        left.forget_before(8);
        let counts = |facts: &Facts| {
            [
                facts.retractions.len(),
                facts.restores.len(),
                facts.carried_out.len(),
                facts.refused.len(),
                facts.made.len(),
                facts.descriptions.len(),
            ]
        };
        assert_eq!(counts(&all), [2, 3, 2, 1, 2, 2]);
        assert_eq!(counts(&left), [1, 1, 1, 0, 1, 1]);
        // Answers from the kept positions on stay as before.
        let toml = |facts: &Facts| facts.description_at(8).map(|one| one.toml.clone());
        assert_eq!(
            (toml(&left).as_deref(), toml(&all)),
            (Some("two"), toml(&left))
        );
        let restores = |facts: &Facts| facts.restores(7, 10).collect::<Vec<_>>();
        assert_eq!(restores(&left), restores(&all));
        assert_eq!(left.exclusions(7, 10), all.exclusions(7, 10));
        assert_eq!(left.taken_back_by(7), Some(8));
        assert_eq!([7, 8, 10].map(|at| left.span(at)), [false, true, true]);
        // An earlier first position brings nothing back.
        left.forget_before(3);
        assert_eq!(counts(&left), [1, 1, 1, 0, 1, 1]);
    }

    #[test]
    fn stretches_that_meet_are_joined() {
        let early = facts(&[retraction(2, "a", 1), retraction(3, "b", 1)]);
        let mut late = facts(&[retraction(4, "c", 1), retraction(5, "d", 1)]);
        late.join(&early);
        assert_eq!(
            [1, 2, 5, 6].map(|at| late.span(at)),
            [false, true, true, false]
        );
        assert_eq!(late.retractions_behind(0).count(), 4);
        let mut far = facts(&[retraction(7, "e", 1)]);
        far.join(&early);
        assert_eq!([3, 7].map(|at| far.span(at)), [false, true]);
    }
}
