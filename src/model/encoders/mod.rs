//! Encoders: from the values of a row, a text or a vector to numbers.

pub(crate) mod features;
pub(crate) mod past;
pub(crate) mod text;
pub(crate) mod vector;
