//! Revised tallies: those of versions whose learned state a retraction left the same.
//!
//! Invariant: only versions are here whose checkpoints hold other tallies. Where their bytes have a
//! bound, the oldest leave, and can no longer be restored: their tallies are not known any more.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::tallies::Tallies;
use crate::model::weights::{Error, Tensors};

/// The bytes that they may take in a state, under the second revision of the learning rules.
pub(crate) const BYTES_MAX: usize = 128 << 10;

/// Tallies of versions, as runs of consecutive numbers that count the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RevisedTallies {
    /// The runs, by the first version of each.
    runs: BTreeMap<u64, TallyRun>,
    /// The bytes of all runs.
    n_bytes: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct TallyRun {
    last: u64,
    tallies: Tallies,
    /// The bytes of the tallies in a state, about.
    n_bytes: usize,
}

impl RevisedTallies {
    /// The counts of a version by now, if its checkpoint has others.
    pub fn get(&self, version: u64) -> Option<&Tallies> {
        let (_, run) = self.runs.range(..=version).next_back()?;
        (version <= run.last).then_some(&run.tallies)
    }

    /// Adds a version behind all others.
    pub(crate) fn push(&mut self, version: u64, tallies: Tallies) {
        self.join(version, version, tallies);
    }

    /// Takes over these instead of all from their first version on.
    pub(crate) fn replace_from(&mut self, first: u64, others: RevisedTallies) {
        let gone = self.runs.split_off(&first);
        self.n_bytes -= gone.values().map(|run| run.n_bytes).sum::<usize>();
        if let Some((_, run)) = self.runs.iter_mut().next_back() {
            run.last = run.last.min(first - 1);
        }
        for (first, run) in others.runs {
            self.join(first, run.last, run.tallies);
        }
    }

    /// Adds a run behind all others.
    fn join(&mut self, first: u64, last: u64, tallies: Tallies) {
        match self.runs.iter_mut().next_back() {
            Some((_, run)) if run.last + 1 == first && run.tallies == tallies => run.last = last,
            _ => {
                let n_bytes = tallies.n_bytes();
                self.n_bytes += n_bytes;
                let run = TallyRun {
                    last,
                    tallies,
                    n_bytes,
                };
                self.runs.insert(first, run);
            }
        }
    }

    /// Lets the oldest leave, up to the bound, and gives which those are.
    pub(crate) fn make_room(&mut self, bytes_max: usize) -> Vec<RangeInclusive<u64>> {
        let mut left = Vec::new();
        while self.n_bytes > bytes_max
            && let Some((first, run)) = self.runs.pop_first()
        {
            self.n_bytes -= run.n_bytes;
            left.push(first..=run.last);
        }
        left
    }

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        for (first, run) in &self.runs {
            let mut counted = run.tallies.tensors();
            // An older program that counted no sources wrote no position for them.
            let numbers = vec![run.last, run.tallies.sources.since()];
            counted.put_u64("run", &[2], numbers);
            tensors.nest(&format!("retold.{first}"), counted);
        }
    }

    /// The saved tallies. Earlier programs saved every version by itself, which stands at `position`.
    pub(crate) fn load(
        tensors: &mut Tensors,
        position: impl Fn(u64) -> u64,
    ) -> Result<RevisedTallies, Error> {
        let mut all = tensors.unnest("retold");
        let number = |name: &String| name.split_once('.')?.0.parse::<u64>().ok();
        let mut firsts: Vec<u64> = all.0.keys().filter_map(number).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let mut revised_tallies = RevisedTallies::default();
        for first in firsts {
            let mut counted = all.unnest(&first.to_string());
            let (last, position) = if counted.0.contains_key("run") {
                let numbers = counted.take_u64("run", &[Some(2)])?;
                (numbers[0], numbers[1].saturating_sub(1))
            } else {
                (first, position(first))
            };
            let before = revised_tallies.runs.last_key_value();
            if last < first || before.is_some_and(|(_, run)| first <= run.last) {
                let what = format!("a run from {first} to {last}");
                return Err(Error::value("retold", what));
            }
            revised_tallies.join(first, last, Tallies::load(&mut counted, position)?);
        }
        Ok(revised_tallies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::records::ledger::{Fate, Ledger};

    fn tallies(n_applied: usize) -> Tallies {
        let mut ledger = Ledger::default();
        (0..n_applied).for_each(|_| ledger.add(Fate::Applied));
        Tallies {
            ledger,
            ..Tallies::default()
        }
    }

    fn counted(revised_tallies: &RevisedTallies, version: u64) -> Option<u64> {
        let tallies = revised_tallies.get(version)?;
        Some(tallies.ledger.count(Fate::Applied))
    }

    #[test]
    fn versions_that_count_the_same_are_one_run() {
        let mut revised_tallies = RevisedTallies::default();
        for (version, n_applied) in [(3, 1), (4, 1), (5, 2), (7, 2)] {
            revised_tallies.push(version, tallies(n_applied));
        }
        assert_eq!(revised_tallies.runs.len(), 3);
        let all = [2, 3, 4, 5, 6, 7, 8].map(|version| counted(&revised_tallies, version));
        assert_eq!(all, [None, Some(1), Some(1), Some(2), None, Some(2), None]);
        let mut tensors = Tensors::default();
        revised_tallies.save(&mut tensors);
        assert_eq!(
            RevisedTallies::load(&mut tensors, |_| 0),
            Ok(revised_tallies.clone())
        );
        let mut others = RevisedTallies::default();
        others.push(6, tallies(9));
        revised_tallies.replace_from(4, others);
        let all = [3, 4, 5, 6, 7].map(|version| counted(&revised_tallies, version));
        assert_eq!(all, [Some(1), None, None, Some(9), None]);
    }

    #[test]
    fn the_oldest_leave_where_there_is_no_room() {
        let mut revised_tallies = RevisedTallies::default();
        (1..=9).for_each(|version| revised_tallies.push(2 * version, tallies(version as usize)));
        let one = tallies(1).n_bytes();
        assert_eq!(revised_tallies.make_room(9 * one), []);
        assert_eq!(revised_tallies.make_room(7 * one), [2..=2, 4..=4]);
        assert_eq!(
            (counted(&revised_tallies, 4), counted(&revised_tallies, 6)),
            (None, Some(3))
        );
        assert_eq!(revised_tallies.make_room(0).len(), 7);
        assert_eq!(revised_tallies, RevisedTallies::default());
    }
}
