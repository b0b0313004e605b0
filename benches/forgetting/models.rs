//! The descriptions that are measured: every option that is set stands here.
//!
//! Invariant: an option that is not written is the default that users get.

use crate::events::of_images;

/// How a strategy is run.
pub(crate) struct Setting {
    pub strategy: &'static str,
    pub learning_rate: f64,
    /// Remembered examples in an update.
    pub replay: usize,
    /// Whether pixels are standardised, or taken as they are, between 0 and 1.
    pub standardise: bool,
}

/// MLP 784-100-100-10 under plain SGD, `per_update` new examples an update, `slots` remembered.
pub(crate) fn network(setting: &Setting, per_update: usize, slots: usize) -> String {
    let Setting {
        strategy,
        learning_rate,
        replay,
        standardise,
    } = setting;
    format!(
        "{}standardise = {standardise}\n[network]\nkind = \"mlp\"\nhidden = [100, 100]\n[learner]\nkind = \"gradient\"\n\
         optimizer = \"sgd\"\nlearning_rate = {learning_rate}\nexamples_per_update = {per_update}\n\
         [memory]\nstrategy = \"{strategy}\"\nshort_term = 0\nlong_term = {slots}\n\
         replay = {replay}\n",
        of_images("classification", "classes")
    )
}

/// Ridge regression on so many random features.
pub(crate) fn analytic(features: usize) -> String {
    let head = of_images("classification", "classes");
    format!("{head}[learner]\nkind = \"analytic\"\nfeatures = {features}\n")
}

/// Ridge regression on rows that are declared as images.
pub(crate) fn analytic_of_images(features: usize) -> String {
    analytic(features).replace("length = 784", "length = 784\nshape = [28, 28]")
}

/// Ten arms, under this policy and learner.
pub(crate) fn arms(rest: &str) -> String {
    format!("{}{rest}", of_images("bandit", "actions"))
}
