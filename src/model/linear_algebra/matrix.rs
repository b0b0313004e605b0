//! The linear algebra that ridge regression needs, in f64: products, symmetric matrices that grow
//! by outer products, and their inverses.
//!
//! Invariant: every sum is taken in an order that depends on shapes alone, so equal inputs give
//! equal bits within one numeric profile.

mod cholesky;
mod product;
mod symmetric;
mod vector;

pub use cholesky::{factor_block, invert_block};
pub use product::{ADD, Blend, SUBTRACT, Shape, View, multiply};
pub use symmetric::Symmetric;
pub use vector::{add_scaled, dot, dot_f32, take_outer};
