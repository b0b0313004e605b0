//! The versions of one model: their checkpoints on disk, and states set aside.

pub(crate) mod error;
pub(crate) mod kept;
pub(crate) mod saved;
