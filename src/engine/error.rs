//! The errors of the engine, by what the caller can do.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::store;

/// The reason why the engine refused a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ask for a model that is served.
    #[error("model {0:?} is not served here")]
    UnknownModel(String),
    /// Ask for a version that is there.
    #[error("model {model:?} does not serve version {version:?}; version {served} is being served")]
    UnknownVersion {
        /// The model.
        model: String,
        /// The version that was asked for.
        version: String,
        /// The version that is served.
        served: u64,
    },
    /// Name a version that there is.
    #[error("model {model:?} has no version {version}; it has {known}")]
    NoVersion {
        /// The model.
        model: String,
        /// The version that was asked for.
        version: u64,
        /// The existing versions, as a list for the message.
        known: String,
    },
    /// Name a version that is still there.
    #[error("model {model:?}: {what}")]
    NoLongerKept {
        /// The model.
        model: String,
        /// The versions that are kept, as a sentence.
        what: String,
    },
    /// Wait, or mend the cause that it names.
    #[error("model {model:?} is unavailable: {reason}")]
    Unavailable {
        /// The model.
        model: String,
        /// The reason.
        reason: String,
    },
    /// Send less, or later.
    #[error("model {model:?} takes no more now: {what}")]
    Full {
        /// The model.
        model: String,
        /// The bound that was reached.
        what: String,
    },
    /// Ask for something else.
    #[error("{field}: {what}")]
    Refused {
        /// The field at fault.
        field: &'static str,
        /// Its fault.
        what: String,
    },
    /// Ask for it once the model is in another state.
    #[error("{field}: {what}")]
    NotNow {
        /// The field at fault.
        field: &'static str,
        /// The reason why it cannot be done by now.
        what: String,
    },
    /// Name an incident that there is.
    #[error(
        "incident: model {model:?} has no incident {incident}; perennial incidents {model} lists them"
    )]
    NoIncident {
        /// The model.
        model: String,
        /// The incident that was asked for.
        incident: u64,
    },
    /// Describe a model with more places, or send a label that is a class.
    #[error(
        "label: \"{label:.64}\" is new, and all {classes_max} places are taken; \
         describe a model with a larger classes_max"
    )]
    NoPlace {
        /// The label.
        label: String,
        /// The largest number of classes.
        classes_max: usize,
    },
    /// Send the row with its feedback.
    #[error("{field}: {what}")]
    Gone {
        /// The field that names the prediction.
        field: &'static str,
        /// The reason why it takes no feedback any more.
        what: String,
    },
    /// Restore another version.
    #[error("model {model:?}: {what}")]
    Damaged {
        /// The model.
        model: String,
        /// The damage.
        what: String,
    },
    /// Mend the description, or the file that it names.
    #[error("{what}")]
    Description {
        /// One sentence that names the file.
        what: String,
    },
    /// Report it: the request is sound, and would fail again.
    #[error("model {model:?}: {what}")]
    Internal {
        /// The model.
        model: String,
        /// The failure.
        what: String,
    },
    /// Send the same later: the system is short of descriptors, memory or room on the disk.
    #[error("model {model:?}: {what}")]
    Shortage {
        /// The model.
        model: String,
        /// The failed read or computation.
        what: String,
    },
    /// Mend the cause that it names, and ask again.
    #[error("model {model:?}: {what}")]
    Unreadable {
        /// The model.
        model: String,
        /// The failed read or computation.
        what: String,
    },
    /// The folder of models cannot be read.
    #[error("cannot read the models in {path:?}: {error}")]
    Models {
        /// The folder that cannot be used.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// Mend the cause that it names.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The remedy for an error, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Send the same later.
    Wait,
    /// Have the operator mend the cause; the request is sound.
    Mend,
    /// Have the operator restore a file from a copy, or name another version.
    Restore,
    /// Send another request.
    Change,
    /// Report it.
    Report,
}

impl Remedy {
    /// The remedy for an error of the store: a full disk and a shortage of descriptors end; bytes
    /// that differ from the written ones do not.
    pub(crate) fn of_store(error: &store::Error) -> Remedy {
        match error {
            error if error.is_passing() => Remedy::Wait,
            store::Error::Io { source, .. } if source.kind() == ErrorKind::StorageFull => {
                Remedy::Wait
            }
            store::Error::Io { .. }
            | store::Error::NoSegment { .. }
            | store::Error::Poisoned { .. }
            | store::Error::Locked { .. } => Remedy::Mend,
            store::Error::Damaged { .. }
            | store::Error::CheckpointAhead { .. }
            | store::Error::Missing { .. }
            | store::Error::Checkpoint { .. }
            | store::Error::Foreign { .. } => Remedy::Restore,
            store::Error::TooLarge { .. } => Remedy::Change,
            store::Error::Entry { .. } | store::Error::Exists { .. } => Remedy::Report,
        }
    }
}

impl Error {
    /// The error of a description, in one sentence.
    pub(crate) fn description(what: impl Display) -> Error {
        let what = what.to_string();
        Error::Description { what }
    }

    /// The error at a file or key of a description.
    pub(crate) fn of(self, place: impl Display) -> Error {
        Error::description(format!("{place}: {self}"))
    }

    /// The remedy.
    pub fn remedy(&self) -> Remedy {
        match self {
            Error::Full { .. } | Error::Shortage { .. } => Remedy::Wait,
            Error::Unavailable { .. } | Error::Unreadable { .. } => Remedy::Mend,
            Error::Damaged { .. } => Remedy::Restore,
            Error::UnknownModel(_)
            | Error::UnknownVersion { .. }
            | Error::NoVersion { .. }
            | Error::NoLongerKept { .. }
            | Error::Refused { .. }
            | Error::NotNow { .. }
            | Error::NoIncident { .. }
            | Error::Description { .. }
            | Error::NoPlace { .. }
            | Error::Gone { .. } => Remedy::Change,
            Error::Internal { .. } | Error::Models { .. } => Remedy::Report,
            Error::Store(error) => Remedy::of_store(error),
        }
    }

    /// The error of a version that does not exist, beside the `known` ones, which rise. Versions are numbered
    /// one by one: one up to the newest of them, or up to the `newest` that is known to be made, was there
    /// once.
    pub fn no_version(model: &str, version: u64, known: &[u64], newest: u64) -> Error {
        /// A model that makes a version every hour has more than fit into a sentence.
        const LISTED_MAX: usize = 8;
        let newest = known.last().map_or(newest, |last| newest.max(*last));
        let was_made = (1..=newest).contains(&version);
        let known = match known {
            [] => "none".to_owned(),
            [first, .., last] if known.len() > LISTED_MAX => {
                format!("{}, from {first} to {last}", known.len())
            }
            few => {
                let few: Vec<String> = few.iter().map(u64::to_string).collect();
                few.join(", ")
            }
        };
        let model = model.to_owned();
        if was_made {
            Error::NoLongerKept {
                model,
                what: format!("version {version} is no longer kept; it has {known}"),
            }
        } else {
            Error::NoVersion {
                model,
                version,
                known,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_a_disk_that_is_full_is_waited_for_and_one_that_fails_is_mended() {
        let check = |code: i32, expected: Remedy| {
            let error = Error::Store(store::Error::Io {
                path: PathBuf::from("checkpoints"),
                doing: "write it",
                source: std::io::Error::from_raw_os_error(code),
            });
            assert_eq!(error.remedy(), expected, "{code}");
        };
        check(libc::ENOSPC, Remedy::Wait);
        check(libc::EMFILE, Remedy::Wait);
        check(libc::EIO, Remedy::Mend);
        check(libc::EACCES, Remedy::Mend);
    }
}
