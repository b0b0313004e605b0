//! Random features: a row's inputs, and seeded ReLU units of all of them.
//!
//! `phi = [1, dense inputs, sketch, max(0, W x + b)]` with `x = [dense inputs, sketch]`. The
//! sketch carries the hashed inputs in few numbers: each bucket adds its value to four seeded
//! places with seeded signs (Charikar, Chen and Farach-Colton 2002; Kane and Nelson 2014). `W`
//! is Gaussian (Rahimi and Recht 2008; Huang, Zhu and Siew 2006). For wide inputs it is
//! a product of Hadamard matrices and random signs (Yu et al. 2016, structured orthogonal
//! features), which costs `log` of the width for each unit and takes no room.
//!
//! Invariant: a function of its form alone, so nothing of it is ever saved.

mod hadamard;

use std::sync::Arc;

use pulp::Arch;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::model::encoders::features::Encoded;
use crate::model::linear_algebra::gaussian::gaussian;
use hadamard::Hadamard;

/// More dense inputs than these are seen by the units alone.
const OWN_MAX: usize = 256;
/// Places that each bucket is written to.
const PLACES: usize = 4;
/// The width of the sketch where there are no units.
const SKETCH_ALONE: usize = 256;
/// A Gaussian matrix is drawn for so many inputs, or so many weights; beyond, a structured one.
const GAUSSIAN_INPUTS: usize = 64;
const GAUSSIAN_WEIGHTS: usize = 1 << 17;
/// The deviation of the units' thresholds: wide inputs are all about as long, and thresholds that
/// differ much would leave many units always on or always off (on MNIST with 2,000 units,
/// 96.6 % with 0.1 and 96.3 % with 1).
const BIAS: f32 = 1.0;
const BIAS_WIDE: f32 = 0.1;
/// Features are clipped here: sums of their squares stay finite for ever.
const CLIP: f32 = 100.0;

/// The form of random features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomFeatureSettings {
    /// The seed of the units' weights and the sketch's places.
    pub seed: u64,
    /// Dense inputs of a row.
    pub n_dense: usize,
    /// Buckets of hashed inputs; 0 where nothing is hashed.
    pub n_buckets: usize,
    /// ReLU units, where there is room.
    pub n_units: usize,
    /// The most features in all, at least 1.
    pub n_features_max: usize,
}

/// Random features of encoded rows.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomFeatures {
    form: RandomFeatureSettings,
    /// True if the inputs stand among the features.
    own: bool,
    n_sketch: usize,
    n_units: usize,
    /// `[n_units]`.
    bias: Arc<[f32]>,
    projection: Projection,
}

#[derive(Clone, Debug, PartialEq)]
enum Projection {
    /// `[inputs, n_units]`.
    Gaussian(Arc<[f32]>),
    Structured(Hadamard),
}

impl RandomFeatures {
    /// The features of this form. Where they would be more than its `n_features_max`, units
    /// give way first, then the inputs themselves.
    pub fn new(form: RandomFeatureSettings) -> RandomFeatures {
        let n_free = form.n_features_max.max(1) - 1;
        let n_sketch = match form.n_buckets {
            0 => 0,
            _ => sketch_width(form.n_units, n_free),
        };
        let n_inputs = form.n_dense + n_sketch;
        let narrow = form.n_dense <= OWN_MAX || form.n_units == 0;
        let own = narrow && 4 * n_inputs <= 3 * n_free;
        let n_wanted = match (own, form.n_units) {
            (false, 0) => n_free,
            (_, n_units) => n_units,
        };
        let n_units = if own {
            n_wanted.min(n_free - n_inputs)
        } else {
            n_wanted.min(n_free)
        };
        let mut rng = ChaCha8Rng::seed_from_u64(form.seed);
        let n_weights = n_inputs * n_units;
        let gaussian_fits = n_inputs <= GAUSSIAN_INPUTS || n_weights <= GAUSSIAN_WEIGHTS;
        let (deviation, projection) = if gaussian_fits {
            // The expected squared length of a row: one for each standardised input, about one
            // for all that is hashed.
            let length = (form.n_dense + usize::from(n_sketch > 0)).max(1) as f32;
            let draw = |_| gaussian(&mut rng) / length.sqrt();
            let weights = (0..n_weights).map(draw).collect();
            (BIAS, Projection::Gaussian(weights))
        } else {
            let hadamard = Hadamard::new([form.n_dense, n_sketch], n_units, &mut rng);
            (BIAS_WIDE, Projection::Structured(hadamard))
        };
        let bias = (0..n_units).map(|_| deviation * gaussian(&mut rng));
        let bias = bias.collect();
        RandomFeatures {
            form,
            own,
            n_sketch,
            n_units,
            bias,
            projection,
        }
    }

    /// Their form.
    pub fn form(&self) -> RandomFeatureSettings {
        self.form
    }

    /// The number of features of a row.
    pub(crate) fn n_features(&self) -> usize {
        let n_own = if self.own {
            self.form.n_dense + self.n_sketch
        } else {
            0
        };
        1 + n_own + self.n_units
    }

