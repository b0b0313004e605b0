//! Recursive ridge regression: after every example the weights are those of the batch problem
//! `W = C A^-1`, `A = sum of g^age phi phi^T + ridge I`, `C = sum of g^age y phi^T`.
//!
//! Recursive least squares with forgetting (Plackett 1950; Haykin 2002, section 9.3) on `P = A^-1`,
//! with departures for speed and soundness, none of which changes the result beyond rounding but
//! the last:
//! - Gains of the newest examples are kept beside `P` and folded into it together, as one matrix
//!   product; so are their outer products into the Gram matrix. Several examples can be taken at
//!   once (Woodbury 1950).
//! - `P` and `W` are computed anew from the Gram matrix every `refresh_every` examples, so that
//!   rounding cannot build up.
//! - The ridge fades with the examples between two refreshes, at most to half, and is then put
//!   back whole: nothing winds up where inputs excite nothing.
//!
//! Invariant: inputs and targets are finite and bounded, so everything here stays finite.

mod block;
mod saved;

use std::sync::Arc;

use crate::model::Posterior;
use crate::model::matrix::{Blend, Shape, Symmetric, View, add_scaled, dot, multiply, take_outer};

/// Examples whose gains are kept beside `P` before they are folded into it.
const FOLD: usize = 32;
/// Fewer examples than these are taken one by one.
const BLOCK_MIN: usize = 8;
/// A ridge smaller than this part of the largest sum of squares would be lost in rounding.
const ROUNDING: f64 = 1e-12;
/// A row that decides its own estimate has this leverage at most.
const LEVERAGE_MAX: f64 = 0.99;
/// A row of which no larger part is left counts as one without leverage.
const WEIGHT_MIN: f64 = 1e-3;
/// Targets are clipped here, in the scale that they come in.
const TARGET_MAX: f32 = 1e4;

/// The shape and the settings of a regression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Features of a row.
    pub n_features: usize,
    /// Targets of a row, regressed on the same features.
    pub n_outputs: usize,
    /// The factor on an example's weight with each later one; above 0.9, at most 1.
    pub forgetting: f64,
    /// The weight of the penalty on squared weights, larger than 0.
    pub ridge: f64,
}

/// A regression that learns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recursion {
    settings: Settings,
    /// Present from the first example on.
    matrices: Option<Matrices>,
    /// `C` at the last fold, `[n_outputs, n_features]`.
    moments: Vec<f64>,
    /// `[n_outputs, n_features]`.
    weight: Vec<f64>,
    /// Rows of features since the last fold, `[recent, n_features]`.
    recent: Vec<f64>,
    /// Their targets, `[recent, n_outputs]`.
    targets: Vec<f64>,
    /// With `P_s` of the last fold, `P = growth * (P_s - gains^T gains)`; `[recent, n_features]`.
    gains: Arc<Vec<f64>>,
    growth: f64,
    n_since_refresh: usize,
    /// The sum of squared errors that the batch problem leaves, and of the examples' weights.
    residual: f64,
    n_effective: f64,
}

#[derive(Clone, Debug, PartialEq)]
struct Matrices {
    /// `A` without the ridge, at the last fold.
    gram: Symmetric,
    /// `P` at the last fold; shared with served posteriors.
    inverse: Arc<Symmetric>,
}

impl Recursion {
    /// Weights zero.
    pub(crate) fn new(settings: Settings) -> Recursion {
        let n_weights = settings.n_outputs * settings.n_features;
        Recursion {
            settings,
            matrices: None,
            moments: vec![0.0; n_weights],
            weight: vec![0.0; n_weights],
            recent: Vec::new(),
            targets: Vec::new(),
            gains: Arc::default(),
            growth: 1.0,
            n_since_refresh: 0,
            residual: 0.0,
            n_effective: 0.0,
        }
    }

    /// Its shape and settings.
    pub(crate) fn settings(&self) -> Settings {
        self.settings
    }

    /// The estimate of every output, `[n_outputs]`.
    pub(crate) fn scores(&self, phi: &[f32]) -> Vec<f32> {
        let phi: Vec<f64> = phi.iter().map(|x| f64::from(*x)).collect();
        let scores = self.estimates(&phi).into_iter();
        scores.map(|score| score as f32).collect()
    }

