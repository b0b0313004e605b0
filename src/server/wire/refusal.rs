//! The refusal of a request.
//!
//! Invariant: every refusal has a gRPC code, the field at fault and one sentence; those that a
//! client may try again later give a delay. A sentence is of bounded length, in one line, and names no folder
//! of the server.

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::engine::{self, Remedy};

/// A client that was turned away by load waits so long, in milliseconds.
const RETRY_MS: &str = "100";
/// The wait after a refusal by load, as the standard details of an error (`google.rpc.RetryInfo`) have it.
pub(in crate::server) const RETRY: Duration = Duration::from_millis(100);
/// gRPC's own hint, which retry policies obey, and one for those who read.
const RETRY_KEYS: [&str; 2] = ["grpc-retry-pushback-ms", "retry-after-ms"];

/// Bytes of a sentence: it stands in a header, where clients take about 8 KiB, percent-encoded.
const MESSAGE_BYTES_MAX: usize = 2000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Refusal {
    pub code: Code,
    /// The field of the message; empty if none is at fault.
    pub field: &'static str,
    /// One sentence: the value that came, and the one expected.
    pub message: String,
    /// A word for metrics, where code and field leave open which bound it is.
    pub reason: &'static str,
}

impl Refusal {
    pub(crate) fn new(code: Code, field: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            field,
            message: in_a_line(message.into()),
            reason: "",
        }
    }

    /// The refusal, for this reason.
    pub(crate) fn because(self, reason: &'static str) -> Refusal {
        Refusal { reason, ..self }
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
        let message = match &error {
            // They name files of the server.
            Error::Unavailable { .. }
            | Error::Damaged { .. }
            | Error::Internal { .. }
            | Error::Shortage { .. }
            | Error::Unreadable { .. }
            | Error::Models { .. }
            | Error::Description { .. }
            | Error::Store(_) => without_folders(&error.to_string()),
            _ => error.to_string(),
        };
        Refusal::new(code, field, message).because(match &error {
            Error::Full { .. } => "full",
            Error::Shortage { .. } => "shortage",
            _ => "",
        })
    }
}

/// A sentence with its quotes of a request: a name may hold line feeds and the codes of terminals,
/// and be of any length.
fn in_a_line(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    if !message.contains(char::is_control) {
        return message;
    }
    let characters = message.chars().map(|one| match one {
        one if one.is_control() => one.escape_default().to_string(),
        one => one.to_string(),
    });
    characters.collect()
}

/// A sentence with the files that it names and without their folders, which concern only the
/// operator: the log and the status have them.
pub(in crate::server) fn without_folders(sentence: &str) -> String {
    let words = sentence.split(' ').map(|word| {
        let Some((folders, file)) = word.trim_end_matches('/').rsplit_once('/') else {
            return word.to_owned();
        };
        let is_quote = |c: char| matches!(c, '"' | '\'' | '`' | '(');
        let quotes = folders.chars().take_while(|c| is_quote(*c));
        quotes.collect::<String>() + file
    });
    words.collect::<Vec<_>>().join(" ")
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
    fn p9_a_sentence_names_no_folder_of_the_server() {
        let check = |reason: &str, expected: &str| {
            let error = engine::Error::Unavailable {
                model: "m".to_owned(),
                reason: reason.to_owned(),
            };
            let message = Refusal::from(error).message;
            assert_eq!(message, format!("model \"m\" is unavailable: {expected}"));
        };
        check(
            "cannot read /srv/our models/m/model.toml: No such file",
            "cannot read our model.toml: No such file",
        );
        check(
            "run `perennial replay m --with ../models/m/model.toml`",
            "run `perennial replay m --with model.toml`",
        );
        check(
            "\"/srv/data/m/journal\": it is gone",
            "\"journal\": it is gone",
        );
        check("its journal is damaged", "its journal is damaged");
        let sent = Refusal::from(engine::Error::UnknownModel("a/b".to_owned()));
        assert_eq!(sent.message, "model \"a/b\" is not served here");
    }

    #[test]
    fn p9_a_sentence_is_one_line_of_bounded_length() {
        let quoted = Refusal::invalid("", "no model \"\u{1b}[2J\r\n\0\u{85}é\"");
        let expected = "no model \"\\u{1b}[2J\\r\\n\\u{0}\\u{85}é\"";
        assert_eq!(quoted.message, expected);
        let long = Refusal::invalid("", "é".repeat(MESSAGE_BYTES_MAX));
        let expected = "é".repeat(MESSAGE_BYTES_MAX / 2) + "…";
        assert_eq!(long.message, expected);
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
            let retry = status.get_details_retry_info();
            let delay = retry.and_then(|retry| retry.retry_delay);
            assert_eq!(delay, hinted.then_some(RETRY), "{code}");
        };
        check(Code::ResourceExhausted, true);
        check(Code::Unavailable, false);
        check(Code::InvalidArgument, false);
    }
}
