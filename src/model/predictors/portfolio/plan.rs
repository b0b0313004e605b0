//! Which members a model gets: what its inputs' shape and a budget of work allow.
//!
//! Invariant: a function of the description alone, so nothing of it is saved.

use super::super::ridge::Form;
use crate::model::spec::{Gradient, InputKind, Optimizer, Spec, Task};

/// The step sizes of the linear members, for rows of squared length one: a factor of four apart,
/// so that one of them is near the best for any stream.
const STEPS: [f32; 7] = [0.01, 0.04, 0.16, 0.6, 2.5, 10.0, 40.0];
/// Texts want large steps, and each step size costs a pass over all n-grams and classes.
const STEPS_TEXT: [f32; 4] = [1.25, 2.5, 5.0, 10.0];
/// Rewards that are regressed: steps larger than one would pass the reward by.
const STEPS_REWARD: [f32; 2] = [0.04, 0.2];
/// Rewards as shares of their range, on a logistic scale.
const STEPS_LOGISTIC: [f32; 4] = [0.16, 0.6, 2.5, 10.0];
const STEPS_LOGISTIC_TEXT: [f32; 3] = [2.5, 5.0, 10.0];
/// How fast the bias of a linear member follows. A text's n-grams share a length of one: a bias
/// that moves as fast as all of them together forgets the rarer classes (banking77, one pass at
/// step 5: accuracy 0.823 without a bias, 0.821 at 0.01, 0.808 at 0.1, 0.646 at 1 and step 10).
const BIAS_RATE: f32 = 1.0;
const BIAS_RATE_TEXT: f32 = 0.01;
/// Newest examples that the two neighbour members see.
const WINDOWS: [usize; 2] = [200, 1000];
/// Features of the ridge regressions: their work is the square of it.
const RIDGE_NARROW: usize = 160;
const RIDGE_WIDE: usize = 400;
/// The same where an encoder embeds texts, which costs more than they do (banking77 through MiniLM,
/// one pass, accuracy of the regression alone with 400, 1200 and 1600: 0.855, 0.880, 0.881).
const RIDGE_EMBEDDED: usize = 1600;
/// What the second one multiplies the weight of an example by with each later one.
pub const FORGETTING: f64 = 0.999;
/// From so many dense inputs on, a row counts as wide.
const WIDE: usize = 64;
/// A bandit with more actions than these has logistic members alone. What an action earns is told
/// too rarely for the others: they expect the mean of what they have not seen, and mixed with
/// them a logistic member tries too little (banking77 as 77 arms, rewards alone: mean reward
/// 0.16 to 0.25 with them, 0.27 to 0.29 without).
const MANY_ACTIONS: usize = 32;
/// The hidden layer of the network that wide inputs get; rewards tell less than labels.
const HIDDEN: usize = 128;
const HIDDEN_REWARD: usize = 256;
/// The squared length of the rows that a network of rewards sees: a step moves what it gives as
/// far as its rows are long, and with those of 784 standardised pixels it loses itself (MNIST as
/// ten arms: accuracy 0.10 at the end as they are, 0.95 at this length).
const LENGTH_REWARD: f32 = 80.0;

/// The members of a portfolio.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whether rewards are learned.
    pub bandit: bool,
    /// Of the linear members, for rows of squared length one.
    pub steps: &'static [f32],
    /// Of the logistic members, which only a bandit has.
    pub logistic: &'static [f32],
    /// How fast the bias of both follows, beside the weight of an input that is one.
    pub bias_rate: f32,
    /// Newest examples that each neighbour member sees.
    pub windows: &'static [usize],
    /// The features of the ridge regressions.
    pub ridge: Option<Form>,
    /// What each of them multiplies the weight of an example by with each later one.
    pub forgetting: &'static [f64],
    /// Whether one more ridge regression takes rewards as if one action were right at a time.
    pub exclusive: bool,
    /// Settings of the network.
    pub network: Option<Gradient>,
    /// What the dense inputs are multiplied by before the network sees them.
    pub network_scale: f32,
    /// Whether one repeats the newest truth.
    pub last: bool,
    /// Whether linear members and ridge regressions see the newest truth as an input.
    pub sees_last: bool,
    /// Whether one stacks the others. Not for a bandit: it would be fitted to the actions that
    /// were chosen, and believed of all.
    pub stack: bool,
}

impl Plan {
    /// For this description, whose rows have `n_dense` dense inputs.
    pub fn new(spec: &Spec, n_dense: usize) -> Plan {
        let has = |kind: fn(&InputKind) -> bool| spec.inputs.iter().any(|input| kind(&input.kind));
        let text = has(|kind| matches!(kind, InputKind::Text));
        let hashed = text || has(|kind| matches!(kind, InputKind::Category));
        let bandit = matches!(spec.task, Task::Bandit { .. });
        let many = bandit && spec.task.n_outputs() > MANY_ACTIONS;
        let regression = matches!(spec.task, Task::Regression);
        let wide = n_dense >= WIDE;
        let embedded = has(|kind| matches!(kind, InputKind::Embedded { .. }));
        let n_features = match (embedded, wide) {
            (true, _) => RIDGE_EMBEDDED,
            (false, true) => RIDGE_WIDE,
            (false, false) => RIDGE_NARROW,
        };
        Plan {
            bandit,
            steps: match (bandit, text) {
                (true, _) if many => &[],
                (true, _) => &STEPS_REWARD,
                (false, true) => &STEPS_TEXT,
                (false, false) => &STEPS,
            },
            logistic: match (bandit, text) {
                (true, true) => &STEPS_LOGISTIC_TEXT,
                (true, false) => &STEPS_LOGISTIC,
                (false, _) => &[],
            },
            bias_rate: match text {
                true => BIAS_RATE_TEXT,
                false => BIAS_RATE,
            },
            windows: match many {
                true => &[],
                false => &WINDOWS,
            },
            ridge: (!text && !many).then_some(Form {
                seed: spec.seed,
                n_dense: n_dense + usize::from(regression),
                n_buckets: usize::from(hashed),
                n_units: n_features,
                n_features_max: n_features,
            }),
            forgetting: match wide {
                true => &[1.0],
                false => &[1.0, FORGETTING],
            },
            exclusive: bandit && !text && !many,
            network: (wide && !hashed && !many).then_some(Gradient {
                weights: None,
                hidden: vec![if bandit { HIDDEN_REWARD } else { HIDDEN }],
                optimizer: Optimizer::Sgd,
                learning_rate: 0.05,
                examples_per_update: 1,
            }),
            network_scale: if bandit { shortening(n_dense) } else { 1.0 },
            last: !bandit,
            sees_last: regression,
            stack: !bandit,
        }
    }

    /// How many ridge regressions there are, if any.
    pub fn n_ridges(&self) -> usize {
        self.forgetting.len() + usize::from(self.exclusive)
    }

    /// How many members stand in the bank: linear ones, then logistic ones.
    pub fn n_bank(&self) -> usize {
        self.steps.len() + self.logistic.len()
    }
}

/// What brings rows of so many standardised inputs to the length that rewards are learned at.
fn shortening(n_dense: usize) -> f32 {
    (LENGTH_REWARD / n_dense.max(1) as f32).sqrt().min(1.0)
}
