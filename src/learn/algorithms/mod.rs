//! The learning algorithms, one module a `kind` of `[learner]`, and their enum ([`learned`]).

pub(crate) mod adapters;
pub(crate) mod analytic;
pub(crate) mod auto;
pub(crate) mod example;
pub(crate) mod gradient;
pub(crate) mod learned;
pub(crate) mod neighbours;
pub(crate) mod output_loss;
pub(crate) mod retention;
