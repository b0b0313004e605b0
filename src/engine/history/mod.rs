//! The journal read again: what it says, and the states that follow from it.

pub(crate) mod between;
pub(crate) mod chosen;
pub(crate) mod decisions;
pub(crate) mod derivation;
pub(crate) mod shelf;
pub(crate) mod traces;
pub(crate) mod translation;
