//! What an answer needs besides a state: encoders, devices, batches of rows, the clock.

pub(crate) mod batcher;
pub(crate) mod clock;
pub(crate) mod described;
pub(crate) mod embed;
pub(crate) mod encoder_folder;
pub(crate) mod forward;
pub(crate) mod histogram;
pub(crate) mod retry;
pub(crate) mod serving;
pub(crate) mod stages;
