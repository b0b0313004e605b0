//! A learner's state at a position, on disk.
//!
//! Invariant: a checkpoint under its final name is whole and durable, and what is loaded from it
//! is what was saved; anything else is refused with the file's name.

mod folder;
mod manifest;
mod tensors;

pub use folder::{Checkpoint, Listed, list, load, remove, save, sweep};
pub use manifest::Manifest;
pub use tensors::{read_tensors, write_tensors};