    /// The estimates for a row as if it had not been learned, `n_since` examples ago with these
    /// targets, `[n_outputs]`: `(estimate - h y) / (1 - h)` with its leverage `h` (Golub, Heath and
    /// Wahba 1979), which is exact but for rounding, and for a row of which [`WEIGHT_MIN`] or less is left.
    pub(crate) fn estimates_without(&self, phi: &[f32], targets: &[f32], n_since: u64) -> Vec<f32> {
        let phi: Vec<f64> = phi.iter().map(|x| f64::from(*x)).collect();
        let weight = self.settings.forgetting.powf(n_since as f64);
        let leverage = match &self.matrices {
            Some(matrices) if weight > WEIGHT_MIN => {
                let mut spread = matrices.inverse.times(&phi);
                take_outer(&mut spread, &self.gains, &phi);
                (weight * self.growth * dot(&spread, &phi)).clamp(0.0, LEVERAGE_MAX)
            }
            _ => 0.0,
        };
        let estimates = self.estimates(&phi).into_iter().zip(targets);
        let without = |(estimate, target): (f64, &f32)| {
            (estimate - leverage * f64::from(*target)) / (1.0 - leverage)
        };
        estimates.map(|pair| without(pair) as f32).collect()
    }

    /// Takes other settings of the same shape; the weights follow at once.
    pub(crate) fn reconfigure(&mut self, forgetting: f64, ridge: f64) {
        let before = self.settings;
        if (before.forgetting, before.ridge) != (forgetting, ridge) {
            self.fold();
            self.settings.forgetting = forgetting;
            self.settings.ridge = ridge;
            self.refresh();
        }
    }

    /// The weights as they are served, `[n_outputs, n_features]`.
    pub(crate) fn served(&self) -> impl Iterator<Item = f32> {
        self.weight.iter().map(|weight| *weight as f32)
    }

    /// The posterior of the estimates, without a copy of the matrix.
    pub(crate) fn posterior(&self) -> Posterior {
        let (inverse, growth) = match &self.matrices {
            Some(matrices) => (Some(matrices.inverse.clone()), self.growth),
            None => (None, 1.0 / self.settings.ridge),
        };
        Posterior {
            inverse,
            gains: self.gains.clone(),
            growth,
            // One example of unit variance is presumed: targets are standardised.
            noise: (1.0 + self.residual) / (1.0 + self.n_effective),
        }
    }

    /// Learns one example, or several at once: `phi` `[rows, n_features]` and `targets`
    /// `[rows, n_outputs]`. False where a number is not finite, and then nothing has changed.
    pub(crate) fn observe(&mut self, phi: &[f32], targets: &[f32]) -> bool {
        let (n, n_outputs) = (self.settings.n_features, self.settings.n_outputs);
        debug_assert_eq!(phi.len() / n, targets.len() / n_outputs);
        if !phi.iter().chain(targets).all(|value| value.is_finite()) {
            return false;
        }
        let phi: Vec<f64> = phi.iter().map(|x| f64::from(*x)).collect();
        let clipped = targets.iter().map(|y| y.clamp(-TARGET_MAX, TARGET_MAX));
        let targets: Vec<f64> = clipped.map(f64::from).collect();
        if phi.len() / n < BLOCK_MIN {
            let examples = phi.chunks_exact(n).zip(targets.chunks_exact(n_outputs));
            examples.for_each(|(phi, targets)| self.take(phi, targets));
        } else {
            self.take_block(phi, targets);
        }
        true
    }

    /// One example that was learned had a target that was larger by `delta`: `C += phi delta`,
    /// `W += P phi delta`, and no new example is counted.
    pub(crate) fn correct(&mut self, phi: &[f32], output_index: usize, delta: f32) -> bool {
        if !phi.iter().all(|x| x.is_finite()) || !delta.is_finite() {
            return false;
        }
        let n = self.settings.n_features;
        let phi: Vec<f64> = phi.iter().map(|x| f64::from(*x)).collect();
        let spread = self.spread(&phi);
        let delta = f64::from(delta.clamp(-TARGET_MAX, TARGET_MAX));
        let of_output = output_index * n..(output_index + 1) * n;
        add_scaled(
            &mut self.weight[of_output.clone()],
            &spread,
            delta * self.growth,
        );
        // The moments stand at the last fold and will fade until the next.
        let faded = self.faded();
        add_scaled(&mut self.moments[of_output], &phi, delta * faded);
        true
    }

    /// Goes on as if these features had been zero in every example so far.
    pub(crate) fn forget_features(&mut self, features: &[usize]) {
        self.fold();
        let n = self.settings.n_features;
        if let Some(matrices) = &mut self.matrices {
            features
                .iter()
                .for_each(|feature| matrices.gram.clear(*feature));
        }
        for moments in self.moments.chunks_exact_mut(n) {
            features.iter().for_each(|feature| moments[*feature] = 0.0);
        }
        self.refresh();
    }

    /// The rest of an example's weight after so many later ones.
    pub(crate) fn left_after(&self, n_later: u64) -> f64 {
        self.settings.forgetting.powf(n_later as f64)
    }

