//! Matrices, vectors and sparse tables: arithmetic that knows no features and no learner.

pub(crate) mod gaussian;
pub mod matrix;
pub(crate) mod median;
pub(crate) mod sparse;
