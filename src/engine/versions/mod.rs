//! The versions of one model: the tree that they form, and their checkpoints on disk.

pub(crate) mod kept;
pub(crate) mod lineage;
pub(crate) mod saved;
