//! The reasons why the state of a version cannot be had, by what the caller can do.

use std::path::PathBuf;

use crate::engine::error::{Error as EngineError, Remedy};
use crate::model::weights;
use crate::store;

/// Why a state cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Mend the cause that it names.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Put back the checkpoints and the journal that belong together.
    #[error(
        "the checkpoint at position {0} is of another journal; \
         put back the checkpoints and the journal that belong together"
    )]
    OfAnotherJournal(u64),
    /// Restore the version; nothing else can start from it.
    #[error(
        "the checkpoint at position {position} can only be restored since what the order \
         at {order} took back was erased"
    )]
    Erased {
        /// Of the checkpoint.
        position: u64,
        /// Of the order.
        order: u64,
    },
    /// Use another checkpoint.
    #[error("the checkpoint at position {position}: {error}")]
    Unfit {
        /// Of the checkpoint.
        position: u64,
        /// The tensor at fault.
        error: weights::Error,
    },
    /// Use another checkpoint.
    #[error("the checkpoint at position {0} does not load to the digest it was saved with")]
    Digest(u64),
    /// Put the weights back that the model started with.
    #[error("{}: {error}", path.display())]
    Start {
        /// Where they are kept.
        path: PathBuf,
        /// The tensor at fault.
        error: weights::Error,
    },
    /// Put the encoder back that the model started with: a file of it is not sound.
    #[error(transparent)]
    Encoder(EngineError),
    /// Put the encoder back that the model started with.
    #[error("{}: not the encoder that the model started with; restore it from a copy", .0.display())]
    OtherEncoder(PathBuf),
}

impl Error {
    /// The error of an encoder that is kept; one of the disk stays one.
    pub(crate) fn of_encoder(error: EngineError) -> Error {
        match error {
            EngineError::Store(error) => Error::Store(error),
            error => Error::Encoder(error),
        }
    }

    /// The remedy for this error.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Error::Store(error) => Remedy::of_store(error),
            Error::Encoder(error) => match error.remedy() {
                // The file is the model's own: no request can change it.
                Remedy::Change => Remedy::Restore,
                remedy => remedy,
            },
            Error::Erased { .. } => Remedy::Change,
            Error::OfAnotherJournal(_)
            | Error::Unfit { .. }
            | Error::Digest(_)
            | Error::Start { .. }
            | Error::OtherEncoder(_) => Remedy::Restore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_fails_by_its_cause() {
        let check = |error: EngineError, expected: Remedy| {
            let error = Error::of_encoder(error);
            assert_eq!(error.remedy(), expected, "{error}");
        };
        let refused = |code: i32| {
            EngineError::Store(store::Error::Io {
                path: PathBuf::from("encoders"),
                doing: "read it",
                source: std::io::Error::from_raw_os_error(code),
            })
        };
        check(refused(libc::EMFILE), Remedy::Wait);
        check(refused(libc::EIO), Remedy::Mend);
        check(EngineError::description("no tokenizer"), Remedy::Restore);
    }
}
