//! The answer of a portfolio that remembers: the pooled answer of its kept and its current members.
//!
//! A pool that is paid by the newest examples alone goes over to the members that live in the
//! present: where classes come in blocks it forgets all but the current ones, and no figure of the
//! stream falls. Three answers are therefore mixed:
//!
//! - the current one, of the pool;
//! - the kept one, a product of the members' probabilities with learned powers (Genest and Zidek
//!   1986), and of the recent distribution of the classes with a power of its own. The powers descend
//!   the log loss of new examples and of the anchors of the retention set, so that the shift towards
//!   the classes of late is as large as both allow;
//! - the divided one: the current answer as far as the kept one lies with classes that are current,
//!   and the kept one beyond that.
//!
//! Invariant: each of the three is a distribution over the classes, and the weights sum to one.

use super::pool::log;
use crate::model::loss::softmax;
use crate::model::spec::Keep;

/// The share of the recent distribution that is dealt out evenly among all classes that have come:
/// it bounds how unlikely a class that is not current can be.
const EVEN: f32 = 0.1;
/// The weights before any loss: of the current answer, the kept one and the divided one.
const FIRST_WEIGHTS: [f64; 3] = [0.8, 0.1, 0.1];
/// A class is current by half where its recent share is this part of an even one.
const CURRENT: f32 = 0.05;

/// The kept answer of a portfolio of classes, and the weights of the three answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RetainedAnswer {
    /// The balance between new and kept examples.
    pub keep: Keep,
    /// The powers of the members' probabilities, and of the recent distribution; `[members + 1]`.
    pub powers: Vec<f32>,
    /// The recent distribution of the classes; `[n_outputs]`.
    pub recent: Vec<f32>,
    /// Of the current answer, the kept one and the divided one.
    pub weights: [f64; 3],
}

/// The answers for a row.
pub(crate) struct KeptAnswers {
    /// The logarithms that the powers apply to, `[members + 1, n_outputs]`.
    pub logs: Vec<f32>,
    /// Current, kept and divided; `[n_outputs]` each.
    pub answers: [Vec<f32>; 3],
}

impl RetainedAnswer {
    /// Nothing is known of any member, and every class is as recent as another.
    pub(crate) fn new(keep: Keep, n_members: usize, n_outputs: usize) -> RetainedAnswer {
        let mut powers = vec![1.0 / n_members as f32; n_members];
        powers.push(0.5);
        RetainedAnswer {
            keep,
            powers,
            recent: vec![1.0 / n_outputs as f32; n_outputs],
            weights: FIRST_WEIGHTS,
        }
    }

    /// The three answers, from the `current` one, the members' probabilities
    /// `[members, n_outputs]`, and how often each class has come.
    pub(crate) fn answers(
        &self,
        current: Vec<f32>,
        members: &[f32],
        counts: &[f64],
    ) -> KeptAnswers {
        let n_outputs = current.len();
        let n_members = self.powers.len() - 1;
        let n_seen = counts.iter().filter(|count| **count > 0.0).count().max(1) as f32;
        let mut logs = Vec::with_capacity(self.powers.len() * n_outputs);
        logs.extend(members[..n_members * n_outputs].iter().map(|p| log(*p)));
        let ratio = |recent: &f32| (EVEN + (1.0 - EVEN) * n_seen * recent).ln();
        logs.extend(self.recent.iter().map(ratio));
        let mut kept = vec![0.0; n_outputs];
        for (logs, power) in logs.chunks_exact(n_outputs).zip(&self.powers) {
            for (kept, log) in kept.iter_mut().zip(logs) {
                *kept += power * log;
            }
        }
        softmax(&mut kept);
        let is_current = |recent: f32| recent / (recent + CURRENT / n_seen);
        let weighted = kept.iter().zip(&self.recent);
        let weight: f32 = weighted.map(|(p, recent)| p * is_current(*recent)).sum();
        let pairs = current.iter().zip(&kept);
        let divided = pairs.map(|(current, kept)| weight * current + (1.0 - weight) * kept);
        let divided = divided.collect();
        KeptAnswers {
            logs,
            answers: [current, kept, divided],
        }
    }

    /// The answer, `[n_outputs]`.
    pub(crate) fn mix(&self, answers: &[Vec<f32>; 3]) -> Vec<f32> {
        let weights = match self.keep {
            Keep::Recent => [1.0, 0.0, 0.0],
            Keep::Balanced => self.weights,
            Keep::Everything => [0.0, 1.0, 0.0],
        };
        let mut mixed = vec![0.0; answers[0].len()];
        for (answer, weight) in answers.iter().zip(weights) {
            for (mixed, p) in mixed.iter_mut().zip(answer) {
                *mixed += weight as f32 * p;
            }
        }
        mixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_not_current_is_still_answered() {
        let mut kept = RetainedAnswer::new(Keep::Balanced, 1, 3);
        kept.recent = vec![0.998, 0.001, 0.001];
        let current = || vec![0.98, 0.01, 0.01];
        let divided = |member: &[f32]| {
            let answers = kept.answers(current(), member, &[9.0; 3]).answers;
            let [_, _, divided] = answers;
            divided
        };
        let sure = divided(&[1e-4, 1e-4, 0.9998]);
        assert!(sure[2] > 0.8, "{sure:?}");
        let unsure = divided(&[0.4, 0.3, 0.3]);
        assert!(unsure[0] > 0.8, "{unsure:?}");
    }

    #[test]
    fn the_balance_chooses_among_the_answers() {
        let answers = [vec![1.0, 0.0], vec![0.0, 1.0], vec![0.5, 0.5]];
        let mixed = |keep| RetainedAnswer::new(keep, 1, 2).mix(&answers);
        assert_eq!(mixed(Keep::Recent), answers[0]);
        assert_eq!(mixed(Keep::Everything), answers[1]);
        let balanced = mixed(Keep::Balanced);
        assert!((balanced[0] - 0.85).abs() < 1e-6 && (balanced[1] - 0.15).abs() < 1e-6);
    }

    #[test]
    fn every_answer_is_a_distribution() {
        let kept = RetainedAnswer::new(Keep::Balanced, 2, 4);
        let members = [0.0, 0.0, 1.0, 0.0, 0.25, 0.25, 0.25, 0.25];
        let answers = kept.answers(vec![0.25; 4], &members, &[1.0, 0.0, 1.0, 0.0]);
        for answer in answers.answers.iter().chain([&kept.mix(&answers.answers)]) {
            assert!((answer.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(answer.iter().all(|p| (0.0..=1.0).contains(p)));
        }
    }
}
