//! Scratch space that is kept between updates, so that they allocate nothing.
//!
//! Invariant: no part of the state. Its content is written before it is read, so two of them are
//! always equal, and a copy is empty.

use std::fmt;

/// A value kept for its allocation alone.
#[derive(Default)]
pub(crate) struct Scratch<T>(pub T);

impl<T: Default> Clone for Scratch<T> {
    fn clone(&self) -> Scratch<T> {
        Scratch::default()
    }
}

impl<T> PartialEq for Scratch<T> {
    fn eq(&self, _: &Scratch<T>) -> bool {
        true
    }
}

impl<T> fmt::Debug for Scratch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}
