//! The scores of probabilities: log loss, Brier score and calibration error.
//!
//! Invariant: memory is fixed, however many answers there are.

use crate::learn::records::saved::{SavedReader, Writer};
use crate::model::weights::Error;

/// A probability is taken for at least this before its logarithm is.
const P_MIN: f64 = 1e-7;
/// Bins of confidence for the calibration error.
pub(super) const BINS: usize = 15;
/// Bins of log odds for the area, and the log odds beyond which answers are alike.
pub(super) const RANKS: usize = 512;
const LOG_ODDS_MAX: f64 = 16.0;

/// The bin of a confidence.
pub(super) fn bin(confidence: f64) -> usize {
    ((confidence * BINS as f64) as usize).min(BINS - 1)
}

/// The terms that one answer with probabilities adds to the sums.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredProbabilities {
    log_loss: f64,
    brier: f64,
    confidence: f64,
    is_right: bool,
    /// The true one of two classes, and the bin of the log odds of the second; none of other answers.
    pub(super) rank: Option<(usize, usize)>,
}

impl ScoredProbabilities {
    /// The probabilities of the classes for a row of class `truth`, which may be one that they lack.
    pub fn of(truth: usize, p: &[f32]) -> ScoredProbabilities {
        let of_truth = p.get(truth).map_or(0.0, |p| f64::from(*p));
        let squares: f64 = p.iter().map(|p| f64::from(*p).powi(2)).sum();
        let mut answers = p.iter().enumerate();
        let first = answers.next().unwrap_or((usize::MAX, &0.0));
        let (answer, confidence) =
            answers.fold(first, |best, one| if one.1 > best.1 { one } else { best });
        let rank = match p {
            [first, second] if truth < 2 => {
                let (first, second) = (f64::from(*first).max(P_MIN), f64::from(*second).max(P_MIN));
                let part = (second / first).ln() / LOG_ODDS_MAX;
                let rank = (part.clamp(-1.0, 1.0) + 1.0) / 2.0 * (RANKS - 1) as f64;
                Some((truth, rank.round() as usize))
            }
            _ => None,
        };
        ScoredProbabilities {
            log_loss: -of_truth.max(P_MIN).ln(),
            brier: squares - 2.0 * of_truth + 1.0,
            confidence: f64::from(*confidence).clamp(0.0, 1.0),
            is_right: answer == truth,
            rank,
        }
    }
}

/// The sums over the answers so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ProbabilitySums {
    n: f64,
    log_loss: f64,
    brier: f64,
    /// The sums of confidences, and of answers that were right, by bin of confidence.
    bins: [[f64; 2]; BINS],
}

impl ProbabilitySums {
    /// Adds an answer of this weight; a negative one takes it back.
    pub(super) fn add(&mut self, answer: &ScoredProbabilities, weight: f64) {
        self.n += weight;
        self.log_loss += weight * answer.log_loss;
        self.brier += weight * answer.brier;
        let [confidence, right] = &mut self.bins[bin(answer.confidence)];
        *confidence += weight * answer.confidence;
        *right += weight * f64::from(u8::from(answer.is_right));
    }

    fn sums(&mut self) -> impl Iterator<Item = &mut f64> {
        let bins = self.bins.as_flattened_mut().iter_mut();
        [&mut self.n, &mut self.log_loss, &mut self.brier]
            .into_iter()
            .chain(bins)
    }

    pub(super) fn scale(&mut self, by: f64) {
        self.sums().for_each(|sum| *sum *= by);
    }

    pub(super) fn merge(&mut self, other: &ProbabilitySums) {
        let mut other = other.clone();
        self.sums()
            .zip(other.sums())
            .for_each(|(sum, more)| *sum += *more);
    }

    /// The mean negative log probability of the truth; none before the first answer.
    pub(super) fn log_loss(&self) -> Option<f64> {
        self.mean(self.log_loss)
    }

    /// The mean squared distance to the truth, over all classes (Brier 1950): from 0 to 2.
    pub(super) fn brier(&self) -> Option<f64> {
        self.mean(self.brier)
    }

    /// The expected calibration error (Naeini, Cooper and Hauskrecht 2015): the mean difference of
    /// confidence and accuracy over bins of confidence.
    pub(super) fn calibration_error(&self) -> Option<f64> {
        self.mean(
            self.bins
                .iter()
                .map(|[confidence, right]| (confidence - right).abs())
                .sum(),
        )
    }

    /// The mean confidence of the judged answers.
    pub(super) fn confidence(&self) -> Option<f64> {
        self.mean(self.bins.iter().map(|[confidence, _]| confidence).sum())
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.n > 0.0).then(|| (sum / self.n).max(0.0))
    }

    pub(super) fn save(&self, out: &mut Writer) {
        out.numbers(&[self.n, self.log_loss, self.brier]);
        out.numbers(self.bins.as_flattened());
    }

    pub(super) fn load(saved: &mut SavedReader) -> Result<ProbabilitySums, Error> {
        let mut sums = ProbabilitySums::default();
        let numbers = saved.many_numbers(3 + 2 * BINS)?;
        sums.sums()
            .zip(numbers)
            .for_each(|(sum, number)| *sum = number);
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(answers: &[(usize, &[f32])]) -> ProbabilitySums {
        let mut sums = ProbabilitySums::default();
        let answers = answers.iter();
        answers.for_each(|(truth, p)| sums.add(&ScoredProbabilities::of(*truth, p), 1.0));
        sums
    }

    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("there is one");
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }

    #[test]
    fn scores_are_those_of_their_formulas() {
        let sums = sums(&[(0, &[0.75, 0.25]), (1, &[0.75, 0.25])]);
        near(sums.log_loss(), -(0.75f64.ln() + 0.25f64.ln()) / 2.0);
        near(sums.brier(), (0.125 + 1.125) / 2.0);
        // One of two is right at a confidence of 0.75.
        near(sums.calibration_error(), 0.25);
        near(sums.confidence(), 0.75);
    }

    #[test]
    fn an_answer_before_any_class_and_a_new_class_are_scored() {
        let sums = sums(&[(0, &[]), (2, &[0.5, 0.5])]);
        near(sums.log_loss(), -(P_MIN.ln()));
        near(sums.brier(), (1.0 + 1.5) / 2.0);
        assert_eq!(ProbabilitySums::default().log_loss(), None);
    }
}
