//! The versions of the recorded history beside the states of another one in their places.
//!
//! Invariant: bounded, however many versions are compared: each is judged once its record comes,
//! and of those that part from the recorded ones only the runs are kept.

use std::collections::BTreeMap;

use crate::event::{Command, Entry, Event, Order, Reason, Version};
use crate::learn::algorithms::learned::Learned;
use crate::learn::versions::revised_tallies::{self, RevisedTallies};
use crate::learn::versions::tainted::{RUNS_MAX, TaintedVersions};
use crate::learn::versions::tallies::Tallies;

/// The number of a successor that is not made yet.
const UNMADE: u64 = 0;

/// The state of a history at an order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OrderState {
    /// The digest of the learned state.
    digest: blake3::Hash,
    /// The digest of the tallies.
    counted: blake3::Hash,
    tallies: Tallies,
    /// True if these are all; the learned examples of waiting predictions can be too many to be
    /// kept.
    whole: bool,
}

impl OrderState {
    /// The digest of the learned state by then, and all tallies with their digest.
    pub(super) fn whole(learned: &Learned, counted: blake3::Hash, tallies: Tallies) -> OrderState {
        OrderState {
            digest: learned.digest(),
            counted,
            tallies,
            whole: true,
        }
    }

    /// The state of an order whose tallies lack the learned examples of waiting predictions.
    pub(super) fn partial(
        learned: &Learned,
        counted: blake3::Hash,
        tallies: Tallies,
    ) -> OrderState {
        OrderState {
            whole: false,
            ..OrderState::whole(learned, counted, tallies)
        }
    }
}

/// The comparison of two histories so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Versions that were made from this position on are compared; none so far.
    since: Option<u64>,
    /// The states of the other history at orders whose versions have no record yet.
    moments: BTreeMap<u64, OrderState>,
    /// The champions of the other history at orders that brought the recorded history another one.
    champions: BTreeMap<u64, OrderState>,
    /// True if the other history learns under rules by which this is bounded.
    bounded: bool,
    /// The first version that was compared.
    first: Option<u64>,
    /// Versions with other weights in the other history, without a successor yet.
    parted: TaintedVersions,
    /// Versions with equal weights and different tallies.
    revised_tallies: RevisedTallies,
}

impl Comparison {
    /// Compares the versions that were made from this position on, and those that it did before.
    pub fn begin(&mut self, position: u64) {
        let since = self.since.unwrap_or(position);
        self.since = Some(since.min(position));
    }

    /// Takes note of an entry that the other history has just applied, under a revision of the
    /// learning rules: `moment` is its state by then.
    pub(super) fn note(
        &mut self,
        entry: &Entry,
        revision: u32,
        moment: impl FnOnce() -> OrderState,
    ) {
        let compares = self.since.is_some_and(|since| since <= entry.position);
        self.bounded = revision >= 2;
        match &entry.event {
            Event::Command(Command { order, .. }) => match order {
                // It makes no version.
                Order::Erase(_) => {}
                _ if order.is_of_gate() || order.is_of_quarantine() => {}
                _ if order.is_note_of_retraining() || order.is_of_aliases() => {}
                _ if compares => drop(self.moments.insert(entry.position, moment())),
                _ => {}
            },
            Event::Version(version) => self.judge(version),
            Event::Refusal(refusal) => {
                self.moments.remove(&refusal.position);
                self.champions.remove(&refusal.position);
            }
            _ => {}
        }
    }

    /// Takes note of the champion at an order that brought the recorded history another one.
    pub(super) fn note_champion(&mut self, position: u64, champion: Option<OrderState>) {
        if self.since.is_some_and(|since| since <= position) {
            self.champions.extend(champion.map(|one| (position, one)));
        }
    }

    /// Compares a version of the recorded history with the state of the other one there. Those
    /// that no order made have no order to be compared at: none of them is the same.
    fn judge(&mut self, version: &Version) {
        if self.since.is_none_or(|since| version.position < since) {
            return;
        }
        let number = version.version;
        self.first.get_or_insert(number);
        // Records come in the order of positions: an earlier moment has made no version.
        self.moments = self.moments.split_off(&version.position);
        self.champions = self.champions.split_off(&version.position);
        let moment = match version.reason {
            Reason::Cadence | Reason::Contender | Reason::Rewind => None,
            Reason::Champion => self.champions.remove(&version.position),
            _ => self.moments.remove(&version.position),
        };
        let same = |moment: &OrderState| moment.digest == version.digest;
        match moment.filter(same) {
            Some(moment) if version.tallies == Some(moment.counted) => {}
            // The tallies of an older program's version are taken from its checkpoint.
            Some(moment) if moment.whole || version.tallies.is_none() => {
                self.revised_tallies.push(number, moment.tallies);
            }
            _ => self.parted.add(number..=number, UNMADE),
        }
        if self.bounded {
            for left in self.revised_tallies.make_room(revised_tallies::BYTES_MAX) {
                self.parted.add(left, UNMADE);
            }
            self.parted.make_room(RUNS_MAX);
        }
    }

