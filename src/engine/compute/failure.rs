//! Failures of an encoder or of a device, by what the caller can do.
//!
//! Invariant: only a failure that passes by itself asks the caller to try the same again.

use crate::engine::error::Error;
use crate::model::{Device, DeviceError};

/// Why rows were not computed.
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
    /// The failure of values that the network was tried with when it was read: they are at fault,
    /// unless the device is.
    pub(crate) fn of_input(device: Device, what: String) -> ComputeError {
        ComputeError::of_device(device, &what).unwrap_or(ComputeError::Input(what))
    }

    /// The failure of a network of our own, which takes all values.
    pub(crate) fn of_network(error: &DeviceError) -> ComputeError {
        let what = error.to_string();
        match error {
            DeviceError::NotBuilt(_) | DeviceError::Absent { .. } => ComputeError::Device(what),
            DeviceError::Failed { .. } => {
                ComputeError::of_driver(&what).unwrap_or(ComputeError::Bug(what))
            }
        }
    }

    /// The failure as one of the device, if it is.
    fn of_device(device: Device, what: &str) -> Option<ComputeError> {
        if !matches!(device, Device::Cuda(_)) {
            return None;
        }
        let is_gone = device.check().is_err();
        let gone = is_gone.then(|| ComputeError::Device(what.to_owned()));
        ComputeError::of_driver(what).or(gone)
    }

    /// The failure as one of a GPU's driver or its libraries, which name theirs by constants.
    fn of_driver(what: &str) -> Option<ComputeError> {
        let names = |word: &str| what.contains(word);
        if names("OUT_OF_MEMORY") || names("ALLOC_FAILED") {
            return Some(ComputeError::NoRoom(what.to_owned()));
        }
        let by_driver = ["CUDA_ERROR_", "CUBLAS_STATUS_", "CURAND_STATUS_"];
        let is_lost = by_driver.into_iter().any(names);
        is_lost.then(|| ComputeError::Device(what.to_owned()))
    }

    /// The error of a request to this model whose computation failed.
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

    #[test]
    fn p9_a_failure_is_the_devices_or_the_inputs_or_ours() {
        let gpu = Device::Cuda(63);
        let check = |device: Device, what: &str, expected: fn(String) -> ComputeError| {
            let found = ComputeError::of_input(device, what.to_owned());
            assert_eq!(found, expected(what.to_owned()), "{device}");
        };
        let full = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        check(gpu, full, ComputeError::NoRoom);
        check(gpu, "CUBLAS_STATUS_ALLOC_FAILED", ComputeError::NoRoom);
        let lost = "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal address\")";
        check(gpu, lost, ComputeError::Device);
        // No machine has so many.
        check(gpu, "node \"a\": index 9", ComputeError::Device);
        check(Device::Candle, "node \"a\": index 9", ComputeError::Input);
        check(Device::Cpu, full, ComputeError::Input);
    }

    #[test]
    fn p9_a_network_of_our_own_fails_by_its_device_or_by_a_bug() {
        let check = |error: DeviceError, expected: fn(String) -> ComputeError| {
            let what = error.to_string();
            assert_eq!(ComputeError::of_network(&error), expected(what));
        };
        let failed = |why: &str| DeviceError::Failed {
            task: "answer",
            why: why.to_owned(),
        };
        check(DeviceError::NotBuilt(Device::Cuda(0)), ComputeError::Device);
        check(failed("CUDA_ERROR_OUT_OF_MEMORY"), ComputeError::NoRoom);
        check(failed("CUDA_ERROR_LAUNCH_FAILED"), ComputeError::Device);
        check(failed("a shape"), ComputeError::Bug);
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
