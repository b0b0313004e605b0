//! The linear algebra that ridge regression needs, in f64: products, symmetric matrices that grow
//! by outer products, and their inverses.
//!
//! Invariant: every sum is taken in an order that depends on shapes alone, so equal inputs give
//! equal bits within one numeric profile.

mod cholesky;
mod product;
mod symmetric;
mod vector;

pub(crate) use cholesky::{factor_block, invert_block};
pub(crate) use product::{ADD, SUBTRACT};
pub use product::{Blend, Shape, View, multiply};
pub use symmetric::Symmetric;
pub(crate) use vector::{add_scaled, take_outer};
pub use vector::{dot, dot_f32};
