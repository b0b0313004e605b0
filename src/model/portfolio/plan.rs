//! Which members a model gets: what its inputs' shape and a budget of work allow.
//!
//! Invariant: a function of the description alone, so nothing of it is saved.

use super::super::ridge::Form;
use super::super::spec::{Gradient, InputKind, Optimizer, Spec, Task};

/// The step sizes of the linear members, for rows of squared length one: a factor of four apart,
/// so that one of them is near the best for any stream.
const STEPS: [f32; 7] = [0.01, 0.04, 0.16, 0.6, 2.5, 10.0, 40.0];
/// Texts want large steps, and each step size costs a pass over all n-grams and classes.
const STEPS_TEXT: [f32; 4] = [2.5, 10.0, 40.0, 160.0];
/// Newest examples that the two neighbour members see.
pub const WINDOWS: [usize; 2] = [200, 1000];
/// Features of the ridge regressions: their work is the square of it.
const RIDGE_NARROW: usize = 160;
const RIDGE_WIDE: usize = 400;
/// What the second one multiplies the weight of an example by with each later one.
pub const FORGETTING: f64 = 0.999;
/// From so many dense inputs on, a row counts as wide.
const WIDE: usize = 64;
/// The hidden layer of the network that wide inputs get.
const HIDDEN: usize = 128;

/// The members of a portfolio.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Of the linear members, for rows of squared length one.
    pub steps: &'static [f32],
    /// The features of the ridge regressions.
    pub ridge: Option<Form>,
    /// What each of them multiplies the weight of an example by with each later one.
    pub forgetting: &'static [f64],
    /// Settings of the network.
    pub network: Option<Gradient>,
    /// Whether one repeats the newest truth.
    pub last: bool,
}

impl Plan {
    /// For this description, whose rows have `n_dense` dense inputs.
    pub fn new(spec: &Spec, n_dense: usize) -> Plan {
        let has = |kind: fn(&InputKind) -> bool| spec.inputs.iter().any(|input| kind(&input.kind));
        let text = has(|kind| matches!(kind, InputKind::Text));
        let hashed = text || has(|kind| matches!(kind, InputKind::Category));
        let bandit = matches!(spec.task, Task::Bandit { .. });
        let wide = n_dense >= WIDE;
        let n_features = match wide {
            true => RIDGE_WIDE,
            false => RIDGE_NARROW,
        };
        Plan {
            steps: match text {
                true => &STEPS_TEXT,
                false => &STEPS,
            },
            ridge: (!text && !bandit).then_some(Form {
                seed: spec.seed,
                n_dense,
                n_buckets: usize::from(hashed),
                n_units: n_features,
                n_features_max: n_features,
            }),
            forgetting: match wide {
                true => &[1.0],
                false => &[1.0, FORGETTING],
            },
            network: (wide && !hashed).then_some(Gradient {
                hidden: vec![HIDDEN],
                optimizer: Optimizer::Sgd,
                learning_rate: 0.05,
                examples_per_update: 1,
            }),
            last: !bandit,
        }
    }
}
