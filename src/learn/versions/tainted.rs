//! Versions that hold feedback which was taken back.
//!
//! Invariant: they are kept as runs of consecutive numbers, so that a retraction adds about one,
//! however many versions it concerns. Where the runs have a bound, the oldest versions leave
//! together: none up to there can be restored any more, whatever is on disk. Version 1 holds no
//! feedback and always can.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::model::weights::{Error, Tensors};

/// The part of the sentence about a tainted version that names its fault.
pub const HOLDS_RETRACTED: &str = "holds feedback that was retracted";

/// Runs that are kept apart, under the second revision of the learning rules.
pub(crate) const RUNS_MAX: usize = 8192;

/// The versions that are not restored, each with the first version made without its retracted feedback.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaintedVersions {
    /// The runs, by their first version. Two that meet have different successors.
    runs: BTreeMap<u64, TaintedRun>,
    /// The last version of which nothing is known any more; 0 before the first has left.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct TaintedRun {
    last: u64,
    successor: u64,
}

impl TaintedVersions {
    /// The first version without the retracted feedback of this one, if it holds any feedback that was taken
    /// back.
    pub(crate) fn successor(&self, version: u64) -> Option<u64> {
        let (_, run) = self.runs.range(..=version).next_back()?;
        (version <= run.last).then_some(run.successor)
    }

    /// True if it is no longer known which feedback a version holds.
    pub(crate) fn has_left(&self, version: u64) -> bool {
        version > 1 && version <= self.left
    }

    /// The reason why a version is not restored, if it is not.
    pub fn refusal(&self, version: u64) -> Option<String> {
        if self.has_left(version) {
            let next = self.left + 1;
            return Some(format!(
                "version {version} is no longer kept; version 1 and those from {next} on are"
            ));
        }
        let mut successor = self.successor(version)?;
        // A later version may hold feedback that was retracted later.
        while let Some(next) = self.successor(successor) {
            successor = next;
        }
        Some(format!(
            "version {version} {HOLDS_RETRACTED}; version {successor} is the first without it"
        ))
    }

    /// The versions of which this one is the first without their retracted feedback, rising.
    pub fn by(&self, successor: u64) -> Vec<u64> {
        let by = |(first, run): (&u64, &TaintedRun)| {
            (run.successor == successor).then_some(*first..=run.last)
        };
        self.runs.iter().filter_map(by).flatten().collect()
    }

    /// Adds those of these versions that are not tainted yet.
    pub(crate) fn add(&mut self, versions: RangeInclusive<u64>, successor: u64) {
        let (mut first, last) = (*versions.start(), *versions.end());
        while first <= last {
            let before = self.runs.range_mut(..=first).next_back();
            match before {
                Some((_, run)) if first <= run.last => {
                    first = run.last + 1;
                    continue;
                }
                _ => {}
            }
            let after = self.runs.range(first..).next().map(|(next, _)| next - 1);
            let end = after.map_or(last, |end| end.min(last));
            self.join(first, end, successor);
            first = end + 1;
        }
    }

    /// Adds all of these, which have the same successor; a version that has left there leaves here.
    pub(crate) fn take(&mut self, others: &TaintedVersions, successor: u64) {
        for (first, run) in &others.runs {
            self.add(*first..=run.last, successor);
        }
        if others.left > self.left {
            self.left = others.left;
            let kept = self
                .runs
                .range(self.left + 1..)
                .next()
                .map(|(first, _)| *first);
            let across = self.runs.range(..=self.left).next_back();
            let across = across.filter(|(_, run)| run.last > others.left);
            let across = across.map(|(_, run)| (others.left + 1, *run));
            self.runs = self.runs.split_off(&kept.unwrap_or(u64::MAX));
            self.runs.extend(across);
        }
    }

    /// Adds a run to those that it meets, of which it has none in common.
    fn join(&mut self, mut first: u64, mut last: u64, successor: u64) {
        let before = self.runs.range(..first).next_back();
        if let Some((start, run)) = before.map(|(start, run)| (*start, *run))
            && run.last + 1 == first
            && run.successor == successor
        {
            first = start;
        }
        if let Some(run) = self.runs.get(&(last + 1)).copied()
            && run.successor == successor
        {
            self.runs.remove(&(last + 1));
            last = run.last;
        }
        self.runs.insert(first, TaintedRun { last, successor });
    }

    /// Lets the oldest runs leave, up to the bound.
    pub(crate) fn make_room(&mut self, runs_max: usize) {
        while self.runs.len() > runs_max
            && let Some((_, run)) = self.runs.pop_first()
        {
            self.left = run.last;
        }
    }

    pub(crate) fn save(&self, tensors: &mut Tensors) {
        let runs = self.runs.iter();
        let rows = runs.flat_map(|(first, run)| [*first, run.last, run.successor]);
        tensors.put_u64("tainted.runs", &[self.runs.len(), 3], rows.collect());
        tensors.put_u64("tainted.left", &[1], vec![self.left]);
    }

