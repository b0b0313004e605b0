//! The errors of the store, by what the caller can do.
//!
//! Invariant: an error names the path it speaks of, and the position where there is one.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Bytes that violate their format, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// The reason why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused: look at the disk, its space and the rights on the path.
    #[error("{path}: cannot {doing}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action, as a verb.
        doing: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// Another process has the data directory open: stop it, or use another directory.
    #[error("{path}: another process holds this data directory; stop it or use another --data")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Something that the store did not write, or that belongs elsewhere: move it away.
    #[error("{path}: {what}")]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        what: String,
    },
    /// Bytes that had been durable differ from the written ones: restore the file from a copy.
    #[error(
        "{path}: damaged at byte {offset}, position {position}: {what}; \
         nothing was changed, restore the file from a copy"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The first position that the damage touches.
        position: u64,
        /// The offset in the file.
        offset: u64,
        /// The expected and the found bytes.
        what: String,
    },
    /// The journal ends before the checkpoint: it lost its end, or belongs to an older copy.
    #[error(
        "{path}: the checkpoint stands at position {checkpoint}, but the journal ends at {last}; \
         restore the journal, or remove the checkpoint to go on from an older one"
    )]
    CheckpointAhead {
        /// The journal's folder.
        path: PathBuf,
        /// The position asked for.
        checkpoint: u64,
        /// The last position of the journal.
        last: u64,
    },
    /// The journal does not hold this position, or not any more.
    #[error(
        "{path}: position {position} is not in this journal: \
         it was deleted by retention, or its segment is lost; restore that from a copy"
    )]
    Missing {
        /// The journal's folder.
        path: PathBuf,
        /// The position asked for.
        position: u64,
    },
    /// An event that this program cannot write or read.
    #[error("position {position}: {malformed}")]
    Entry {
        /// The position of the entry, or the one where it would have stood.
        position: u64,
        /// Its fault.
        malformed: Malformed,
    },
    /// An event larger than the journal takes: send less in one request.
    #[error("an entry of {got} bytes is over the limit of {limit}; send fewer rows in one request")]
    TooLarge {
        /// Its payload in bytes.
        got: u64,
        /// The largest payload taken.
        limit: u64,
    },
    /// An earlier write or sync failed; the content of the disk is known only after opening again.
    #[error("{path}: an earlier write or sync failed; restart to go on from what is on disk")]
    Poisoned {
        /// The journal's folder.
        path: PathBuf,
    },
    /// The next segment cannot be made now: nothing was written, and it is tried again.
    #[error("{path}: cannot make this segment now: {source}")]
    NoSegment {
        /// The segment.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A version exists at this position already.
    #[error("{path}: this checkpoint exists already; remove it first")]
    Exists {
        /// The checkpoint's folder.
        path: PathBuf,
    },
    /// A checkpoint's file differs from the written one: use another checkpoint.
    #[error("{path}: {malformed}; use another checkpoint or restore the file from a copy")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Its fault.
        malformed: Malformed,
    },
}

impl Error {
    /// For `map_err`: the action and its path.
    pub(super) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    }

    /// True if the same call may succeed later, as things are.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Error::Io { source, .. } | Error::NoSegment { source, .. } => is_passing(source),
            _ => false,
        }
    }

    pub(super) fn foreign(path: &Path, what: impl Into<String>) -> Error {
        Error::Foreign {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

/// True if the system is short of a resource that others give back: descriptors, memory, or room on
/// the disk.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    kinds.contains(&error.kind())
        || error
            .raw_os_error()
            .is_some_and(|code| codes.contains(&code))
}
