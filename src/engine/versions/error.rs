//! Why the state of a version cannot be had, by what the caller can do.

use std::path::PathBuf;

use crate::model::weights;
use crate::store;

/// Why a state cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Mend what it names.
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
    /// Put the encoder back that the model started with.
    #[error("{0}")]
    Encoder(String),
}
