//! The scores of a prequential run (progressive validation): each example is scored by the answer
//! given before it was learned.
//!
//! Invariant: an example counts once, and memory grows with a tenth of the examples.

use std::collections::VecDeque;

use perennial::learn::{ClassCount, DetailedScores, ScoredProbabilities};
use perennial::model::Task;

use super::curve::Curve;
use super::value_scores::ValueScores;
use crate::cli::rows::target::RowTarget;

/// A longer stream is also scored over this many of its last examples.
pub(crate) const LAST_EXAMPLES: usize = 2000;
/// The rounds of a bandit whose regret is reported.
const REGRET_ROUNDS: u64 = 10_000;

/// The names of the scores of a task, in JSON.
#[derive(Debug, PartialEq)]
pub(crate) struct ScoreNames {
    pub score: &'static str,
    /// True if a smaller score is better.
    pub is_error: bool,
    pub last_tenth: &'static str,
    /// The name of the score of the last [`LAST_EXAMPLES`] examples.
    pub last: &'static str,
    /// A bandit has no labels to repeat.
    pub no_change: Option<&'static str>,
    pub test: &'static str,
}

impl ScoreNames {
    /// The names for a task.
    pub(crate) fn of(task: &Task) -> ScoreNames {
        match task {
            Task::Classification { .. } => ScoreNames {
                score: "progressive_accuracy",
                is_error: false,
                last_tenth: "last_tenth_accuracy",
                last: "last_2000_accuracy",
                no_change: Some("no_change_accuracy"),
                test: "test_accuracy",
            },
            Task::Regression => ScoreNames {
                score: "mean_absolute_error",
                is_error: true,
                last_tenth: "last_tenth_absolute_error",
                last: "last_2000_absolute_error",
                no_change: Some("no_change_absolute_error"),
                test: "test_absolute_error",
            },
            Task::Bandit { .. } => ScoreNames {
                score: "mean_reward",
                is_error: false,
                last_tenth: "last_tenth_reward",
                last: "last_2000_reward",
                no_change: None,
                test: "test_reward",
            },
        }
    }
}

/// The score of an answer: 1 or 0 for a name, the absolute error for a value.
pub(crate) fn score(truth: RowTarget, answer: RowTarget) -> f64 {
    match (truth, answer) {
        (RowTarget::Name(truth), RowTarget::Name(answer)) => f64::from(u8::from(truth == answer)),
        (RowTarget::Value(truth), RowTarget::Value(answer)) => (truth - answer).abs(),
        _ => unreachable!("a task has one kind of target"),
    }
}

/// A running mean.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunningMean {
    n: u64,
    sum: f64,
}

