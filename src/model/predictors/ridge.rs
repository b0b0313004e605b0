//! Ridge regression as it is served: features of a row, and weights on them.
//!
//! Its learner is in `learn::algorithms::analytic`. The pieces are separate, so that several
//! regressions can share one row of features:
//!
//! - [`RandomFeatures::new`] and [`RandomFeatures::phi`]: from an encoded row to `[n_features]`;
//! - `Recursion` (in `learn`): `observe(phi, targets)`, one example at a time or in blocks;
//! - [`RidgeWeights::new`]: the weights of a `Recursion::served`, `scores(phi)` to `[n_outputs]`;
//! - [`Posterior`]: how sure it is, `deviation(phi)`.
//!
//! Invariant: immutable; a posterior shares its matrix with the learner, which copies
//! it before it writes.

mod log;
mod random;

use std::sync::Arc;

use crate::model::encoders::features::Encoded;
use crate::model::linear_algebra::matrix::{Symmetric, dot, dot_f32, take_outer};
use crate::model::loss::softmax;
pub(crate) use log::LogRidge;
pub(crate) use random::{RandomFeatureSettings, RandomFeatures};

/// A weight for every output and feature.
#[derive(Clone, Debug, PartialEq)]
pub struct RidgeWeights {
    n_features: usize,
    /// `[n_outputs, n_features]`.
    weight: Vec<f32>,
}

impl RidgeWeights {
    /// Weights from `[n_outputs, n_features]`.
    pub fn new(n_features: usize, weight: Vec<f32>) -> RidgeWeights {
        RidgeWeights { n_features, weight }
    }

    /// The estimate of every output, `[n_outputs]`.
    pub fn scores(&self, phi: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(self.n_features);
        rows.map(|weight| dot_f32(weight, phi)).collect()
    }
}

/// The posterior of the estimates of one regression.
///
/// Weights are distributed about their estimate with covariance `noise * P`, where `P` is the
/// inverse of ridge and seen features together (Li et al. 2010, section 3.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// `P` as it was, where any example has been seen.
    pub inverse: Option<Arc<Symmetric>>,
    /// The gains taken from it since, `[gains, n_features]`.
    pub gains: Arc<Vec<f64>>,
    /// The factor on it; the inverse of the ridge where no example has been seen.
    pub growth: f64,
    /// The mean squared error that the features leave.
    pub noise: f64,
}

impl Posterior {
    /// The standard deviation of the estimate for a row of features `[n_features]`.
    pub fn deviation(&self, phi: &[f32]) -> f32 {
        let phi: Vec<f64> = phi.iter().map(|x| f64::from(*x)).collect();
        let product = |a: &[f64]| dot(a, &phi);
        let spread = match &self.inverse {
            None => product(&phi),
            Some(inverse) => {
                let mut spread = inverse.times(&phi);
                take_outer(&mut spread, &self.gains, &phi);
                product(&spread)
            }
        };
        (self.noise * self.growth * spread).max(0.0).sqrt() as f32
    }
}

/// A served regression.
#[derive(Clone, Debug)]
pub struct Ridge {
    /// The map from rows to features.
    pub features: RandomFeatures,
    /// The weights from features to estimates.
    pub weights: RidgeWeights,
    /// The inverse temperature of estimates before they become probabilities; none where the
    /// estimates themselves are the answer.
    pub inverse_temperature: Option<f32>,
    /// The posteriors, one for each action, where the policy needs them.
    pub posteriors: Option<Vec<Posterior>>,
}

impl Ridge {
    /// The answer for a row, `[n_outputs]`: probabilities of classes, or values in the scale of
    /// the target.
    pub fn outputs(&self, row: &Encoded) -> Vec<f32> {
        let mut outputs = self.weights.scores(&self.features.phi(row));
        if let Some(inverse_temperature) = self.inverse_temperature {
            outputs
                .iter_mut()
                .for_each(|score| *score *= inverse_temperature);
            softmax(&mut outputs);
        }
        outputs
    }

    /// The standard deviation of the estimate of every action, `[actions]`, in the scale of the
    /// target; none where it is not kept.
    pub fn deviations(&self, row: &Encoded) -> Option<Vec<f32>> {
        let posteriors = self.posteriors.as_ref()?;
        let phi = self.features.phi(row);
        Some(posteriors.iter().map(|one| one.deviation(&phi)).collect())
    }
}
