//! Several examples at once (Woodbury 1950).
//!
//! Invariant: the result is that of taking them one by one, but for rounding.

use std::sync::Arc;

use super::{Recursion, age, shape};
use crate::model::matrix::{ADD, SUBTRACT, View, factor_block, invert_block, multiply};

impl Recursion {
    /// Takes them.
    pub(super) fn take_block(&mut self, mut phi: Vec<f64>, targets: Vec<f64>) {
        let (n, n_outputs) = (self.settings.n_features, self.settings.n_outputs);
        let n_rows = phi.len() / n;
        let raw = phi.clone();
        let mut errors = targets.clone();
        let estimates = [View::rows(&phi, n), View::columns(&self.weight, n)];
        multiply(
            &mut errors,
            n_outputs,
            SUBTRACT,
            estimates,
            shape([n_rows, n, n_outputs]),
        );
        age(&mut phi, n, self.settings.forgetting);
        age(&mut errors, n_outputs, self.settings.forgetting);
        let spread = self.spread_rows(&phi, n_rows);
        self.whiten(&phi, &spread, &errors, (raw, targets));
    }

    /// `P phi` of every row of a block, with the gains that P lacks.
    fn spread_rows(&mut self, phi: &[f64], n_rows: usize) -> Vec<f64> {
        let n = self.settings.n_features;
        let mut spread = self.matrices().inverse.times_rows(phi);
        let n_gains = self.gains.len() / n;
        let mut onto = vec![0.0; n_rows * n_gains];
        let factors = [View::rows(phi, n), View::columns(&self.gains, n)];
        multiply(
            &mut onto,
            n_gains,
            ADD,
            factors,
            shape([n_rows, n, n_gains]),
        );
        let factors = [View::rows(&onto, n_gains), View::rows(&self.gains, n)];
        multiply(
            &mut spread,
            n,
            SUBTRACT,
            factors,
            shape([n_rows, n_gains, n]),
        );
        spread
    }

    /// Gains and weights from the spread and the errors of a block.
    fn whiten(
        &mut self,
        phi: &[f64],
        spread: &[f64],
        errors: &[f64],
        (raw, targets): (Vec<f64>, Vec<f64>),
    ) {
        let (n, n_outputs) = (self.settings.n_features, self.settings.n_outputs);
        let n_rows = phi.len() / n;
        // S = (g^rows / growth) I + Phi (P / growth) Phi^T = L L^T.
        let floor = self.settings.forgetting.powi(n_rows as i32) / self.growth;
        let mut whiten = vec![0.0; n_rows * n_rows];
        (0..n_rows).for_each(|i| whiten[i * n_rows + i] = floor);
        let factors = [View::rows(spread, n), View::columns(phi, n)];
        multiply(
            &mut whiten,
            n_rows,
            ADD,
            factors,
            shape([n_rows, n, n_rows]),
        );
        factor_block(&mut whiten, n_rows, floor);
        invert_block(&mut whiten, n_rows);
        let whiten = View::rows(&whiten, n_rows);
        let start = self.gains.len();
        let gains = Arc::make_mut(&mut self.gains);
        gains.resize(start + n_rows * n, 0.0);
        let gains = &mut gains[start..];
        let factors = [whiten, View::rows(spread, n)];
        multiply(gains, n, ADD, factors, shape([n_rows, n_rows, n]));
        let mut white = vec![0.0; n_rows * n_outputs];
        let factors = [whiten, View::rows(errors, n_outputs)];
        multiply(
            &mut white,
            n_outputs,
            ADD,
            factors,
            shape([n_rows, n_rows, n_outputs]),
        );
        let factors = [View::columns(&white, n_outputs), View::rows(gains, n)];
        multiply(
            &mut self.weight,
            n,
            ADD,
            factors,
            shape([n_outputs, n_rows, n]),
        );
        let residual = floor * white.iter().map(|error| error * error).sum::<f64>();
        self.remember(&raw, &targets, residual);
    }
}
