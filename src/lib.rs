//! Perennial: an inference server whose models keep learning after deployment.

pub mod event;
pub mod learn;
pub mod model;
pub mod store;
