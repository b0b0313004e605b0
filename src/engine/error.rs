//! What can go wrong here, by what the caller can do.

use std::path::PathBuf;

use crate::store;

/// Why the engine did not do what it was asked.
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
        /// What was asked for.
        version: String,
        /// What is there.
        served: u64,
    },
    /// Name a version that there is.
    #[error("model {model:?} has no version {version}; it has {known}")]
    NoVersion {
        /// The model.
        model: String,
        /// What was asked for.
        version: u64,
        /// Those there are.
        known: String,
    },
    /// Name a version that is still there.
    #[error("model {model:?}: {what}")]
    NoLongerKept {
        /// The model.
        model: String,
        /// Which versions are.
        what: String,
    },
    /// Wait, or mend what the reason names.
    #[error("model {model:?} is unavailable: {reason}")]
    Unavailable {
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
    /// Send less, or later.
    #[error("model {model:?} takes no more now: {what}")]
    Full {
        /// The model.
        model: String,
        /// Which bound was reached.
        what: String,
    },
    /// Ask for something else.
    #[error("{field}: {what}")]
    Refused {
        /// What is at fault.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Send the row with its feedback.
    #[error("{field}: {what}")]
    Gone {
        /// What names the prediction.
        field: &'static str,
        /// Why it takes no feedback any more.
        what: String,
    },
    /// Restore another version.
    #[error("model {model:?}: {what}")]
    Damaged {
        /// The model.
        model: String,
        /// What is damaged.
        what: String,
    },
    /// Mend what the sentence names, and ask again.
    #[error("model {model:?}: {what}")]
    Unreadable {
        /// The model.
        model: String,
        /// What could not be read or computed.
        what: String,
    },
    /// The folder of models cannot be read.
    #[error("cannot read the models in {path:?}: {error}")]
    Models {
        /// Which folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Mend what it names.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// There is no such version, but those `known`, which rise. Versions are numbered one by one: one
    /// up to the newest of them, or up to the `newest` that is known to be made, was there once.
    pub fn no_version(model: &str, version: u64, known: &[u64], newest: u64) -> Error {
        /// A model that makes a version every hour has more than fit into a sentence.
        const TOLD_MAX: usize = 8;
        let newest = known.last().map_or(newest, |last| newest.max(*last));
        let was_made = (1..=newest).contains(&version);
        let known = match known {
            [] => "none".to_owned(),
            [first, .., last] if known.len() > TOLD_MAX => {
                format!("{}, from {first} to {last}", known.len())
            }
            few => {
                let few: Vec<String> = few.iter().map(u64::to_string).collect();
                few.join(", ")
            }
        };
        let model = model.to_owned();
        match was_made {
            true => Error::NoLongerKept {
                model,
                what: format!("version {version} is no longer kept; it has {known}"),
            },
            false => Error::NoVersion {
                model,
                version,
                known,
            },
        }
    }
}
