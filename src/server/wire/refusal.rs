//! Why a request is not taken.
//!
//! Invariant: every refusal has a gRPC code, the field at fault and one sentence; those that a
//! client may try again later say when.

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::engine::{self, Remedy};

/// A client that was turned away by load waits so long, in milliseconds.
const RETRY_MS: &str = "100";
/// The same, as the standard details of an error (`google.rpc.RetryInfo`) have it.
const RETRY: Duration = Duration::from_millis(100);
/// gRPC's own hint, which retry policies obey, and one for those who read.
const RETRY_KEYS: [&str; 2] = ["grpc-retry-pushback-ms", "retry-after-ms"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Refusal {
    pub code: Code,
    /// The field of the message; empty if none is at fault.
    pub field: &'static str,
    /// One sentence: the value that came, and the one expected.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, field: &'static str, message: impl Into<String>) -> Refusal {
        let message = message.into();
        Refusal {
            code,
            field,
            message,
        }
    }

    /// The request itself is wrong.
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Refusal {
        Refusal::new(Code::InvalidArgument, field, message)
    }
}

impl From<engine::Error> for Refusal {
    fn from(error: engine::Error) -> Refusal {
        use engine::Error;
        let (code, field) = match &error {
            Error::UnknownModel(_) => (Code::NotFound, "model"),
            Error::UnknownVersion { .. } | Error::NoVersion { .. } | Error::NoLongerKept { .. } => {
                (Code::NotFound, "version")
            }
            Error::Unavailable { .. } => (Code::Unavailable, "model"),
            Error::Full { .. } => (Code::ResourceExhausted, ""),
            Error::Refused { field, .. } => (Code::InvalidArgument, *field),
            Error::NotNow { field, .. } => (Code::FailedPrecondition, *field),
            Error::NoIncident { .. } => (Code::NotFound, "incident"),
            Error::Description { .. } => (Code::InvalidArgument, "description"),
            Error::NoPlace { .. } => (Code::FailedPrecondition, "label"),
            Error::Gone { field, .. } => (Code::FailedPrecondition, *field),
            Error::Damaged { .. } => (Code::DataLoss, "version"),
            Error::Internal { .. } => (Code::Internal, "model"),
            Error::Shortage { .. }
            | Error::Unreadable { .. }
            | Error::Models { .. }
            | Error::Store(_) => (code_of(error.remedy()), ""),
        };
        Refusal::new(code, field, error.to_string())
    }
}

/// The code of a failure that names no field of the request.
fn code_of(remedy: Remedy) -> Code {
    match remedy {
        Remedy::Wait => Code::ResourceExhausted,
        Remedy::Mend => Code::Unavailable,
        Remedy::Restore => Code::DataLoss,
        Remedy::Change => Code::InvalidArgument,
        Remedy::Report => Code::Internal,
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        if refusal.code != Code::ResourceExhausted {
            return Status::new(refusal.code, refusal.message);
        }
        let details = ErrorDetails::with_retry_info(Some(RETRY));
        let mut status = Status::with_error_details(refusal.code, refusal.message, details);
        for key in RETRY_KEYS {
            let metadata = status.metadata_mut();
            metadata.insert(key, MetadataValue::from_static(RETRY_MS));
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_only_what_passes_asks_for_another_attempt() {
        let check = |error: engine::Error, expected: Code| {
            let passes = error.remedy() == Remedy::Wait;
            let refusal = Refusal::from(error);
            assert_eq!(refusal.code, expected, "{refusal:?}");
            let status = Status::from(refusal);
            assert_eq!(status.metadata().contains_key(RETRY_KEYS[0]), passes);
        };
        let (model, what) = (|| "m".to_owned(), || "so".to_owned());
        let full = engine::Error::Full {
            model: model(),
            what: what(),
        };
        check(full, Code::ResourceExhausted);
        let short = engine::Error::Shortage {
            model: model(),
            what: what(),
        };
        check(short, Code::ResourceExhausted);
        let lost = engine::Error::Unavailable {
            model: model(),
            reason: what(),
        };
        check(lost, Code::Unavailable);
        let refused = engine::Error::Refused {
            field: "inputs",
            what: what(),
        };
        check(refused, Code::InvalidArgument);
        let no_place = engine::Error::NoPlace {
            label: "d".to_owned(),
            classes_max: 3,
        };
        check(no_place, Code::FailedPrecondition);
        let bug = engine::Error::Internal {
            model: model(),
            what: what(),
        };
        check(bug, Code::Internal);
        let damaged = engine::Error::Damaged {
            model: model(),
            what: what(),
        };
        check(damaged, Code::DataLoss);
    }

    #[test]
    fn p8_overload_comes_with_a_retry_hint() {
        let check = |code: Code, hinted: bool| {
            let status = Status::from(Refusal::new(code, "", "so"));
            assert_eq!(
                status.metadata().contains_key(RETRY_KEYS[0]),
                hinted,
                "{code}"
            );
            assert_eq!(status.message(), "so");
            let told = status.get_details_retry_info();
            let delay = told.and_then(|told| told.retry_delay);
            assert_eq!(delay, hinted.then_some(RETRY), "{code}");
        };
        check(Code::ResourceExhausted, true);
        check(Code::Unavailable, false);
        check(Code::InvalidArgument, false);
    }
}