impl RunningMean {
    /// Adds one value.
    pub(crate) fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
    }

    /// The mean; none before the first value.
    pub(crate) fn get(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

/// The scores of the answers so far.
#[derive(Debug, Default)]
pub(crate) struct RunScores {
    n_examples: u64,
    mean: RunningMean,
    curve: Curve,
    no_change_curve: Curve,
    /// The scores that a model's monitors keep, too; classes and actions by their places.
    monitored: DetailedScores,
    values: ValueScores,
    retention_curve: Curve,
    n_retained: u64,
    /// Scores of the last tenth of the examples so far, rounded up; it only ever moves forward.
    last_tenth: VecDeque<f64>,
    /// Scores of the last [`LAST_EXAMPLES`].
    last: VecDeque<f64>,
    /// Of a bandit: the sum of 1 less each reward, and that sum after [`REGRET_ROUNDS`].
    regret: f64,
    reported_regret: Option<f64>,
    no_change: RunningMean,
    newest: Option<RowTarget>,
}

impl RunScores {
    /// Scores an answer, and gives its score. A value that was answered before any label is counted
    /// alone: nothing was known of its size, and there is none to repeat either.
    pub(crate) fn judge(&mut self, truth: RowTarget, answer: RowTarget) -> f64 {
        let score = self::score(truth, answer);
        self.n_examples += 1;
        if let (RowTarget::Value(truth), RowTarget::Value(answer)) = (truth, answer) {
            let answer = self.newest.map(|_| answer);
            self.values.judge(truth, answer);
            if answer.is_none() {
                return score;
            }
        }
        self.mean.add(score);
        self.curve.add(score);
        match (truth, answer) {
            (RowTarget::Name(truth), RowTarget::Name(answer)) => {
                self.monitored.add_class(truth, answer, 1.0);
            }
            _ => self.monitored.scores.add_error(score, 1.0),
        }
        self.last_tenth.push_back(score);
        if self.last_tenth.len() as u64 > self.mean.n.div_ceil(10) {
            self.last_tenth.pop_front();
        }
        self.last.push_back(score);
        if self.last.len() > LAST_EXAMPLES {
            self.last.pop_front();
        }
        // There is no label to repeat before the first was fed back.
        if let Some(newest) = self.newest {
            let score = self::score(truth, newest);
            self.no_change.add(score);
            self.no_change_curve.add(score);
        }
        score
    }

    /// Notes that the score of an answer was its reward.
    pub(crate) fn note_reward(&mut self, reward: f64) {
        self.monitored.scores.add_reward(reward, 1.0);
        self.regret += 1.0 - reward;
        if self.n_examples == REGRET_ROUNDS {
            self.reported_regret = Some(self.regret);
        }
    }

    /// The regret of a bandit after [`REGRET_ROUNDS`], beside a reward of 1 in each; none before.
    pub(crate) fn regret(&self) -> Option<f64> {
        self.reported_regret
    }

    /// Notes that a label was fed back, of a row with this answer, if labels had come when it was given:
    /// the no-change line repeats it from here on.
    pub(crate) fn note_delivered(&mut self, label: RowTarget, answer: Option<RowTarget>) {
        self.newest = Some(label);
        if let RowTarget::Value(label) = label {
            let answer = answer.and_then(|answer| match answer {
                RowTarget::Value(answer) => Some(answer),
                RowTarget::Name(_) => None,
            });
            self.values.note_known(label, answer);
        }
    }

    /// The number of examples.
    pub(crate) fn examples(&self) -> u64 {
        self.n_examples
    }

    /// True once a label was fed back.
    pub(crate) fn has_label(&self) -> bool {
        self.newest.is_some()
    }

    /// The mean score.
    pub(crate) fn score(&self) -> Option<f64> {
        self.mean.get()
    }

    /// The mean score of the last tenth.
    pub(crate) fn last_tenth(&self) -> Option<f64> {
        mean(&self.last_tenth)
    }

    /// The mean score of the last [`LAST_EXAMPLES`], where there were more.
    pub(crate) fn last(&self) -> Option<f64> {
        if self.mean.n > LAST_EXAMPLES as u64 {
            mean(&self.last)
        } else {
            None
        }
    }

    /// The counts of each class or action, by its place; those never seen may be missing.
    pub(crate) fn classes(&self) -> &[ClassCount] {
        self.monitored.scores.classes()
    }

    /// The score over time.
    pub(crate) fn curve(&self) -> &Curve {
        &self.curve
    }

    /// Scores the probabilities of the classes for a row of this class.
    pub(crate) fn judge_probabilities(&mut self, truth: RowTarget, p: &[f32]) {
        if let RowTarget::Name(truth) = truth {
            let answer = ScoredProbabilities::of(truth as usize, p);
            self.monitored.add_probabilities(&answer, 1.0);
        }
    }

    /// The scores that a model's monitors keep, too, by their names.
    pub(crate) fn monitored(&self) -> Vec<(&'static str, f64)> {
        self.monitored.figures()
    }

    /// The scores of values beside their absolute error.
    pub(crate) fn values(&self) -> &ValueScores {
        &self.values
    }

    /// Notes the retention of the model after an example, of a classification.
    pub(crate) fn note_retention(&mut self, retention: f64) {
        self.retention_curve.add(retention);
        self.n_retained += 1;
    }

    /// Retention over time, and the number of examples before its first point.
    pub(crate) fn retention_curve(&self) -> (&Curve, u64) {
        let n_before = self.mean.n.saturating_sub(self.n_retained);
        (&self.retention_curve, n_before)
    }

    /// The score over time of repeating the newest label that was fed back, and the number of
    /// examples before its first point.
    pub(crate) fn no_change_curve(&self) -> (&Curve, u64) {
        (&self.no_change_curve, self.mean.n - self.no_change.n)
    }

    /// The mean score of repeating the newest label that was fed back.
    pub(crate) fn no_change(&self) -> Option<f64> {
        self.no_change.get()
    }
}

fn mean(scores: &VecDeque<f64>) -> Option<f64> {
    let mut mean = RunningMean::default();
    scores.iter().for_each(|&score| mean.add(score));
    mean.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(truths: &[u32], answers: &[u32]) -> RunScores {
        let mut scores = RunScores::default();
        for (&truth, &answer) in truths.iter().zip(answers) {
            scores.judge(RowTarget::Name(truth), RowTarget::Name(answer));
            scores.note_delivered(RowTarget::Name(truth), Some(RowTarget::Name(answer)));
        }
        scores
    }

    #[test]
    fn the_last_tenth_is_the_end_of_the_examples() {
        let check = |n: usize, n_right_at_end: usize, expected: f64| {
            let answers = (0..n).map(|index| u32::from(index + n_right_at_end >= n));
            let scores = scores(&vec![1; n], &answers.collect::<Vec<_>>());
            assert_eq!(scores.last_tenth(), Some(expected), "{n} {n_right_at_end}");
        };
        check(1, 1, 1.0);
        check(10, 1, 1.0);
        check(11, 1, 0.5);
        check(20, 2, 1.0);
        check(20, 1, 0.5);
        check(100, 5, 0.5);
        check(101, 11, 1.0);
    }

    #[test]
    fn a_long_stream_is_also_scored_over_its_end() {
        let check = |n: usize, n_wrong: usize, expected: Option<f64>| {
            let answers: Vec<u32> = (0..n).map(|index| u32::from(index >= n_wrong)).collect();
            assert_eq!(scores(&vec![1; n], &answers).last(), expected, "{n}");
        };
        check(2000, 0, None);
        check(2001, 1, Some(1.0));
        check(2500, 1500, Some(0.5));
    }

    #[test]
    fn accuracy_is_a_share_and_no_change_repeats_what_was_delivered() {
        let all = scores(&[0, 0, 1, 1, 0], &[0, 1, 1, 1, 1]);
        assert_eq!((all.examples(), all.score()), (5, Some(0.6)));
        assert_eq!(all.no_change(), Some(0.5));
        let none = RunScores::default();
        assert_eq!((none.score(), none.last_tenth()), (None, None));
        assert_eq!(none.no_change(), None);
    }

    #[test]
    fn regret_is_that_of_the_first_ten_thousand_rounds() {
        let mut scores = RunScores::default();
        for round in 0..12_000u32 {
            let answer = u32::from(round % 4 == 0);
            let reward = scores.judge(RowTarget::Name(0), RowTarget::Name(answer));
            scores.note_reward(reward);
            assert_eq!(scores.regret().is_some(), round >= 9_999);
        }
        assert_eq!(scores.regret(), Some(2_500.0));
    }

    #[test]
    fn classes_are_counted_as_truth_and_as_answer() {
        let scores = scores(&[0, 0, 0, 1, 3], &[0, 1, 0, 1, 0]);
        let shares = |class: &ClassCount| (class.count, class.precision(), class.recall());
        let shares: Vec<_> = scores.classes().iter().map(shares).collect();
        let expected = [
            (3.0, Some(2.0 / 3.0), Some(2.0 / 3.0)),
            (1.0, Some(0.5), Some(1.0)),
            (0.0, None, None),
            (1.0, None, Some(0.0)),
        ];
        assert_eq!(shares, expected);
        let f1: Vec<_> = scores.classes().iter().map(ClassCount::f1).collect();
        let expected = [Some(2.0 / 3.0), Some(2.0 / 3.0), None, Some(0.0)];
        assert_eq!(f1, expected);
        assert_eq!(scores.no_change_curve().1, 1);
    }

    #[test]
    fn values_are_scored_by_their_absolute_error() {
        let mut scores = RunScores::default();
        for (row, (truth, answer)) in [(1.0, 0.0), (4.0, 2.0)].into_iter().enumerate() {
            scores.judge(RowTarget::Value(truth), RowTarget::Value(answer));
            scores.note_delivered(
                RowTarget::Value(truth),
                (row > 0).then_some(RowTarget::Value(answer)),
            );
        }
        // The first answer was given before any label.
        assert_eq!(scores.examples(), 2);
        assert_eq!(scores.score(), Some(2.0));
        assert_eq!(scores.last_tenth(), Some(2.0));
        assert_eq!(scores.no_change(), Some(3.0));
        let monitored = [
            ("mean_absolute_error", 2.0),
            ("root_mean_squared_error", 2.0),
        ];
        assert_eq!(scores.monitored(), monitored);
    }
}
