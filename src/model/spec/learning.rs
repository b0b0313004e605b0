//! The learning of a model, as described: the kind of its learner, and its memory.
//!
//! Invariant: settings are data; the learners give them their meaning.

use std::collections::BTreeMap;

use super::input::PinnedFile;

/// The kind of a model's learner.
#[derive(Clone, Debug, PartialEq)]
pub enum LearnerKind {
    /// A portfolio mixed by its own losses.
    Auto(Keep),
    /// One network, trained by gradient steps.
    Gradient(Gradient),
    /// Ridge regression on random features, by recursion.
    Analytic(Analytic),
    /// The newest examples; the nearest of them answer.
    Neighbours(Neighbourhood),
}

/// The balance of `kind = "auto"` between the examples that come and those that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest examples alone decide.
    Recent,
    /// Both decide.
    Balanced,
    /// The answer is the one that keeps best.
    Everything,
}

/// The rule by which the answer of a classifier follows from its probabilities.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Costs {
    /// The likeliest class is answered.
    #[default]
    None,
    /// Missing a class costs the more, the rarer it is.
    Balanced,
    /// The cost of missing a class, by its name; 1 of the others.
    Given(BTreeMap<String, f64>),
}

/// Settings of `kind = "neighbours"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbourhood {
    /// Examples that are remembered, 1 to 1,000,000; the oldest leaves.
    pub examples: usize,
    /// The number of the nearest rows that answer, 1 to 1000.
    pub nearest: usize,
}

/// Settings of `kind = "gradient"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// Widths of the hidden layers; empty for a linear network.
    pub hidden: Vec<usize>,
    /// The weights that it starts with; drawn by the seed where none are named. With them, numbers
    /// and vectors are taken as they are, and so are values to be predicted.
    pub weights: Option<PinnedFile>,
    /// The rule that turns gradients into steps.
    pub optimizer: Optimizer,
    /// Larger than 0, at most 10.
    pub learning_rate: f32,
    /// New examples that make up one update, 1 to 4096.
    pub examples_per_update: usize,
}

/// Settings of `kind = "analytic"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Analytic {
    /// Random ReLU units beside the inputs, 0 to 16384; fewer where matrices for all actions
    /// would take more than 512 MiB.
    pub features: usize,
    /// The factor on an example's weight with each later one; above 0.9, at most 1.
    pub forgetting: f64,
    /// The weight of the penalty on squared weights, above 0, at most 1e9.
    pub ridge: f64,
    /// New examples that make up one update, 1 to 4096; by the number of features where it is
    /// not set.
    pub examples_per_update: Option<usize>,
}

/// The rule that turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// Plain stochastic gradient descent.
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW,
}

/// The memory of examples that are learned again.
#[derive(Clone, Debug, PartialEq)]
pub struct MemorySettings {
    /// The way of remembered examples into an update.
    pub strategy: Strategy,
    /// Slots of the recent examples, 0 to 1,000,000.
    pub short_term: usize,
    /// Slots of the class-balanced reservoir, 1 to 1,000,000.
    pub long_term: usize,
    /// Examples replayed with each update, 1 to 4096.
    pub replay: usize,
}

/// The way of remembered examples into an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Not at all.
    None,
    /// Experience replay: their loss is added as a mean of its own.
    Er,
    /// Experience replay whose new examples compete only among the classes of late (Caccia et al.
    /// 2022).
    ErAce,
    /// Dark experience replay (Buzzega et al. 2020): also the outputs they had when remembered.
    DerPlusPlus,
    /// Averages over the weights serve, and anchor the replayed examples (Arani et al. 2022).
    ClsEr,
}
