//! The errors of an encoder, by what the caller can do.
//!
//! Invariant: each is one sentence, which names the file, and in it the key, node or tensor.

use std::fmt::Display;

use crate::device::{self, FailureCause, in_a_line};
use crate::onnx;

/// Why an encoder is not read, or does not encode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Take another copy of the file: it is damaged, or does not fit the files beside it.
    #[error("{0}")]
    Unsound(String),
    /// Take another network, or export this one otherwise: it has an operation that is not computed here.
    #[error("{0}")]
    Unsupported(String),
    /// Send other values: these cannot be encoded.
    #[error("{0}")]
    Values(String),
    /// Send fewer rows, or the same later: the device has no room for them now.
    #[error("{0}")]
    NoRoom(String),
    /// See to the device: it is not there, or its driver fails.
    #[error("{0}")]
    Device(String),
}

impl Error {
    /// True if the device is at fault, and neither a file nor a row.
    pub fn is_of_device(&self) -> bool {
        matches!(self, Error::NoRoom(_) | Error::Device(_))
    }

    /// The same, of a file or a task.
    pub(super) fn of(self, place: impl Display) -> Error {
        let of_place = |what: String| format!("{place}: {what}");
        match self {
            Error::Unsound(what) => Error::Unsound(of_place(what)),
            Error::Unsupported(what) => Error::Unsupported(of_place(what)),
            Error::Values(what) => Error::Values(of_place(what)),
            Error::NoRoom(what) => Error::NoRoom(of_place(what)),
            Error::Device(what) => Error::Device(of_place(what)),
        }
    }

    /// The failure of a network that is tried while its file is read: no row is at fault.
    pub(super) fn of_trial(self) -> Error {
        match self {
            Error::Values(what) => Error::Unsupported(what),
            other => other,
        }
    }
}

impl From<onnx::Error> for Error {
    fn from(error: onnx::Error) -> Error {
        match error {
            onnx::Error::Unsound(what) => Error::Unsound(what),
            onnx::Error::Unsupported(what) => Error::Unsupported(what),
            onnx::Error::Values(what) => Error::Values(what),
            onnx::Error::NoRoom(what) => Error::NoRoom(what),
            onnx::Error::Device(what) => Error::Device(what),
        }
    }
}

/// A device that cannot be opened.
impl From<device::Error> for Error {
    fn from(error: device::Error) -> Error {
        Error::Device(error.to_string())
    }
}

/// A computation that failed: the shapes of the weights are checked, so tensors that do not fit
/// come of the values of a row.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Error {
        let what = in_a_line(&error);
        match FailureCause::of(&error) {
            FailureCause::NoRoom => Error::NoRoom(what),
            FailureCause::Driver => Error::Device(what),
            FailureCause::Tensors => Error::Values(what),
        }
    }
}
