//! The scores of judged answers of any task, with their names.
//!
//! Invariant: the names of figures are a contract: `evaluate`, `stream`, `status` and `/metrics` print
//! them. A figure that is not known is not there.

use std::collections::BTreeMap;

use super::classes::{ClassCount, ClassCounts};
use super::probabilities::{ProbabilitySums, ScoredProbabilities};
use super::ranks::Ranks;
use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// Pairs of a label and an answer that are counted apart; further ones are not.
const PAIRS_MAX: usize = 1024;
/// Larger errors and rewards are taken for this one: their squares must stay finite.
const HUGE: f64 = 1e100;
/// Deviations to either side of a mean that hold it with a probability of 0.95, where its values are
/// independent and many.
const DEVIATIONS: f64 = 1.96;

/// Sums of numbers and of their squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct NumberSums {
    n: f64,
    /// The sum of squared weights, which gives the size of a sample that fades.
    squared_n: f64,
    sum: f64,
    squares: f64,
}

impl NumberSums {
    fn add(&mut self, value: f64, weight: f64) {
        let value = value.clamp(-HUGE, HUGE);
        self.n += weight;
        self.squared_n += weight * weight.abs();
        self.sum += weight * value;
        self.squares += weight * value * value;
    }

    fn scale(&mut self, by: f64) {
        self.n *= by;
        self.squared_n *= by * by;
        self.sum *= by;
        self.squares *= by;
    }

    fn merge(&mut self, other: &NumberSums) {
        self.n += other.n;
        self.squared_n += other.squared_n;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    fn mean(&self) -> Option<f64> {
        (self.n > 0.0).then(|| self.sum / self.n)
    }

    fn root_mean_square(&self) -> Option<f64> {
        (self.n > 0.0).then(|| (self.squares / self.n).max(0.0).sqrt())
    }

    /// The ends of the interval around the mean; none of less than two values.
    fn interval(&self) -> Option<[f64; 2]> {
        let mean = self.mean()?;
        let n = self.n * self.n / self.squared_n;
        let variance = (self.squares / self.n - mean * mean).max(0.0) * n / (n - 1.0);
        let reach = DEVIATIONS * (variance / n).sqrt();
        (n >= 2.0).then_some([mean - reach, mean + reach])
    }

    fn save(&self, out: &mut Writer) {
        out.numbers(&[self.n, self.squared_n, self.sum, self.squares]);
    }

    fn load(saved: &mut SavedReader) -> Result<NumberSums, Error> {
        let numbers = saved.many_numbers(4)?;
        Ok(NumberSums {
            n: numbers[0],
            squared_n: numbers[1],
            sum: numbers[2],
            squares: numbers[3],
        })
    }
}

/// The sums of judged answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    classes: ClassCounts,
    probabilities: ProbabilitySums,
    errors: NumberSums,
    rewards: NumberSums,
}

impl Scores {
    /// Adds an answer of this weight, by the places of the true and the answered class; a negative
    /// weight takes it back.
    pub fn add_class(&mut self, truth: u32, answer: u32, weight: f64) {
        self.classes.add(truth, answer, weight);
    }

    /// Adds the probabilities of an answer.
    pub fn add_probabilities(&mut self, answer: &ScoredProbabilities, weight: f64) {
        self.probabilities.add(answer, weight);
    }

    /// Adds the absolute error of a value.
    pub fn add_error(&mut self, error: f64, weight: f64) {
        self.errors.add(error, weight);
    }

    /// Adds the reward of an action.
    pub fn add_reward(&mut self, reward: f64, weight: f64) {
        self.rewards.add(reward, weight);
    }

    /// A reward that was added turned out to be another.
    pub(super) fn amend_reward(&mut self, [before, now]: [f64; 2], weight: f64) {
        self.rewards.add(before, -weight);
        self.rewards.add(now, weight);
    }

    /// The counts of classes or actions, by their places; those never seen may be missing.
    pub fn classes(&self) -> &[ClassCount] {
        &self.classes.0
    }

