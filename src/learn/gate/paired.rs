//! A paired trial: two sets of answers to the same rows, judged on both sides of a margin.
//!
//! A difference `d` is the bounded loss of the second set less that of the first. Two null hypotheses are
//! bet against with the e-process of the gate: that the mean of `d` is at least the margin, which would be
//! too much for the second set to pass, and that it is at most the margin. Each is rejected where its wealth
//! ever reaches `1 / alpha`, which happens wrongly with a probability of at most `alpha` (Ville's
//! inequality), however many rows there are. Both hypotheses speak of every row given those before it: where
//! the world changes between the rows, one may be rejected of a stretch and the other of another. So the
//! second set passes only where nothing speaks against it and its mean difference is below the margin, and
//! is worse only where that is above.
//!
//! Invariant: both answers to a row were given before its label came, by states that have not learned it.

use super::e_process::EProcess;
use super::losses::{LossScale, SideLosses, Truth, gives_evidence};
use crate::learn::algorithms::learned::answers::RowOutputs;
use crate::model::Spec;

/// Halvings of [-1, 1] in search of a bound: a ten-thousandth.
const HALVINGS: usize = 15;

/// The outcome of a paired trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    /// The second set is not worse by the margin or more.
    Passes,
    /// The second set is worse by more than the margin.
    Worse,
    /// Neither is shown, or the rows disagree.
    NoEvidence,
}

/// The evidence of a paired trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedEvidence {
    /// The outcome.
    pub finding: TrialOutcome,
    /// Rows that were judged.
    pub rows: u64,
    /// The mean bounded loss of each set, in [0, 1]; the estimated reward of a bandit's policy, with its sign
    /// turned.
    pub losses: [f64; 2],
    /// The mean loss of the second set, less that of the first; of a bandit in units of its rewards.
    pub difference: f64,
    /// Bounds of that, each of which holds with a probability of at least `1 - alpha` however many rows
    /// are judged.
    pub bounds: [f64; 2],
    /// The largest wealth against the hypothesis that the second set is worse by the margin or more.
    pub not_worse: f64,
    /// The largest wealth against the hypothesis that it is worse by the margin at most.
    pub worse: f64,
    /// The wealth at which a hypothesis is rejected.
    pub needed: f64,
    /// The row after which the outcome was certain, from 1.
    pub decided_after: Option<u64>,
    /// True if one stretch of the rows shows another outcome than another stretch or the mean.
    pub disagrees: bool,
}

/// The losses of two sets of answers so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PairedTrial {
    scale: LossScale,
    /// `[rows]`
    differences: Vec<SideDifference>,
    /// The sum of each set's losses.
    sums: [f64; 2],
    /// The sum of the differences, each divided by the part of the margin that it is measured by.
    sum: f64,
    /// The largest difference that there can be, as people see it.
    largest: f64,
}

/// The bounded loss of the second set on a row less that of the first, in [-1, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
struct SideDifference {
    bounded: f64,
    /// The part of the margin that is the same for bounded losses.
    margin_part: f64,
    /// The bounded loss of one unit of the task.
    unit: f64,
}

/// The largest wealth of a bettor, and the row from which on it is enough.
struct Wealth {
    largest: f64,
    reached: Option<u64>,
}

impl PairedTrial {
    /// True if rows of this description can be evidence: rewards are none where an action has no
    /// propensity floor.
    pub(crate) fn is_possible(spec: &Spec) -> bool {
        gives_evidence(spec)
    }

    /// Takes the truth about a row, and the answers of both sets; none that is not finite. False if the
    /// row is no evidence.
    pub(crate) fn observe(
        &mut self,
        spec: &Spec,
        truth: Truth,
        [first, second]: [Option<&RowOutputs>; 2],
    ) -> bool {
        let losses = self.scale.losses(spec, truth, [first, second]);
        self.scale.observe(truth, first);
        let Some(losses) = losses else {
            return false;
        };
        let SideLosses {
            bounded: [of_first, of_second],
            margin_part,
            unit,
            ..
        } = losses;
        self.differences.push(SideDifference {
            bounded: of_second - of_first,
            margin_part,
            unit,
        });
        self.sum += (of_second - of_first) / margin_part;
        self.largest = self.largest.max(margin_part / unit);
        for (sum, loss) in self.sums.iter_mut().zip(losses.shown) {
            *sum += loss;
        }
        true
    }

    /// The evidence for a margin in [0, 0.5] and an alpha in (0, 0.5].
    pub(crate) fn evidence(&self, margin: f64, alpha: f64) -> PairedEvidence {
        let needed = 1.0 / alpha;
        let by = |d: &SideDifference| margin * d.margin_part;
        let passes = self.wealth(needed, |d| (by(d) - d.bounded) / (1.0 + by(d)));
        let worse = self.wealth(needed, |d| (d.bounded - by(d)) / (1.0 + by(d)));
        let n = self.differences.len().max(1) as f64;
        let losses = self.sums.map(|sum| sum / n);
        let difference = losses[1] - losses[0];
        // By the measure of the margin.
        let mean = self.sum / n;
        let (finding, decided_after) = match (passes.reached, worse.reached) {
            (_, Some(row)) if mean > margin => (TrialOutcome::Worse, Some(row)),
            (Some(row), None) if mean < margin => (TrialOutcome::Passes, Some(row)),
            _ => (TrialOutcome::NoEvidence, None),
        };
        let disagrees = match (passes.reached, worse.reached) {
            (Some(_), Some(_)) => true,
            (None, None) => false,
            _ => finding == TrialOutcome::NoEvidence,
        };
        PairedEvidence {
            finding,
            rows: self.differences.len() as u64,
            losses,
            difference,
            bounds: [
                self.lower(needed, 1.0).min(difference),
                (-self.lower(needed, -1.0)).max(difference),
            ],
            not_worse: passes.largest,
            worse: worse.largest,
            needed,
            decided_after,
            disagrees,
        }
    }

