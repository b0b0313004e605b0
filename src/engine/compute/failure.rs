//! Failures of an encoder or of a device, by what the caller can do.
//!
//! Invariant: only a failure that passes by itself asks the caller to try the same again.

use crate::engine::error::Error;
use crate::model::{DeviceError, EncoderError};

/// The reason why rows were not computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ComputeError {
    /// Send them later: so many wait already.
    #[error("{0} rows wait to be computed")]
    Busy(usize),
    /// Send fewer, or the same later: the device has no room for them now.
    #[error("{0}")]
    NoRoom(String),
    /// See to the device: it is not there, or fails.
    #[error("{0}")]
    Device(String),
    /// Send other values: these cannot be computed.
    #[error("{0}")]
    Input(String),
    /// Report it: nothing that the caller sends would help.
    #[error("{0}")]
    Bug(String),
}

impl ComputeError {
    /// The failure of an encoder, which was tried when it was read: the values are at fault, unless
    /// the device is.
    pub(crate) fn of_encoder(error: EncoderError) -> ComputeError {
        match error {
            EncoderError::NoRoom(what) => ComputeError::NoRoom(what),
            EncoderError::Device(what) => ComputeError::Device(what),
            EncoderError::Values(what)
            | EncoderError::Unsound(what)
            | EncoderError::Unsupported(what) => ComputeError::Input(what),
        }
    }

    /// The failure of a network of our own, which takes all values.
    pub(crate) fn of_network(error: &DeviceError) -> ComputeError {
        let what = error.to_string();
        match error {
            DeviceError::NoRoom { .. } => ComputeError::NoRoom(what),
            DeviceError::NotBuilt(_) | DeviceError::Absent { .. } | DeviceError::Failed { .. } => {
                ComputeError::Device(what)
            }
            DeviceError::Unfit { .. } => ComputeError::Bug(what),
        }
    }

    /// The error of a request to this model.
    pub(crate) fn of_model(self, model: &str) -> Error {
        let (model, what) = (model.to_owned(), self.to_string());
        match self {
            ComputeError::Busy(_) | ComputeError::NoRoom(_) => Error::Full { model, what },
            ComputeError::Device(reason) => Error::Unavailable { model, reason },
            ComputeError::Input(what) => Error::Refused {
                field: "inputs",
                what,
            },
            ComputeError::Bug(_) => Error::Internal { model, what },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Device;

    #[test]
    fn p9_an_encoder_fails_by_its_device_or_by_the_values() {
        type Of<E> = fn(String) -> E;
        let check = |error: Of<EncoderError>, expected: Of<ComputeError>| {
            let what = || "so".to_owned();
            assert_eq!(ComputeError::of_encoder(error(what())), expected(what()));
        };
        check(EncoderError::NoRoom, ComputeError::NoRoom);
        check(EncoderError::Device, ComputeError::Device);
        check(EncoderError::Values, ComputeError::Input);
        check(EncoderError::Unsupported, ComputeError::Input);
    }

    #[test]
    fn p9_a_network_of_our_own_fails_by_its_device_or_by_a_bug() {
        let check = |error: DeviceError, expected: fn(String) -> ComputeError| {
            let what = error.to_string();
            assert_eq!(ComputeError::of_network(&error), expected(what));
        };
        let (task, why) = ("answer", || "so".to_owned());
        let device = Device::Cuda(0);
        check(DeviceError::NotBuilt(device), ComputeError::Device);
        check(
            DeviceError::NoRoom { task, why: why() },
            ComputeError::NoRoom,
        );
        check(
            DeviceError::Failed { task, why: why() },
            ComputeError::Device,
        );
        check(DeviceError::Unfit { task, why: why() }, ComputeError::Bug);
    }

    #[test]
    fn p9_each_failure_says_what_the_caller_can_do() {
        let what = || "so".to_owned();
        let error = |failure: ComputeError| failure.of_model("m");
        assert!(matches!(error(ComputeError::Busy(3)), Error::Full { .. }));
        assert!(matches!(
            error(ComputeError::NoRoom(what())),
            Error::Full { .. }
        ));
        let device = error(ComputeError::Device(what()));
        assert!(matches!(device, Error::Unavailable { .. }));
        let input = error(ComputeError::Input(what()));
        assert!(matches!(
            input,
            Error::Refused {
                field: "inputs",
                ..
            }
        ));
        let bug = error(ComputeError::Bug(what()));
        assert!(matches!(bug, Error::Internal { .. }));
    }
}