    /// The number of scored answers; of a span that fades, their weight.
    pub fn n_answers(&self) -> f64 {
        let of_classes = self.classes.0.iter().map(|class| class.count).sum::<f64>();
        of_classes.max(self.errors.n).max(self.rewards.n)
    }

    pub(super) fn scale(&mut self, by: f64) {
        self.classes.scale(by);
        self.probabilities.scale(by);
        self.errors.scale(by);
        self.rewards.scale(by);
    }

    pub(super) fn merge(&mut self, other: &Scores) {
        self.classes.merge(&other.classes);
        self.probabilities.merge(&other.probabilities);
        self.errors.merge(&other.errors);
        self.rewards.merge(&other.rewards);
    }

    /// Every score that is known, by its name. Where there are rewards, classes are actions.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let interval = self.rewards.interval();
        let rewarded = [
            ("mean_reward", self.rewards.mean()),
            ("mean_reward_low", interval.map(|ends| ends[0])),
            ("mean_reward_high", interval.map(|ends| ends[1])),
        ];
        let labelled = [
            ("progressive_accuracy", self.classes.accuracy()),
            ("commonest_class_accuracy", self.classes.commonest()),
            ("balanced_accuracy", self.classes.balanced()),
            ("kappa", self.classes.kappa()),
            ("log_loss", self.probabilities.log_loss()),
            ("brier_score", self.probabilities.brier()),
            ("calibration_error", self.probabilities.calibration_error()),
            ("mean_confidence", self.probabilities.confidence()),
        ];
        let valued = [
            ("mean_absolute_error", self.errors.mean()),
            ("root_mean_squared_error", self.errors.root_mean_square()),
        ];
        let known = |(name, score): (&'static str, Option<f64>)| Some((name, score?));
        if self.rewards.n > 0.0 {
            return rewarded.into_iter().filter_map(known).collect();
        }
        labelled
            .into_iter()
            .chain(valued)
            .filter_map(known)
            .collect()
    }

    pub(super) fn save(&self, out: &mut Writer) {
        self.classes.save(out);
        self.probabilities.save(out);
        self.errors.save(out);
        self.rewards.save(out);
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<Scores, Error> {
        Ok(Scores {
            classes: ClassCounts::load(saved)?,
            probabilities: ProbabilitySums::load(saved)?,
            errors: NumberSums::load(saved)?,
            rewards: NumberSums::load(saved)?,
        })
    }
}

/// Scores with the area of two classes and the pairs of label and answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetailedScores {
    /// The sums.
    pub scores: Scores,
    ranks: Ranks,
    pairs: BTreeMap<[u32; 2], f64>,
}

impl DetailedScores {
    /// Adds an answer, as [`Scores::add_class`].
    pub fn add_class(&mut self, truth: u32, answer: u32, weight: f64) {
        self.scores.add_class(truth, answer, weight);
        let pair = [truth, answer];
        if self.pairs.len() < PAIRS_MAX || self.pairs.contains_key(&pair) {
            let sum = self.pairs.entry(pair).or_default();
            *sum += weight;
        }
    }

    /// Adds probabilities, as [`Scores::add_probabilities`].
    pub fn add_probabilities(&mut self, answer: &ScoredProbabilities, weight: f64) {
        self.scores.add_probabilities(answer, weight);
        self.ranks.add(answer, weight);
    }

    /// The pairs of a true and an answered class that came, and how often.
    pub fn pairs(&self) -> impl Iterator<Item = ([u32; 2], f64)> {
        let pairs = self.pairs.iter().map(|(pair, n)| (*pair, *n));
        pairs.filter(|(_, n)| *n > 0.0)
    }

    pub(super) fn scale(&mut self, by: f64) {
        self.scores.scale(by);
        self.ranks.scale(by);
        self.pairs.values_mut().for_each(|sum| *sum *= by);
    }