    /// The features of a row, `[n_features]`.
    pub(crate) fn phi(&self, row: &Encoded) -> Vec<f32> {
        let mut inputs = Vec::with_capacity(self.form.n_dense + self.n_sketch);
        inputs.extend_from_slice(&row.dense);
        inputs.resize(self.form.n_dense + self.n_sketch, 0.0);
        self.sketch(&row.sparse, &mut inputs[self.form.n_dense..]);
        let mut phi = Vec::with_capacity(self.n_features());
        phi.push(1.0);
        if self.own {
            phi.extend_from_slice(&inputs);
        }
        let start = phi.len();
        phi.extend_from_slice(&self.bias);
        match &self.projection {
            Projection::Gaussian(weights) => add_products(&mut phi[start..], &inputs, weights),
            Projection::Structured(hadamard) => hadamard.add(&mut phi[start..], &inputs),
        }
        for unit in &mut phi[start..] {
            *unit = unit.max(0.0);
        }
        phi.iter_mut()
            .for_each(|feature| *feature = feature.clamp(-CLIP, CLIP));
        phi
    }

    /// Adds every bucket's value to its places.
    fn sketch(&self, sparse: &[(u32, f32)], sketch: &mut [f32]) {
        let width = self.n_sketch / PLACES;
        for (bucket, value) in sparse {
            let mut hash = mix(self.form.seed ^ mix(u64::from(*bucket)));
            for part in sketch.chunks_exact_mut(width.max(1)).take(PLACES) {
                let sign = if hash & 1 == 0 { 0.5 } else { -0.5 };
                part[(hash >> 1) as usize % width] += sign * value;
                hash >>= 16;
            }
        }
    }
}

/// A power of two of at least four: as wide as half of the units within 64 and 2048, where so
/// many features are free.
fn sketch_width(n_units: usize, n_free: usize) -> usize {
    let wanted = match n_units {
        0 => SKETCH_ALONE,
        n_units => (n_units / 2).clamp(64, 2048),
    };
    1 << wanted.min(n_free.max(8) / 2).ilog2()
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Adds `inputs` `[n]` times `weights` `[n, units]`.
fn add_products(units: &mut [f32], inputs: &[f32], weights: &[f32]) {
    if units.is_empty() {
        return;
    }
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (x, weights) in inputs.iter().zip(weights.chunks_exact(units.len())) {
                if *x != 0.0 {
                    for (unit, weight) in units.iter_mut().zip(weights) {
                        *unit += x * weight;
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(n_dense: usize, n_buckets: usize, n_units: usize) -> RandomFeatureSettings {
        RandomFeatureSettings {
            seed: 7,
            n_dense,
            n_buckets,
            n_units,
            n_features_max: 1 << 20,
        }
    }

    #[test]
    fn the_form_decides_how_many_there_are() {
        let check = |form: RandomFeatureSettings, expected| {
            assert_eq!(RandomFeatures::new(form).n_features(), expected, "{form:?}");
        };
        check(form(10, 0, 200), 1 + 10 + 200);
        check(form(0, 1 << 10, 200), 1 + 64 + 200);
        check(form(784, 0, 4000), 1 + 4000);
        check(form(784, 0, 0), 1 + 784);
        let narrow = |form: RandomFeatureSettings, n_features_max| RandomFeatureSettings {
            n_features_max,
            ..form
        };
        check(narrow(form(10, 0, 200), 100), 100);
        check(narrow(form(10, 1 << 10, 200), 12), 12);
        check(narrow(form(500, 0, 0), 100), 100);
        check(narrow(form(10, 1 << 10, 200), 1), 1);
    }

    #[test]
    fn the_seed_decides_the_features() {
        for form in [form(3, 64, 50), form(784, 64, 1000)] {
            let row = Encoded {
                dense: (0..form.n_dense).map(|i| i as f32 / 100.0 - 1.0).collect(),
                sparse: vec![(5, 1.0), (9, -0.5)],
                past: None,
            };
            let phi = RandomFeatures::new(form).phi(&row);
            assert_eq!(phi.len(), RandomFeatures::new(form).n_features());
            assert_eq!(phi, RandomFeatures::new(form).phi(&row));
            let other = RandomFeatureSettings { seed: 8, ..form };
            assert_ne!(phi, RandomFeatures::new(other).phi(&row));
        }
    }

    #[test]
    fn units_are_of_order_one_and_feel_hashed_inputs() {
        for (n_dense, n_units) in [(4, 400), (200, 400), (784, 2000)] {
            let features = RandomFeatures::new(form(n_dense, 256, n_units));
            let row = |bucket| Encoded {
                dense: (0..n_dense)
                    .map(|i| if i % 3 == 0 { 1.0 } else { -1.0 })
                    .collect(),
                sparse: vec![(bucket, 1.0)],
                past: None,
            };
            let phi = features.phi(&row(3));
            let units = &phi[phi.len() - n_units..];
            let square = units.iter().map(|unit| unit * unit).sum::<f32>() / n_units as f32;
            // Half of the variance of input and threshold together.
            assert!((0.3..1.5).contains(&square), "{n_dense}: {square}");
            let other = features.phi(&row(4));
            let changed = phi.iter().zip(&other).filter(|(a, b)| a != b).count();
            assert!(changed > n_units / 4, "{n_dense}: {changed}");
        }
    }
}
