//! A trial: the evidence that one set of answers is not worse than another by a margin, on the same
//! rows.
//!
//! Invariant: both answers to a row were given before its label came.

use super::differences::Differences;
use super::evidence::Evidence;
use super::losses::{LossScale, SideLosses, Truth};
use crate::learn::algorithms::learned::answers::RowOutputs;
use crate::model::{Publish, Spec, Target};

/// The evidence so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trial {
    scale: LossScale,
    not_worse: Differences,
}

impl Trial {
    /// Takes the truth about a row, and the answers that are tried and that were served.
    pub(crate) fn observe(&mut self, spec: &Spec, target: Target, [tried, served]: [Vec<f64>; 2]) {
        let truth = Truth {
            target,
            propensity: None,
        };
        let [tried, served] = [tried, served].map(|outputs| RowOutputs { outputs });
        let losses = self
            .scale
            .losses(spec, truth, [Some(&tried), Some(&served)]);
        self.scale.observe(truth, Some(&served));
        if let Some(losses) = losses {
            self.take(spec, losses);
        }
    }

    /// Observes a row of which only the correctness of both answers is known.
    pub(crate) fn observe_right(&mut self, spec: &Spec, right: [bool; 2]) {
        self.take(
            spec,
            SideLosses::plain(right.map(|right| f64::from(u8::from(!right)))),
        );
    }

    fn take(&mut self, spec: &Spec, losses: SideLosses<2>) {
        let margin = losses.margin_part * spec.publish.margin;
        let [tried, served] = losses.bounded;
        let in_favour = (served - tried + margin) / (1.0 + margin);
        self.not_worse
            .observe(in_favour, losses.shown[0] - losses.shown[1]);
    }

    /// The evidence that the answers which are tried are not worse by the margin; the k-th attempt needs a wealth
    /// of `k (k + 1) / alpha`, so that all together are wrong with a probability of at most `alpha`.
    pub(crate) fn evidence(&self, publish: &Publish, attempt: u64) -> Evidence {
        let k = attempt as f64;
        Evidence {
            labels: self.not_worse.n(),
            wealth: self.not_worse.wealth(),
            needed: k * (k + 1.0) / publish.alpha,
            difference: self.not_worse.mean(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "task = 'classification'\nclasses = ['a', 'b']\n\
                        [[input]]\nname = 'x'\nkind = 'number'\n[publish]\nalpha = 0.05\n";

    /// The evidence after 400 rows, of which the answer that is tried is right in `tried` of ten, and
    /// the one that was served in `served`.
    fn evidence([tried, served]: [usize; 2]) -> Evidence {
        let spec = Spec::parse(TOML).unwrap();
        let mut trial = Trial::default();
        for row in 0..400_usize {
            let sure = |right: bool| {
                if right {
                    vec![0.9, 0.1]
                } else {
                    vec![0.1, 0.9]
                }
            };
            // Sevens walk through the ten, so that right and wrong alternate.
            let turn = row * 7 % 10;
            let answers = [sure(turn < tried), sure(turn < served)];
            trial.observe(&spec, Target::Class(0), answers);
        }
        assert_eq!(trial.evidence(&spec.publish, 3).needed, 240.0);
        trial.evidence(&spec.publish, 1)
    }

    #[test]
    fn better_answers_pass_and_worse_ones_do_not() {
        let better = evidence([9, 7]);
        assert!(better.wealth > better.needed, "{better:?}");
        // Half the Brier score is 0.01 where the answer is right and 0.81 where it is wrong.
        assert!((better.difference + 0.2 * 0.8).abs() < 1e-9, "{better:?}");
        let worse = evidence([7, 9]);
        assert!(worse.wealth < 1.0, "{worse:?}");
        assert!((worse.difference - 0.2 * 0.8).abs() < 1e-9, "{worse:?}");
        assert_eq!((better.labels, better.needed), (400, 40.0));
    }

    #[test]
    fn answers_without_places_are_right_or_wrong() {
        let spec = Spec::parse(TOML).unwrap();
        let mut trial = Trial::default();
        (0..200).for_each(|row| trial.observe_right(&spec, [true, row % 2 == 0]));
        let evidence = trial.evidence(&spec.publish, 1);
        assert!((evidence.difference + 0.5).abs() < 1e-9, "{evidence:?}");
        assert!(evidence.wealth > 20.0, "{evidence:?}");
    }
}
