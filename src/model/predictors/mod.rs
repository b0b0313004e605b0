//! Predictors: from encoded features to outputs, one module a kind.

pub(crate) mod forest;
pub(crate) mod linear;
pub(crate) mod neighbours;
pub(crate) mod network;
pub(crate) mod portfolio;
pub(crate) mod ridge;
pub(crate) mod series;