    /// One example, of which a part `left` has not faded, had targets `after` `[n_outputs]` and not
    /// `before`: the weights become those of the batch problem with the targets that it had.
    /// False where a number is not finite, and then nothing has changed.
    pub(crate) fn amend(&mut self, phi: &[f32], [before, after]: [&[f32]; 2], left: f64) -> bool {
        let finite = phi.iter().chain(before).chain(after).all(|x| x.is_finite());
        if !finite || !left.is_finite() {
            return false;
        }
        let n = self.settings.n_features;
        let phi: Vec<f64> = phi.iter().map(|x| f64::from(*x)).collect();
        let spread = self.spread(&phi);
        let leverage = self.growth * dot(&spread, &phi).max(0.0);
        // An example of the batch has a leverage of one at most. Inputs are standardised a little
        // differently by now: as far as that makes it another example it was not learned.
        let left = left.min(1.0 / leverage.max(f64::MIN_POSITIVE));
        let (growth, faded) = (self.growth, self.faded());
        let estimates = self.estimates(&phi);
        let mut residual = 0.0;
        for (output, estimate) in estimates.into_iter().enumerate() {
            let held = |target: &[f32]| f64::from(target[output].clamp(-TARGET_MAX, TARGET_MAX));
            let (before, after) = (held(before), held(after));
            let delta = left * (after - before);
            if delta == 0.0 {
                continue;
            }
            residual += left * (after * after - before * before)
                - delta * (2.0 * estimate + delta * leverage);
            let of_output = output * n..(output + 1) * n;
            add_scaled(&mut self.weight[of_output.clone()], &spread, delta * growth);
            add_scaled(&mut self.moments[of_output], &phi, delta * faded);
        }
        self.residual = (self.residual + residual / self.settings.n_outputs as f64).max(0.0);
        true
    }

    /// Expresses the targets in another scale, in which target `y` of an output is `factor * y` and
    /// its shift; `shifts` `[n_outputs]`. Feature `bias` is one in every row; the penalty goes on to
    /// hold the weights at zero, which is the mean of the new scale.
    pub(crate) fn rescale(&mut self, factor: f64, shifts: &[f64], bias: usize) {
        if self.matrices.is_none() {
            return;
        }
        let n = self.settings.n_features;
        let mut unit = vec![0.0; n];
        unit[bias] = 1.0;
        let sums = self.matrices().gram.times(&unit);
        let spread = self.spread(&unit);
        let since_refresh = self.n_since_refresh as f64;
        let ridge = self.settings.ridge * self.settings.forgetting.powf(since_refresh);
        // A P = I and A = gram + ridge: P times the sum of all rows is the unit less P ridge.
        add_scaled(&mut unit, &spread, -ridge * self.growth);
        let weights = self.weight.chunks_exact_mut(n);
        let moments = self.moments.chunks_exact_mut(n);
        for ((weight, moments), shift) in weights.zip(moments).zip(shifts) {
            weight.iter_mut().for_each(|weight| *weight *= factor);
            add_scaled(weight, &unit, *shift);
            moments.iter_mut().for_each(|moment| *moment *= factor);
            add_scaled(moments, &sums, *shift);
        }
        for targets in self.targets.chunks_exact_mut(shifts.len()) {
            let each = targets.iter_mut().zip(shifts);
            each.for_each(|(target, shift)| *target = factor * *target + shift);
        }
        self.residual *= factor * factor;
    }

    /// `g^-n` over the examples since the last fold.
    fn faded(&self) -> f64 {
        let n_recent = self.recent.len() / self.settings.n_features;
        self.settings.forgetting.powi(-(n_recent as i32))
    }

    fn estimates(&self, phi: &[f64]) -> Vec<f64> {
        let rows = self.weight.chunks_exact(self.settings.n_features);
        rows.map(|weight| dot(weight, phi)).collect()
    }

    fn matrices(&mut self) -> &mut Matrices {
        let (n, ridge) = (self.settings.n_features, self.settings.ridge);
        self.matrices.get_or_insert_with(|| Matrices {
            gram: Symmetric::identity(n, 0.0),
            inverse: Arc::new(Symmetric::identity(n, 1.0 / ridge)),
        })
    }

    /// `P phi / growth`.
    fn spread(&mut self, phi: &[f64]) -> Vec<f64> {
        let mut spread = self.matrices().inverse.times(phi);
        take_outer(&mut spread, &self.gains, phi);
        spread
    }

    fn take(&mut self, phi: &[f64], targets: &[f64]) {
        let forgetting = self.settings.forgetting;
        let spread = self.spread(phi);
        let surprise = forgetting + self.growth * dot(&spread, phi).max(0.0);
        let step = self.growth / surprise;
        let estimates = self.estimates(phi);
        let rows = self.weight.chunks_exact_mut(phi.len());
        let mut residual = 0.0;
        for ((weight, target), estimate) in rows.zip(targets).zip(estimates) {
            let error = target - estimate;
            if error != 0.0 {
                add_scaled(weight, &spread, step * error);
            }
            residual += error * error * forgetting / surprise;
        }
        let scale = step.sqrt();
        Arc::make_mut(&mut self.gains).extend(spread.iter().map(|value| scale * value));
        self.remember(phi, targets, residual);
    }

