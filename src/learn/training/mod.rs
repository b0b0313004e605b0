//! Training of networks: backward pass, optimizer, and the network that they move.

pub(crate) mod backprop;
pub(crate) mod network;
pub(crate) mod optimizer;
pub(crate) mod scratch;
