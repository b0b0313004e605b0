//! The target of a row, or the answer that is compared with it.
//!
//! Invariant: the two sides of a comparison are of one kind, that of the task.

/// The target of a row, or the answer to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// The place of a class or an action.
    Name(u32),
    /// A number.
    Value(f64),
}
