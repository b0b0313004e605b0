//! The journal read again: what it says, and the states that follow from it.

pub(crate) mod between;
pub(crate) mod erased;
pub(crate) mod logged;
pub(crate) mod lookup;
pub(crate) mod rebuild;
pub(crate) mod selection;
pub(crate) mod translation;
