//! Several models of one row, mixed by how well each has done.
//!
//! Invariant: shares are positive and sum to one, so a mixture of probabilities is one.

use super::features::{Encoded, Scale};
use super::linear::Bank;
use super::loss::softmax;
use super::spec::Task;

/// The step sizes of the linear members: a factor of about three apart, so that one of them is
/// near the best for any stream.
pub const STEP_SIZES: [f32; 7] = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// Members and their shares in the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Portfolio {
    /// One linear member for each step size.
    pub bank: Bank,
    /// The member that repeats the newest label or value; bandits have none.
    pub last: Option<Last>,
    /// `[members]`.
    pub shares: Vec<f64>,
    softmax: bool,
    n_outputs: usize,
}

/// The member that repeats what was true last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Last {
    /// The newest class index or value; none before the first.
    pub target: Option<f64>,
    /// How often repeating it was right, fading.
    pub right: f64,
    /// How often it was tried, fading.
    pub tried: f64,
}

impl Portfolio {
    /// Members that know nothing, with equal shares.
    pub fn new(task: &Task, n_dense: usize, n_buckets: usize) -> Portfolio {
        let n_outputs = task.n_outputs();
        let last = match task {
            Task::Classification { .. } | Task::Regression => Some(Last::default()),
            Task::Bandit { .. } => None,
        };
        let n_members = STEP_SIZES.len() + usize::from(last.is_some());
        Portfolio {
            bank: Bank::new(STEP_SIZES.len(), n_outputs, n_dense, n_buckets),
            last,
            shares: vec![1.0 / n_members as f64; n_members],
            softmax: matches!(task, Task::Classification { .. }),
            n_outputs,
        }
    }

    /// How many outputs each member gives.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// Whether they are probabilities of classes.
    pub fn is_classes(&self) -> bool {
        self.softmax
    }

    /// A name for each member.
    pub fn names(&self) -> Vec<String> {
        let linear = STEP_SIZES.iter().map(|size| format!("linear-{size}"));
        let last = match self.softmax {
            true => "last-label",
            false => "last-value",
        };
        linear.chain(self.last.map(|_| last.to_owned())).collect()
    }

    /// What every member says of a row, `[members, n_outputs]`: probabilities of classes, or
    /// values in the scale of the target.
    pub fn members(&self, row: &Encoded, scale: &Scale) -> Vec<f32> {
        let mut outputs = self.bank.scores(row);
        if self.softmax {
            outputs.chunks_exact_mut(self.n_outputs).for_each(softmax);
        }
        if let Some(last) = &self.last {
            outputs.extend(self.last_outputs(last, scale));
        }
        outputs
    }

    fn last_outputs(&self, last: &Last, scale: &Scale) -> Vec<f32> {
        let n = self.n_outputs;
        let uniform = 1.0 / n as f64;
        let mut outputs = vec![uniform as f32; n];
        match last.target {
            Some(target) if self.softmax && n > 1 => {
                let right = (last.right + uniform) / (last.tried + 1.0);
                outputs.fill(((1.0 - right) / (n - 1) as f64) as f32);
                outputs[target as usize] = right as f32;
            }
            Some(target) if !self.softmax => outputs[0] = scale.standardise(target),
            None if !self.softmax => outputs[0] = 0.0,
            _ => {}
        }
        outputs
    }

    /// The members' outputs by their shares, `[n_outputs]`.
    pub fn mix(&self, members: &[f32]) -> Vec<f32> {
        let mut mixed = vec![0.0; self.n_outputs];
        for (outputs, share) in members.chunks_exact(self.n_outputs).zip(&self.shares) {
            for (mixed, output) in mixed.iter_mut().zip(outputs) {
                *mixed += *share as f32 * output;
            }
        }
        mixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Encoded {
        Encoded {
            dense: vec![1.0],
            sparse: vec![],
        }
    }

    #[test]
    fn a_new_portfolio_prefers_nothing() {
        let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let portfolio = Portfolio::new(
            &Task::Classification {
                classes_max: classes.len(),
                classes,
            },
            1,
            0,
        );
        let members = portfolio.members(&row(), &Scale::default());
        assert_eq!(portfolio.mix(&members), [0.25; 4]);
        assert_eq!(members.len(), 4 * portfolio.names().len());
    }

    #[test]
    fn the_last_label_claims_what_repeating_it_earned() {
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        let mut portfolio = Portfolio::new(
            &Task::Classification {
                classes_max: classes.len(),
                classes,
            },
            1,
            0,
        );
        portfolio.last = Some(Last {
            target: Some(1.0),
            right: 8.5,
            tried: 9.0,
        });
        let members = portfolio.members(&row(), &Scale::default());
        assert_eq!(members[14..], [0.1, 0.9]);
    }

    #[test]
    fn a_bandit_has_no_last_value() {
        let actions = ["a", "b"].map(str::to_owned).to_vec();
        let portfolio = Portfolio::new(&Task::Bandit { actions }, 1, 0);
        assert_eq!(portfolio.names().len(), 7);
    }
}