    /// Brings the facts of the recorded versions up to date, of which `unrecorded` have no
    /// record in the journal yet: `successor` is the first of the other history.
    pub(super) fn bring(
        mut self,
        unrecorded: &[Version],
        successor: u64,
        tainted: &mut TaintedVersions,
        revised_tallies: &mut RevisedTallies,
    ) {
        unrecorded.iter().for_each(|version| self.judge(version));
        let Some(first) = self.first else {
            return;
        };
        tainted.take(&self.parted, successor);
        revised_tallies.replace_from(first, self.revised_tallies);
        if self.bounded {
            for left in revised_tallies.make_room(revised_tallies::BYTES_MAX) {
                tainted.add(left, successor);
            }
            tainted.make_room(RUNS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::learner::Learner;
    use super::*;
    use crate::event::{OrderRefusal, Time};
    use crate::model::Spec;
    use crate::model::weights::Tensors;

    const DESCRIPTION: &str = "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'\n";

    fn learner(revision: u32) -> Learner {
        let toml = format!("{DESCRIPTION}[rules]\nrevision = {revision}\n");
        Learner::new(Arc::new(Spec::parse(&toml).expect("a description")))
    }

    fn entry(position: u64, event: Event) -> Entry {
        Entry {
            position,
            time: Time(0),
            event,
        }
    }

    fn order(position: u64, order: Order) -> Entry {
        let (actor, note) = Default::default();
        entry(position, Event::Command(Command { order, actor, note }))
    }

    /// A version of this learner's state and counts, made at a position.
    fn version(version: u64, position: u64, other: &Learner) -> Version {
        Version {
            version,
            parent: version - 1,
            position,
            reason: Reason::Checkpoint,
            digest: other.learned().digest(),
            tallies: Some(other.counted()),
        }
    }

    fn found(comparison: Comparison, unrecorded: &[Version]) -> [Vec<u64>; 2] {
        let (mut tainted, mut revised_tallies) =
            (TaintedVersions::default(), RevisedTallies::default());
        comparison.bring(unrecorded, 99, &mut tainted, &mut revised_tallies);
        let revised_tallies = (1..99).filter(|version| revised_tallies.get(*version).is_some());
        [tainted.by(99), revised_tallies.collect()]
    }

    #[test]
    fn versions_are_judged_as_their_records_come() {
        let other = learner(2);
        let mut comparison = Comparison::default();
        comparison.observe(&order(3, Order::Checkpoint), &other);
        comparison.observe(&entry(4, Event::Version(version(2, 3, &other))), &other);
        comparison.begin(5);
        for position in [6, 8, 10, 12] {
            comparison.observe(&order(position, Order::Checkpoint), &other);
        }
        let strange = Version {
            digest: [7; 32].into(),
            ..version(3, 6, &other)
        };
        let counts = Version {
            tallies: Some([7; 32].into()),
            ..version(4, 8, &other)
        };
        let silent = Version {
            tallies: None,
            ..version(5, 10, &other)
        };
        let due = Version {
            reason: Reason::Cadence,
            ..version(6, 11, &other)
        };
        for record in [strange, counts, silent, due] {
            comparison.observe(&entry(20, Event::Version(record)), &other);
        }
        let last = version(7, 12, &other);
        let moved = version(8, 13, &other);
        assert_eq!(
            found(comparison, &[last, moved]),
            [vec![3, 6, 8], vec![4, 5]]
        );
    }

    #[test]
    fn nothing_is_kept_of_orders_that_make_no_version() {
        let other = learner(2);
        let mut comparison = Comparison::default();
        comparison.begin(1);
        let erase = Order::Erase(crate::event::Selector::Source("web".to_owned()));
        comparison.observe(&order(2, erase), &other);
        comparison.observe(&order(3, Order::Restore { version: 1 }), &other);
        assert_eq!(comparison.moments.len(), 1);
        let refusal = Event::Refusal(OrderRefusal { position: 3 });
        comparison.observe(&entry(4, refusal), &other);
        assert!(comparison.moments.is_empty());
        // Those that an older program refused have no record of that.
        comparison.observe(&order(5, Order::EarlierRestore { version: 1 }), &other);
        comparison.observe(&order(6, Order::Checkpoint), &other);
        comparison.observe(&entry(7, Event::Version(version(2, 6, &other))), &other);
        assert!(comparison.moments.is_empty());
    }

    #[test]
    fn what_is_counted_otherwise_is_bounded_and_then_no_longer_restored() {
        let kept_exactly = |revision| {
            let other = learner(revision);
            let mut comparison = Comparison::default();
            comparison.begin(1);
            for n in 1..400 {
                comparison.observe(&order(2 * n, Order::Checkpoint), &other);
                let record = Version {
                    tallies: None,
                    // None beside another: runs that count the same are one.
                    ..version(2 * n, 2 * n, &other)
                };
                let record = Event::Version(record);
                comparison.observe(&entry(2 * n + 1, record), &other);
            }
            let (mut tainted, mut revised_tallies) =
                (TaintedVersions::default(), RevisedTallies::default());
            comparison.bring(&[], 999, &mut tainted, &mut revised_tallies);
            let mut tensors = Tensors::default();
            revised_tallies.save(&mut tensors);
            // A name, a type, a shape and a place for each in a file.
            let tensors = tensors.0.values();
            let n_bytes = tensors
                .map(|tensor| tensor.data.n_bytes() + 100)
                .sum::<usize>();
            let kept = (1..800).filter(|version| revised_tallies.get(*version).is_some());
            (tainted.by(999).len(), kept.count(), n_bytes)
        };
        let (n_tainted, n_kept, n_bytes) = kept_exactly(2);
        assert_eq!(n_tainted + n_kept, 399);
        assert!(n_kept > 100, "{n_kept}");
        assert!(n_bytes <= revised_tallies::BYTES_MAX, "{n_bytes}");
        let (n_tainted, n_kept, _) = kept_exactly(1);
        assert_eq!((n_tainted, n_kept), (0, 399));
    }
}
