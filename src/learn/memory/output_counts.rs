//! Counts of the examples that each output has learned, and of those since another one.
//!
//! An action learns from the examples that show it alone: anything that fades with each example of
//! it fades by their number, not by that of all.
//!
//! Invariant: bounded; counts that reach further back than [`NEWEST`] examples are taken as a
//! proportion.

use std::collections::VecDeque;

use crate::model::Target;
use crate::model::weights::{Error, Tensors};

/// The newest examples of which each is known.
const NEWEST: usize = 4096;
/// Stands for an example that determines every output.
const EVERY: u32 = u32::MAX;

/// Examples by the output that they determine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutputCounts {
    /// `[n_outputs]`.
    counts: Vec<u64>,
    /// The output that each of the newest examples shows, the newest last.
    newest: VecDeque<u32>,
}

impl OutputCounts {
    /// The counts of no example.
    pub(crate) fn new(n_outputs: usize) -> OutputCounts {
        OutputCounts {
            counts: vec![0; n_outputs],
            newest: VecDeque::new(),
        }
    }

    /// The counts of a learner that had learned `n_examples` before they were counted.
    pub(crate) fn begun(n_outputs: usize, n_examples: u64) -> OutputCounts {
        OutputCounts {
            counts: vec![n_examples; n_outputs],
            newest: VecDeque::new(),
        }
    }

    /// Counts an example.
    pub(crate) fn observe(&mut self, target: Target) {
        let output = match target {
            Target::Reward { action, .. } => action,
            _ => EVERY,
        };
        match self.counts.get_mut(output as usize) {
            Some(count) => *count += 1,
            None => self.counts.iter_mut().for_each(|count| *count += 1),
        }
        if self.newest.len() == NEWEST {
            self.newest.pop_front();
        }
        self.newest.push_back(output);
    }

    /// The `n_examples` newest were not learned after all.
    pub(crate) fn forget(&mut self, n_examples: u64) {
        for _ in 0..n_examples.min(self.newest.len() as u64) {
            let output = self.newest.pop_back().unwrap_or(EVERY);
            match self.counts.get_mut(output as usize) {
                Some(count) => *count -= 1,
                None => self.counts.iter_mut().for_each(|count| *count -= 1),
            }
        }
    }

    /// Examples of each output, `[n_outputs]`.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The number of the `n_since` newest examples that were of this target's output.
    pub(crate) fn since(&self, target: Target, n_since: u64) -> u64 {
        let Target::Reward { action, .. } = target else {
            return n_since;
        };
        let seen = n_since.min(self.newest.len() as u64);
        let newest = self.newest.iter().rev().take(seen as usize);
        let n_seen = newest.filter(|one| [action, EVERY].contains(one)).count() as u64;
        match n_since > seen {
            true if seen > 0 => (n_since as f64 * n_seen as f64 / seen as f64) as u64,
            true => n_since,
            false => n_seen,
        }
    }

    /// U64 `output_counts` `[n_outputs]` and U32 `output_counts.newest`.
    pub(crate) fn save(&self, tensors: &mut Tensors) {
        let n_outputs = self.counts.len();
        tensors.put_u64("output_counts", &[n_outputs], self.counts.clone());
        let newest: Vec<u32> = self.newest.iter().copied().collect();
        tensors.put_u32("output_counts.newest", &[newest.len()], newest);
    }

    /// Reads the state that [`OutputCounts::save`] wrote.
    pub(crate) fn load(n_outputs: usize, tensors: &mut Tensors) -> Result<OutputCounts, Error> {
        let counts = tensors.take_u64("output_counts", &[Some(n_outputs)])?;
        let newest = tensors.take_u32("output_counts.newest", &[None])?;
        let known = |one: &u32| *one == EVERY || (*one as usize) < n_outputs;
        if newest.len() > NEWEST || !newest.iter().all(known) {
            let what = format!("{} examples, at most {NEWEST}", newest.len());
            return Err(Error::value("output_counts.newest", what));
        }
        Ok(OutputCounts {
            counts,
            newest: newest.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reward(action: u32) -> Target {
        Target::Reward {
            action,
            reward: 0.0,
        }
    }

    #[test]
    fn examples_are_counted_by_the_output_that_they_tell_of() {
        let mut counts = OutputCounts::new(3);
        for action in [0, 1, 1, 0, 1] {
            counts.observe(reward(action));
        }
        counts.observe(Target::BestAction(2));
        assert_eq!(counts.counts(), [3, 4, 1]);
        let check = |action, n_since, expected| {
            assert_eq!(counts.since(reward(action), n_since), expected);
        };
        check(1, 0, 0);
        check(1, 3, 2);
        check(0, 6, 3);
        check(2, 6, 1);
        // Half of the known examples were of it, so half of the others.
        check(0, 60, 30);
        assert_eq!(counts.since(Target::Class(1), 5), 5);
        counts.forget(2);
        assert_eq!(counts.counts(), [2, 2, 0]);
    }

    #[test]
    fn what_is_saved_is_loaded_and_what_cannot_be_is_refused() {
        let mut counts = OutputCounts::new(2);
        (0..5000).for_each(|index| counts.observe(reward(index % 2)));
        assert_eq!(counts.newest.len(), NEWEST);
        let mut saved = Tensors::default();
        counts.save(&mut saved);
        assert_eq!(OutputCounts::load(2, &mut saved.clone()), Ok(counts));
        assert!(OutputCounts::load(3, &mut saved.clone()).is_err());
        saved.put_u32("output_counts.newest", &[1], vec![2]);
        assert!(OutputCounts::load(2, &mut saved).is_err());
    }
}
