//! That a few wild targets do not move a regression.

use perennial::event::{Outputs, Signal};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::value;
use crate::support::cases::{SEED, STRATEGIES, case, gradient, remembered_max};
use crate::support::{LearnerHarness, rows};

const N_ROWS: usize = 3000;

/// The median absolute error over the last rows, of which each hundredth before was given ten
/// thousand times too large if `wild`.
fn median_error(toml: &str, wild: bool) -> f64 {
    let mut harness = LearnerHarness::new(toml);
    let (mut errors, mut rng) = (Vec::new(), ChaCha8Rng::seed_from_u64(SEED));
    for (index, (batch, _)) in rows(N_ROWS, 0.3).enumerate() {
        let prediction = harness.predict(batch.clone());
        let noise = rng.random_range(-1.0..1.0);
        let (answered, truth) = (answered(&prediction.outputs), value(&batch) + noise);
        if index >= N_ROWS - 600 {
            errors.push((answered - truth).abs());
        }
        let target = if wild && index % 100 == 37 {
            1e4 * truth
        } else {
            truth
        };
        harness.submit(prediction.ids[0], Signal::Value(target));
    }
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

fn answered(outputs: &Outputs) -> f64 {
    match outputs {
        Outputs::Values(values) => values[0],
        _ => panic!("a regression"),
    }
}

#[test]
fn a_hundredth_of_wild_targets_leaves_a_regression_near_the_clean_one() {
    let mut learners = vec![String::new(), "[learner]\nkind = \"analytic\"\n".to_owned()];
    for network in ["linear", "mlp"] {
        let strategies = STRATEGIES.iter();
        learners.extend(strategies.map(|strategy| gradient(network, "sgd", strategy)));
    }
    for learner in learners {
        let case = case("regression", &learner, SEED, remembered_max("er"));
        let [clean, wild] = [false, true].map(|wild| median_error(&case.toml, wild));
        println!("{clean:.4} clean, {wild:.4} wild: {}", case.name);
        assert!(wild < 1.2 * clean, "{clean}, {wild}: {}", case.name);
    }
}