    /// The largest mean difference as people see it that is rejected as being too small, or the smallest that
    /// there can be; of the differences with their sign turned where `sign` is -1.
    fn lower(&self, needed: f64, sign: f64) -> f64 {
        let largest = if self.differences.is_empty() {
            1.0
        } else {
            self.largest
        };
        largest
            * bisect(|mean| {
                let wealth = self.wealth(needed, |d| {
                    let mean = largest * mean * d.unit;
                    (sign * d.bounded - mean) / (1.0 + mean.abs())
                });
                wealth.reached.is_some()
            })
    }

    /// Bets on these functions of the differences.
    fn wealth(&self, needed: f64, x: impl Fn(&SideDifference) -> f64) -> Wealth {
        let mut process = EProcess::default();
        let (mut largest, mut reached) = (process.wealth(), None);
        for (row, difference) in (1..).zip(&self.differences) {
            process.observe(x(difference));
            largest = largest.max(process.wealth());
            if largest >= needed && reached.is_none() {
                reached = Some(row);
            }
        }
        Wealth { largest, reached }
    }
}

/// The largest number in [-1, 1] of which `holds`, where it holds of all smaller ones; -1 where of none.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (-1.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Target;

    const TOML: &str = "task = 'classification'\nclasses = ['a', 'b']\n\
                        [[input]]\nname = 'x'\nkind = 'number'\n";

    /// The trial of `n` rows, of which each set is right in so many of twenty.
    fn trial(n: usize, right: [usize; 2]) -> PairedTrial {
        let spec = Spec::parse(TOML).unwrap();
        let mut trial = PairedTrial::default();
        for row in 0..n {
            // Steps of seven and eleven walk through the twenty, so that right and wrong alternate.
            let turns = [row * 7 % 20, row * 11 % 20];
            let answer = |set: usize| {
                let sure = if turns[set] < right[set] { 0.9 } else { 0.1 };
                RowOutputs {
                    outputs: vec![sure, 1.0 - sure],
                }
            };
            let (first, second) = (answer(0), answer(1));
            let truth = Truth {
                target: Target::Class(0),
                propensity: None,
            };
            assert!(trial.observe(&spec, truth, [Some(&first), Some(&second)]));
        }
        trial
    }

    fn check(trial: &PairedTrial, margin: f64, expected: TrialOutcome) -> PairedEvidence {
        let evidence = trial.evidence(margin, 0.05);
        assert_eq!(evidence.finding, expected, "{evidence:?}");
        let [low, high] = evidence.bounds;
        assert!(low <= evidence.difference + 1e-3, "{evidence:?}");
        assert!(evidence.difference <= high + 1e-3, "{evidence:?}");
        evidence
    }

    #[test]
    fn a_worse_set_fails_a_better_one_passes_and_few_rows_show_nothing() {
        // Half the Brier score is 0.01 where an answer is right and 0.81 where it is wrong.
        let worse = check(&trial(4000, [18, 16]), 0.01, TrialOutcome::Worse);
        assert!((worse.difference - 0.08).abs() < 1e-9, "{worse:?}");
        assert!(worse.bounds[0] > 0.01, "{worse:?}");
        let better = check(&trial(4000, [16, 18]), 0.01, TrialOutcome::Passes);
        assert!(better.bounds[1] < 0.0, "{better:?}");
        assert!(better.decided_after < Some(4000), "{better:?}");
        let alike = check(&trial(4000, [17, 17]), 0.05, TrialOutcome::Passes);
        assert_eq!(alike.difference, 0.0);
        check(&trial(4000, [17, 17]), 0.0, TrialOutcome::NoEvidence);
        check(&trial(20, [18, 10]), 0.01, TrialOutcome::NoEvidence);
        let none = check(&PairedTrial::default(), 0.01, TrialOutcome::NoEvidence);
        assert_eq!((none.rows, none.bounds), (0, [-1.0, 1.0]));
    }

    #[test]
    fn rows_that_disagree_do_not_let_a_set_pass() {
        // Better for 400 rows, and worse for 1200.
        let (mut changed, later) = (trial(400, [14, 19]), trial(1200, [19, 14]));
        changed.differences.extend(later.differences);
        for (sum, more) in changed.sums.iter_mut().zip(later.sums) {
            *sum += more;
        }
        changed.sum += later.sum;
        let evidence = check(&changed, 0.01, TrialOutcome::Worse);
        assert!(
            evidence.disagrees && evidence.not_worse > 20.0,
            "{evidence:?}"
        );
        let wide = check(&changed, 0.099, TrialOutcome::NoEvidence);
        assert!(wide.disagrees && wide.difference > 0.099, "{wide:?}");
        assert!(!check(&trial(4000, [16, 18]), 0.01, TrialOutcome::Passes).disagrees);
    }

    #[test]
    fn an_answer_that_is_not_finite_has_the_full_loss() {
        let spec = Spec::parse(TOML).unwrap();
        let mut trial = PairedTrial::default();
        let sure = RowOutputs {
            outputs: vec![1.0, 0.0],
        };
        let truth = Truth {
            target: Target::Class(0),
            propensity: None,
        };
        trial.observe(&spec, truth, [Some(&sure), None]);
        assert_eq!(trial.evidence(0.0, 0.05).losses, [0.0, 1.0]);
    }
}
