//! Perennial: an inference server whose models keep learning after deployment.

pub mod engine;
pub mod event;
pub mod learn;
pub mod model;
pub mod proto;
pub mod server;
pub mod store;
