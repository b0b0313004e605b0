//! A random projection that is never written out: Hadamard matrices with random signs between
//! them (Yu et al. 2016, eq. 8), in as many blocks as there are units.
//!
//! Departure: a row is stretched so that a unit-variance input gives unit-variance units; the
//! lengths of the rows of a Gaussian matrix are not drawn, since ReLU units scale.

use std::sync::Arc;

use pulp::Arch;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Signs and transforms of each block.
const ROUNDS: usize = 3;

/// `[n_units, n_inputs]`, as a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Hadamard {
    /// The number of inputs, rounded up to a power of two: the units of one block.
    width: usize,
    /// What makes the three transforms keep the scale that was asked for.
    factor: f32,
    /// `[blocks, ROUNDS, width]` of 1 or -1.
    signs: Arc<[f32]>,
}

impl Hadamard {
    /// Rows of length `scale * sqrt(n_inputs)` as those of a Gaussian matrix would have.
    pub fn new(n_inputs: usize, n_units: usize, scale: f32, rng: &mut ChaCha8Rng) -> Hadamard {
        let width = n_inputs.next_power_of_two();
        let n_signs = n_units.div_ceil(width) * ROUNDS * width;
        let sign = |_| if rng.random::<bool>() { 1.0 } else { -1.0 };
        // Each transform multiplies lengths by sqrt(width); the stretch takes one of them back.
        Hadamard {
            width,
            factor: scale / width as f32,
            signs: (0..n_signs).map(sign).collect(),
        }
    }

    /// Adds the projection of `inputs` to `units`.
    pub fn add(&self, units: &mut [f32], inputs: &[f32]) {
        let mut buffer = vec![0.0f32; self.width];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let blocks = self.signs.chunks_exact(ROUNDS * self.width);
                for (units, signs) in units.chunks_mut(self.width).zip(blocks) {
                    buffer.fill(0.0);
                    buffer[..inputs.len()].copy_from_slice(inputs);
                    for signs in signs.chunks_exact(self.width) {
                        for (value, sign) in buffer.iter_mut().zip(signs) {
                            *value *= sign;
                        }
                        transform(&mut buffer);
                    }
                    for (unit, value) in units.iter_mut().zip(&buffer) {
                        *unit += self.factor * value;
                    }
                }
            },
        );
    }
}

/// The Walsh-Hadamard transform, not normalised.
#[inline(always)]
fn transform(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_transform_is_its_own_inverse() {
        let mut values: Vec<f32> = (0..64).map(|i| (i * i % 17) as f32).collect();
        let before = values.clone();
        transform(&mut values);
        assert_eq!(values[0], before.iter().sum::<f32>());
        transform(&mut values);
        let expected: Vec<f32> = before.iter().map(|value| 64.0 * value).collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn lengths_are_kept() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let hadamard = Hadamard::new(100, 256, 0.1, &mut rng);
        let inputs: Vec<f32> = (0..100).map(|i| (i as f32).sin()).collect();
        let length: f32 = inputs.iter().map(|x| x * x).sum();
        let mut units = vec![0.0; 256];
        hadamard.add(&mut units, &inputs);
        let square: f32 = units.iter().map(|u| u * u).sum::<f32>() / 256.0;
        assert!((square / (0.01 * length) - 1.0).abs() < 1e-4, "{square}");
    }
}