    pub(super) fn merge(&mut self, other: &DetailedScores) {
        self.scores.merge(&other.scores);
        self.ranks.merge(&other.ranks);
        for (pair, sum) in &other.pairs {
            *self.pairs.entry(*pair).or_default() += sum;
        }
    }

    /// The figures, as [`Scores::figures`], and the area.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let mut figures = self.scores.figures();
        figures.extend(self.ranks.area().map(|area| ("auc", area)));
        figures
    }

    pub(super) fn save(&self, out: &mut Writer) {
        self.scores.save(out);
        self.ranks.save(out);
        out.counts([self.pairs.len() as u64]);
        for (pair, sum) in &self.pairs {
            out.counts(pair.map(u64::from));
            out.numbers(&[*sum]);
        }
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<DetailedScores, Error> {
        let (scores, ranks) = (Scores::load(saved)?, Ranks::load(saved)?);
        let [n_pairs] = saved.counts()?;
        let mut pairs = BTreeMap::new();
        for _ in 0..n_pairs.min(PAIRS_MAX as u64) {
            let pair: [u64; 2] = saved.counts()?;
            pairs.insert(pair.map(|place| place as u32), saved.many_numbers(1)?[0]);
        }
        Ok(DetailedScores {
            scores,
            ranks,
            pairs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(scores: &Scores, name: &str) -> f64 {
        let figures = scores.figures();
        let found = figures.iter().find(|(found, _)| *found == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {figures:?}"))
            .1
    }

    #[test]
    fn errors_have_a_mean_and_a_root_mean_square() {
        let mut scores = Scores::default();
        [3.0, 4.0]
            .iter()
            .for_each(|error| scores.add_error(*error, 1.0));
        assert_eq!(figure(&scores, "mean_absolute_error"), 3.5);
        assert_eq!(figure(&scores, "root_mean_squared_error"), 12.5f64.sqrt());
        assert_eq!(scores.n_answers(), 2.0);
    }

    #[test]
    fn the_interval_of_a_mean_reward_is_that_of_a_sample() {
        let mut scores = Scores::default();
        [1.0, 0.0, 0.0, 1.0, 1.0]
            .iter()
            .for_each(|one| scores.add_reward(*one, 1.0));
        // The variance of the sample is 0.3, and that of its mean 0.06.
        let reach = 1.96 * 0.06f64.sqrt();
        assert!((figure(&scores, "mean_reward_low") - (0.6 - reach)).abs() < 1e-12);
        assert!((figure(&scores, "mean_reward_high") - (0.6 + reach)).abs() < 1e-12);
        scores.amend_reward([0.0, 1.0], 1.0);
        assert_eq!(figure(&scores, "mean_reward"), 0.8);
        let mut one = Scores::default();
        one.add_reward(1.0, 1.0);
        assert_eq!(one.figures(), [("mean_reward", 1.0)]);
    }

    #[test]
    fn pairs_are_bounded_and_the_classes_are_counted_on() {
        let mut scores = DetailedScores::default();
        for truth in 0..100 {
            (0..100).for_each(|answer| scores.add_class(truth, answer, 1.0));
        }
        assert_eq!(scores.pairs().count(), PAIRS_MAX);
        assert_eq!(scores.scores.n_answers(), 10_000.0);
        assert_eq!(scores.figures()[0], ("progressive_accuracy", 0.01));
    }

    #[test]
    fn saved_scores_are_loaded_as_they_were() {
        let mut scores = DetailedScores::default();
        let p = ScoredProbabilities::of(1, &[0.25, 0.75]);
        scores.add_class(1, 0, 0.5);
        scores.add_probabilities(&p, 0.5);
        scores.scores.add_error(2.0, 0.25);
        let mut out = Writer::default();
        scores.save(&mut out);
        let mut saved = SavedReader::of(out);
        assert_eq!(DetailedScores::load(&mut saved), Ok(scores));
        assert_eq!(saved.end(), Ok(()));
    }
}
