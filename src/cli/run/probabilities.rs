//! The scores of probabilities: log loss, Brier score, calibration error, and the area under the
//! receiver operating characteristic of two classes.
//!
//! Invariant: memory is fixed, however many answers there are.

/// A probability is taken for at least this before its logarithm is.
const P_MIN: f64 = 1e-7;
/// Bins of confidence for the calibration error.
const BINS: usize = 15;
/// Bins of log odds for the area, and the log odds beyond which answers are alike.
const RANKS: usize = 4096;
const LOG_ODDS_MAX: f64 = 16.0;

/// The sums over the answers so far.
#[derive(Debug)]
pub(crate) struct ProbabilityScores {
    n: u64,
    log_loss: f64,
    brier: f64,
    confidence: [ConfidenceBin; BINS],
    /// Answers to two classes, by the log odds of the second: of rows of the first, and of the second.
    ranks: [Vec<u64>; 2],
    /// True as long as no answer had other than two classes.
    is_binary: bool,
}

/// The answers of like confidence.
#[derive(Clone, Copy, Debug, Default)]
struct ConfidenceBin {
    confidence: f64,
    right: f64,
}

impl Default for ProbabilityScores {
    fn default() -> ProbabilityScores {
        ProbabilityScores {
            n: 0,
            log_loss: 0.0,
            brier: 0.0,
            confidence: [ConfidenceBin::default(); BINS],
            ranks: [vec![0; RANKS], vec![0; RANKS]],
            is_binary: true,
        }
    }
}

impl ProbabilityScores {
    /// Scores the probabilities of the classes for a row of class `truth`, which may be a new one.
    pub(crate) fn judge(&mut self, truth: usize, p: &[f32]) {
        let of_truth = p.get(truth).map_or(0.0, |p| f64::from(*p));
        self.n += 1;
        self.log_loss -= of_truth.max(P_MIN).ln();
        let squares: f64 = p.iter().map(|p| f64::from(*p).powi(2)).sum();
        self.brier += squares - 2.0 * of_truth + 1.0;
        let mut answers = p.iter().enumerate();
        let first = answers.next().unwrap_or((usize::MAX, &0.0));
        let (answer, confidence) =
            answers.fold(first, |best, one| if one.1 > best.1 { one } else { best });
        let confidence = f64::from(*confidence).clamp(0.0, 1.0);
        let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
        self.confidence[bin].confidence += confidence;
        self.confidence[bin].right += f64::from(u8::from(answer == truth));
        match p {
            [first, second] if truth < 2 => {
                let (first, second) = (f64::from(*first).max(P_MIN), f64::from(*second).max(P_MIN));
                let part = (second / first).ln() / LOG_ODDS_MAX;
                let rank = (part.clamp(-1.0, 1.0) + 1.0) / 2.0 * (RANKS - 1) as f64;
                self.ranks[truth][rank.round() as usize] += 1;
            }
            _ => self.is_binary = false,
        }
    }

    /// The mean negative log probability of the truth; none before the first answer.
    pub(crate) fn log_loss(&self) -> Option<f64> {
        self.mean(self.log_loss)
    }

    /// The mean squared distance to the truth, over all classes (Brier 1950): from 0 to 2.
    pub(crate) fn brier(&self) -> Option<f64> {
        self.mean(self.brier)
    }

    /// The expected calibration error (Naeini, Cooper and Hauskrecht 2015): the mean difference of
    /// confidence and accuracy over bins of confidence.
    pub(crate) fn calibration_error(&self) -> Option<f64> {
        let gaps = self.confidence.iter();
        self.mean(gaps.map(|bin| (bin.confidence - bin.right).abs()).sum())
    }

    /// The probability that a row of the one class is ranked before one of the other, of two classes;
    /// none before there are rows of both.
    pub(crate) fn auc(&self) -> Option<f64> {
        let totals = [0, 1].map(|class| self.ranks[class].iter().sum::<u64>() as f64);
        if !self.is_binary || totals.contains(&0.0) {
            return None;
        }
        let (mut n_before, mut area) = (0.0, 0.0);
        for (first, second) in self.ranks[0].iter().zip(&self.ranks[1]) {
            area += *second as f64 * (n_before + *first as f64 / 2.0);
            n_before += *first as f64;
        }
        Some(area / (totals[0] * totals[1]))
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.n > 0).then(|| sum / self.n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(answers: &[(usize, &[f32])]) -> ProbabilityScores {
        let mut scores = ProbabilityScores::default();
        answers
            .iter()
            .for_each(|(truth, p)| scores.judge(*truth, p));
        scores
    }

    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("there is one");
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }

    #[test]
    fn scores_are_those_of_their_formulas() {
        let scores = scores(&[(0, &[0.75, 0.25]), (1, &[0.75, 0.25])]);
        near(scores.log_loss(), -(0.75f64.ln() + 0.25f64.ln()) / 2.0);
        near(scores.brier(), (0.125 + 1.125) / 2.0);
        // One of two is right at a confidence of 0.75.
        near(scores.calibration_error(), 0.25);
        near(scores.auc(), 0.5);
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_their_order() {
        let p: [[f32; 2]; 4] = [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]];
        let answers = [(0, &p[0][..]), (0, &p[1]), (1, &p[2]), (1, &p[3])];
        near(scores(&answers).auc(), 0.75);
        assert_eq!(scores(&answers[..2]).auc(), None);
        assert_eq!(scores(&[(0, &[0.5, 0.25, 0.25]), (1, &p[0])]).auc(), None);
    }

    #[test]
    fn an_answer_before_any_class_and_a_new_class_are_scored() {
        let scores = scores(&[(0, &[]), (2, &[0.5, 0.5])]);
        near(scores.log_loss(), -(P_MIN.ln()));
        near(scores.brier(), (1.0 + 1.5) / 2.0);
        assert_eq!(ProbabilityScores::default().log_loss(), None);
    }
}
