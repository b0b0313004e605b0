//! Room that is kept between updates so that they allocate nothing.
//!
//! Invariant: no part of the state. What is in it is written before it is read, so two of them
//! are always equal, and a copy is empty.

use std::fmt;

/// Something kept for its room alone.
#[derive(Default)]
pub struct Spare<T>(pub T);

impl<T: Default> Clone for Spare<T> {
    fn clone(&self) -> Spare<T> {
        Spare::default()
    }
}

impl<T> PartialEq for Spare<T> {
    fn eq(&self, _: &Spare<T>) -> bool {
        true
    }
}

impl<T> fmt::Debug for Spare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spare")
    }
}
