//! Standard normal deviates.
//!
//! Invariant: a function of the generator's state alone.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A standard normal deviate (Box and Muller 1958).
pub(crate) fn gaussian(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
}
