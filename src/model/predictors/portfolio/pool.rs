//! The pooling of the answers of members into one.
//!
//! Invariant: weights are positive and sum to one, and what is pooled are probabilities (or values
//! in the scale of the target), so the pool is one too.

use crate::model::loss::softmax;

/// Probabilities are taken for at least this before their logarithm is.
const P_MIN: f32 = 1e-4;

/// The weights of the members.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// `[members]`: how the members, and the stack of them behind, are mixed.
    pub weights: Vec<f64>,
    /// The factors on the logarithms of probabilities: every member's, the stack's and
    /// the mixture's; `[members + 1]`.
    pub inverse_temperature: Vec<f32>,
    /// The stack's weights of the members' log probabilities or values, `[members]`; empty where
    /// there is no stack.
    pub stack: Vec<f32>,
}

impl Pool {
    /// Prefers nothing.
    pub fn new(n_members: usize) -> Pool {
        Pool {
            weights: vec![1.0 / (n_members + 1) as f64; n_members + 1],
            inverse_temperature: vec![1.0; n_members + 2],
            stack: vec![1.0 / n_members as f32; n_members],
        }
    }

    /// A pool of equal weights, of members alone.
    pub(crate) fn without_stack(n_members: usize) -> Pool {
        Pool {
            weights: vec![1.0 / n_members as f64; n_members],
            inverse_temperature: vec![1.0; n_members + 1],
            stack: Vec::new(),
        }
    }

    /// The weights' mean of `members` `[members, n_outputs]`, `[n_outputs]`: of classes, the input
    /// of the mixture's inverse temperature in [`Pool::mix`].
    pub(crate) fn mixture(&self, member_outputs: &[f32], n_outputs: usize) -> Vec<f32> {
        let mut mixed = vec![0.0; n_outputs];
        for (outputs, weight) in member_outputs.chunks_exact(n_outputs).zip(&self.weights) {
            for (mixed, output) in mixed.iter_mut().zip(outputs) {
                *mixed += *weight as f32 * output;
            }
        }
        mixed
    }

    /// The stack's answer `[n_outputs]`: the log probabilities, or values, of `members`
    /// `[members, n_outputs]`, added with its weights; of classes, as probabilities.
    pub(crate) fn stacked(&self, members: &[f32], n_outputs: usize, classes: bool) -> Vec<f32> {
        let mut stacked = vec![0.0; n_outputs];
        for (outputs, weight) in members.chunks_exact(n_outputs).zip(&self.stack) {
            for (stacked, output) in stacked.iter_mut().zip(outputs) {
                *stacked += weight * if classes { log(*output) } else { *output };
            }
        }
        if classes {
            softmax(&mut stacked);
        }
        stacked
    }

    /// The answer `[n_outputs]` of all `members` `[members, n_outputs]`, members and the stack.
    pub(crate) fn mix(&self, member_outputs: &[f32], n_outputs: usize, classes: bool) -> Vec<f32> {
        let mut mixed = self.mixture(member_outputs, n_outputs);
        if classes {
            let inverse_temperature = self.inverse_temperature[self.inverse_temperature.len() - 1];
            sharpen(&mut mixed, inverse_temperature);
        }
        mixed
    }
}

/// The logarithm of a probability that is not too small.
pub(crate) fn log(p: f32) -> f32 {
    p.max(P_MIN).ln()
}

/// Multiplies the logarithms of probabilities.
pub(super) fn sharpen(p: &mut [f32], inverse_temperature: f32) {
    p.iter_mut()
        .for_each(|p| *p = inverse_temperature * p.max(f32::MIN_POSITIVE).ln());
    softmax(p);
}