    /// Keeps examples that the weights and gains have taken in.
    fn remember(&mut self, phi: &[f64], targets: &[f64], residual: f64) {
        let n_rows = phi.len() / self.settings.n_features;
        let fade = self.settings.forgetting.powi(n_rows as i32);
        let residual = residual / self.settings.n_outputs as f64;
        self.residual = fade * self.residual + residual;
        self.n_effective = fade * self.n_effective
            + (0..n_rows).fold(0.0, |sum, _| sum * self.settings.forgetting + 1.0);
        self.growth /= fade;
        self.recent.extend_from_slice(phi);
        self.targets.extend_from_slice(targets);
        self.n_since_refresh = self.n_since_refresh.saturating_add(n_rows);
        if self.n_since_refresh >= self.refresh_every() {
            self.refresh();
        } else if self.gains.len() >= FOLD * self.settings.n_features {
            self.fold();
        }
    }

    /// Examples after which `P` is computed anew: so many that it costs little beside them, so
    /// few that the ridge does not fade below half.
    fn refresh_every(&self) -> usize {
        let often = (4 * self.settings.n_features).max(1024);
        match self.settings.forgetting {
            forgetting if forgetting < 1.0 => {
                let half_life = std::f64::consts::LN_2 / -forgetting.ln();
                often.min(half_life.max(1.0) as usize)
            }
            _ => often,
        }
    }

    /// Takes recent examples into the matrices.
    fn fold(&mut self) {
        let (n, n_outputs) = (self.settings.n_features, self.settings.n_outputs);
        let n_recent = self.recent.len() / n;
        if n_recent == 0 {
            return;
        }
        let keep = self.settings.forgetting.powi(n_recent as i32);
        let (mut recent, mut targets) = (
            std::mem::take(&mut self.recent),
            std::mem::take(&mut self.targets),
        );
        let (gains, growth) = (std::mem::take(&mut self.gains), self.growth);
        age(&mut recent, n, self.settings.forgetting);
        age(&mut targets, n_outputs, self.settings.forgetting);
        let matrices = self.matrices();
        let added = Blend { keep, factor: 1.0 };
        matrices.gram.add_outer(added, &recent);
        let taken = Blend {
            keep: growth,
            factor: -growth,
        };
        Arc::make_mut(&mut matrices.inverse).add_outer(taken, &gains);
        let factors = [View::columns(&targets, n_outputs), View::rows(&recent, n)];
        multiply(
            &mut self.moments,
            n,
            added,
            factors,
            shape([n_outputs, n_recent, n]),
        );
        self.growth = 1.0;
        (self.recent, self.targets, self.gains) = (recent, targets, gains);
        self.recent.clear();
        self.targets.clear();
        match Arc::get_mut(&mut self.gains) {
            Some(gains) => gains.clear(),
            // A served posterior shares them.
            None => self.gains = Arc::default(),
        }
    }

    /// Computes `P` and `W` from the Gram matrix and the moments.
    fn refresh(&mut self) {
        self.fold();
        self.n_since_refresh = 0;
        let Some(matrices) = &mut self.matrices else {
            return;
        };
        let ridge = (self.settings.ridge).max(ROUNDING * matrices.gram.diagonal_max());
        let mut inverse = matrices.gram.clone();
        inverse.add_diagonal(ridge);
        inverse.invert(ridge);
        self.weight = inverse.times_rows(&self.moments);
        // One step of refinement takes most of the rounding error.
        let seen = matrices.gram.times_rows(&self.weight);
        let with_ridge = seen.iter().zip(&self.weight).map(|(s, w)| s + ridge * w);
        let left = self.moments.iter().zip(with_ridge).map(|(c, s)| c - s);
        let left: Vec<f64> = left.collect();
        add_scaled(&mut self.weight, &inverse.times_rows(&left), 1.0);
        matrices.inverse = Arc::new(inverse);
    }
}

fn shape([n_rows, n_inner, n_columns]: [usize; 3]) -> Shape {
    Shape {
        n_rows,
        n_inner,
        n_columns,
    }
}

/// Multiplies each row by the root of its weight: the last row's is one.
fn age(rows: &mut [f64], width: usize, forgetting: f64) {
    if forgetting < 1.0 {
        let mut factor = 1.0;
        for row in rows.chunks_exact_mut(width).rev() {
            row.iter_mut().for_each(|value| *value *= factor);
            factor *= forgetting.sqrt();
        }
    }
}

#[cfg(test)]
mod tests;
