//! The errors of a graph, by what the caller can do.
//!
//! Invariant: each is one sentence, which names the tensor, node or attribute that it is about.

use std::fmt::Display;

use super::value::Fault;
use crate::device::{self, NoThread};

/// Why a graph is not read, or does not compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Take another copy of the file: it is no ONNX graph, or contradicts itself.
    #[error("{0}")]
    Unsound(String),
    /// Export the network otherwise: it has an operation that is not computed here.
    #[error("{0}")]
    Unsupported(String),
    /// Send other values: a node cannot compute these.
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

    /// The same, of a part of the file.
    pub(super) fn of(self, part: impl Display) -> Error {
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
