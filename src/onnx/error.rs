//! The errors of a network that came in a file, by what the caller can do: those of a graph, and those
//! of the encoders of `model`, which are such networks with files beside them.
//!
//! Invariant: each is one sentence, which names the file, and in it the key, node, tensor or attribute.

use std::fmt::Display;

use super::value::Fault;
use crate::device::{self, FailureCause, NoThread, in_a_line};

/// The reason why a network is not read, or does not compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Take another copy of the file: it is damaged, or does not fit the files beside it.
    #[error("{0}")]
    Unsound(String),
    /// Take another network, or export this one otherwise: it has an operation that is not computed here.
    #[error("{0}")]
    Unsupported(String),
    /// Send other values: these cannot be computed.
    #[error("{0}")]
    Values(String),
    /// Send fewer values, or the same later: the device has no room for them now.
    #[error("{0}")]
    NoRoom(String),
    /// See to the device: it is not there, or its driver fails.
    #[error("{0}")]
    Device(String),
}

impl From<NoThread> for Error {
    fn from(error: NoThread) -> Error {
        Error::NoRoom(error.to_string())
    }
}

impl Error {
    /// The fault of a node, which is `otherwise` where no device is at fault.
    pub(super) fn of_node(fault: Fault, otherwise: fn(String) -> Error) -> Error {
        match fault {
            Fault::Node(what) => otherwise(what),
            Fault::NoRoom(what) => Error::NoRoom(what),
            Fault::Driver(what) => Error::Device(what),
        }
    }

    /// True if the device is at fault, and neither a file nor a row.
    pub(crate) fn is_of_device(&self) -> bool {
        matches!(self, Error::NoRoom(_) | Error::Device(_))
    }

    /// The failure of a network that is tried while its file is read: no row is at fault.
    pub(crate) fn of_trial(self) -> Error {
        match self {
            Error::Values(what) => Error::Unsupported(what),
            other => other,
        }
    }

    /// The error of a file, of a part of it or of a task.
    pub(crate) fn of(self, part: impl Display) -> Error {
        let of_part = |what: String| format!("{part}: {what}");
        match self {
            Error::Unsound(what) => Error::Unsound(of_part(what)),
            Error::Unsupported(what) => Error::Unsupported(of_part(what)),
            Error::Values(what) => Error::Values(of_part(what)),
            Error::NoRoom(what) => Error::NoRoom(of_part(what)),
            Error::Device(what) => Error::Device(of_part(what)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_a_fault_is_of_the_node_only_where_no_device_failed() {
        let check = |error: candle_core::Error, expected: fn(String) -> Error| {
            let what = error.to_string();
            let found = Error::of_node(error.into(), Error::Values).of("node \"a\"");
            assert_eq!(found, expected(format!("node \"a\": {what}")));
        };
        let by_driver = |what: &str| candle_core::Error::Cuda(what.into());
        check(candle_core::Error::Msg("shapes".into()), Error::Values);
        check(by_driver("CUDA_ERROR_OUT_OF_MEMORY"), Error::NoRoom);
        check(by_driver("CUDA_ERROR_LAUNCH_FAILED"), Error::Device);
    }
}