    pub(crate) fn load(tensors: &mut Tensors) -> Result<TaintedVersions, Error> {
        let rows = tensors.take_u64("tainted.runs", &[None, Some(3)])?;
        let mut tainted = TaintedVersions {
            left: tensors.take_u64("tainted.left", &[Some(1)])?[0],
            ..TaintedVersions::default()
        };
        let mut last = tainted.left;
        for row in rows.chunks_exact(3) {
            if row[0] <= last || row[1] < row[0] || row[1] == u64::MAX {
                let what = format!("a run from {} to {} behind {last}", row[0], row[1]);
                return Err(Error::value("tainted.runs", what));
            }
            last = row[1];
            tainted.join(row[0], row[1], row[2]);
        }
        Ok(tainted)
    }

    /// Versions from pairs of a version and the first without its retracted feedback, as earlier programs
    /// saved them.
    pub(crate) fn of_pairs(pairs: &[u64]) -> TaintedVersions {
        let mut tainted = TaintedVersions::default();
        for pair in pairs.chunks_exact(2).filter(|pair| pair[0] < u64::MAX) {
            tainted.add(pair[0]..=pair[0], pair[1]);
        }
        tainted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(tainted: &TaintedVersions) -> Vec<[u64; 3]> {
        let runs = tainted.runs.iter();
        runs.map(|(first, run)| [*first, run.last, run.successor])
            .collect()
    }

    #[test]
    fn the_first_successor_stays_and_runs_that_meet_are_one() {
        let mut tainted = TaintedVersions::default();
        tainted.add(3..=5, 9);
        tainted.add(6..=6, 9);
        assert_eq!(rows(&tainted), [[3, 6, 9]]);
        tainted.add(2..=11, 12);
        assert_eq!(rows(&tainted), [[2, 2, 12], [3, 6, 9], [7, 11, 12]]);
        tainted.add(13..=13, 14);
        tainted.add(1..=14, 15);
        let expected = [
            [1, 1, 15],
            [2, 2, 12],
            [3, 6, 9],
            [7, 11, 12],
            [12, 12, 15],
            [13, 13, 14],
            [14, 14, 15],
        ];
        assert_eq!(rows(&tainted), expected);
        let successors = [1, 4, 6, 7, 15].map(|version| tainted.successor(version));
        assert_eq!(successors, [Some(15), Some(9), Some(9), Some(12), None]);
        assert_eq!(tainted.by(12), [2, 7, 8, 9, 10, 11]);
        let mut tensors = Tensors::default();
        tainted.save(&mut tensors);
        assert_eq!(TaintedVersions::load(&mut tensors), Ok(tainted));
    }

    #[test]
    fn what_earlier_programs_saved_is_the_same_in_runs() {
        let mut tainted = TaintedVersions::default();
        tainted.add(3..=5, 9);
        tainted.add(7..=8, 9);
        let pairs = [3, 9, 4, 9, 5, 9, 7, 9, 8, 9];
        assert_eq!(TaintedVersions::of_pairs(&pairs), tainted);
    }

    #[test]
    fn the_oldest_leave_together_and_are_refused() {
        let mut tainted = TaintedVersions::default();
        for version in (2..20).step_by(2) {
            tainted.add(version..=version, version + 1);
        }
        tainted.make_room(9);
        assert!(!tainted.has_left(2));
        assert_eq!(
            tainted.refusal(3),
            None,
            "nothing that it holds was taken back"
        );
        tainted.make_room(4);
        let gone = "version 9 is no longer kept; version 1 and those from 11 on are";
        assert_eq!(tainted.refusal(9).as_deref(), Some(gone));
        let held = "version 12 holds feedback that was retracted; \
                    version 13 is the first without it";
        assert_eq!(tainted.refusal(12).as_deref(), Some(held));
        assert_eq!(
            [1, 11].map(|version| tainted.refusal(version)),
            [None, None]
        );
        let mut tensors = Tensors::default();
        tainted.save(&mut tensors);
        assert_eq!(TaintedVersions::load(&mut tensors), Ok(tainted));
    }

    #[test]
    fn runs_that_cannot_be_are_refused() {
        let check = |rows: &[[u64; 3]], sound: bool| {
            let mut tensors = Tensors::default();
            let numbers = rows.as_flattened().to_vec();
            tensors.put_u64("tainted.runs", &[rows.len(), 3], numbers);
            tensors.put_u64("tainted.left", &[1], vec![1]);
            assert_eq!(
                TaintedVersions::load(&mut tensors).is_ok(),
                sound,
                "{rows:?}"
            );
        };
        check(&[[3, 5, 9], [6, 6, 10]], true);
        check(&[[3, 5, 9], [5, 6, 10]], false);
        check(&[[3, 2, 9]], false);
        check(&[[1, 2, 9]], false);
        check(&[[4, u64::MAX, 9]], false);
    }
}
