//! `kind = "analytic"`: ridge regression on random features, one example or one block at a time.

mod recursion;

pub use recursion::{Recursion, Settings};
