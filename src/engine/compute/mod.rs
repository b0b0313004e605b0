//! The computation of answers: encoders, forward passes on devices, dynamic batching, the clock.

pub(crate) mod batcher;
pub(crate) mod clock;
pub(crate) mod described;
pub(crate) mod embed;
pub(crate) mod encoder_folder;
pub(crate) mod failure;
pub(crate) mod forward;
pub(crate) mod histogram;
pub(crate) mod retry;
pub(crate) mod serving;
pub(crate) mod shared_pass;
pub(crate) mod stages;
pub(crate) mod threads;
