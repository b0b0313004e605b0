//! The confusion counts of classes: accuracy, precision, recall, false positives, kappa.
//!
//! Invariant: counts are sums of weights, each 1 where nothing fades; a share of nothing is none.

use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// The confusion counts of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassCount {
    /// Examples of the class.
    pub count: f64,
    /// Examples that were answered with the class.
    pub answered: f64,
    /// Examples of the class that were answered with it.
    pub right: f64,
}

impl ClassCount {
    /// The share of its answers that were right; none where it was never answered.
    pub fn precision(&self) -> Option<f64> {
        share(self.right, self.answered)
    }

    /// The share of its examples that were answered with it; none without examples.
    pub fn recall(&self) -> Option<f64> {
        share(self.right, self.count)
    }

    /// The harmonic mean of precision and recall; 0 where no answer was right.
    pub fn f1(&self) -> Option<f64> {
        share(2.0 * self.right, self.count + self.answered)
    }

    /// Examples of other classes that were answered with it.
    pub(crate) fn false_positives(&self) -> f64 {
        (self.answered - self.right).max(0.0)
    }
}

/// A part of a whole, in [0, 1]; none of nothing.
pub(super) fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0))
}

/// The counts of every class, by its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClassCounts(pub Vec<ClassCount>);

impl ClassCounts {
    /// Adds an answer of this weight; a negative one takes it back.
    pub(super) fn add(&mut self, truth: u32, answer: u32, weight: f64) {
        self.class(truth).count += weight;
        self.class(answer).answered += weight;
        if truth == answer {
            self.class(truth).right += weight;
        }
    }

    fn class(&mut self, place: u32) -> &mut ClassCount {
        let place = place as usize;
        if self.0.len() <= place {
            self.0.resize(place + 1, ClassCount::default());
        }
        &mut self.0[place]
    }

    pub(super) fn scale(&mut self, by: f64) {
        for class in &mut self.0 {
            class.count *= by;
            class.answered *= by;
            class.right *= by;
        }
    }

    pub(super) fn merge(&mut self, other: &ClassCounts) {
        for (place, class) in other.0.iter().enumerate() {
            let sum = self.class(place as u32);
            sum.count += class.count;
            sum.answered += class.answered;
            sum.right += class.right;
        }
    }

    fn total(&self, of: impl Fn(&ClassCount) -> f64) -> f64 {
        self.0.iter().map(of).sum()
    }

    /// The share of right answers.
    pub(super) fn accuracy(&self) -> Option<f64> {
        share(self.total(|one| one.right), self.total(|one| one.count))
    }

    /// The mean recall of the classes that have come.
    pub(super) fn balanced(&self) -> Option<f64> {
        let recalls = self.0.iter().filter_map(ClassCount::recall);
        let (n, sum) = recalls.fold((0.0, 0.0), |(n, sum), recall| (n + 1.0, sum + recall));
        share(sum, n)
    }

    /// Cohen's kappa (1960): the accuracy beyond that of answers drawn by their own frequencies.
    pub(super) fn kappa(&self) -> Option<f64> {
        let n = self.total(|one| one.count);
        let chance = self.total(|one| one.count * one.answered) / (n * n);
        let accuracy = self.accuracy()?;
        (chance < 1.0).then(|| (accuracy - chance) / (1.0 - chance))
    }

    /// The score of always answering the commonest class, in hindsight.
    pub(super) fn commonest(&self) -> Option<f64> {
        let most = self.0.iter().map(|one| one.count).fold(0.0, f64::max);
        share(most, self.total(|one| one.count))
    }

    pub(super) fn save(&self, out: &mut Writer) {
        out.counts([self.0.len() as u64]);
        for class in &self.0 {
            out.numbers(&[class.count, class.answered, class.right]);
        }
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<ClassCounts, Error> {
        let [n] = saved.counts()?;
        let n = usize::try_from(n)
            .ok()
            .filter(|n| *n <= super::names::CLASSES_MAX + 1);
        let numbers = saved.many_numbers(3 * n.ok_or_else(SavedReader::wrong)?)?;
        let class = |class: &[f64]| ClassCount {
            count: class[0],
            answered: class[1],
            right: class[2],
        };
        Ok(ClassCounts(numbers.chunks_exact(3).map(class).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(u32, u32)]) -> ClassCounts {
        let mut counts = ClassCounts::default();
        pairs
            .iter()
            .for_each(|(truth, answer)| counts.add(*truth, *answer, 1.0));
        counts
    }

    #[test]
    fn shares_are_those_of_a_table_counted_by_hand() {
        // Of three of the first class one is missed, of two of the second one.
        let counts = counts(&[(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)]);
        let first = counts.0[0];
        assert_eq!(first.precision(), Some(2.0 / 3.0));
        assert_eq!(first.recall(), Some(2.0 / 3.0));
        assert_eq!(first.false_positives(), 1.0);
        assert_eq!(counts.0[1].f1(), Some(0.5));
        assert_eq!(counts.accuracy(), Some(0.6));
        assert_eq!(counts.balanced(), Some((2.0 / 3.0 + 0.5) / 2.0));
        assert_eq!(counts.commonest(), Some(0.6));
        // By chance 3/5 * 3/5 + 2/5 * 2/5 = 13/25 would be right.
        let kappa = (0.6 - 0.52) / (1.0 - 0.52);
        assert!((counts.kappa().expect("there are two classes") - kappa).abs() < 1e-12);
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let mut taken = counts(&[(0, 0), (1, 0)]);
        taken.add(1, 0, -1.0);
        taken.add(2, 0, 1.0);
        let mut other = counts(&[(0, 0)]);
        other.merge(&counts(&[(2, 0)]));
        assert_eq!(taken, other);
        assert_eq!(ClassCounts::default().kappa(), None);
        assert_eq!(ClassCounts::default().accuracy(), None);
    }
}
