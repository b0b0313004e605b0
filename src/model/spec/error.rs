//! The errors of a description.
//!
//! Invariant: one sentence, with the key, its value and the allowed ones.

/// The reason why a description was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("line {line}: {what}")]
    Toml {
        /// 1-based.
        line: usize,
        /// The fault.
        what: String,
    },
    /// A value outside its range.
    #[error("{key} = {value}: {allowed}")]
    Value {
        /// The key, with its table.
        key: String,
        /// The value as written.
        value: String,
        /// The values that the key accepts.
        allowed: String,
    },
    /// A change that the learned state cannot follow.
    #[error(
        "a change of {0} needs another shape of state: change it back, or describe a new model"
    )]
    Shape(&'static str),
}

impl Error {
    /// The error under another name of its key: the table has `input.NAME`, the author a name.
    pub(super) fn renamed(self, from: &str, to: &str) -> Error {
        let rename = |key: String| key.replacen(from, to, 1);
        match self {
            Error::Value {
                key,
                value,
                allowed,
            } => Error::Value {
                key: rename(key),
                value,
                allowed,
            },
            other => other,
        }
    }
}
