//! The reasons why a history cannot be rebuilt, by what the caller can do.
//!
//! Invariant: an error keeps its remedy, however deep in a rebuild it comes up.

use crate::device;
use crate::engine::error::{Error as EngineError, Remedy};
use crate::engine::versions::error::Error as StateError;
use crate::learn::{self, LookupError};
use crate::model::SpecError;
use crate::store;

/// The reason why a history cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Mend the disk or the file that it names.
    #[error(transparent)]
    Store(store::Error),
    /// Use another checkpoint.
    #[error(transparent)]
    State(StateError),
    /// Ask for less: the journal or a checkpoint that it takes is no longer kept.
    #[error("{0}")]
    NotRetained(String),
    /// Ask again once a server has run.
    #[error("the journal has no outcome of order {0} yet; it has one once a server has run")]
    Undecided(u64),
    /// Ask again: it began before an order that moved the learned state.
    #[error("the order at position {0} has brought other learning back since it began")]
    Overtaken(u64),
    /// Bring a description that fits the journal.
    #[error("{0}")]
    Description(String),
    /// Bring a description whose inputs the journal holds.
    #[error("input: {0}")]
    Input(String),
    /// A device could not compute an answer: ask again where it has no room, and repair it where it
    /// failed.
    #[error(transparent)]
    Answer(#[from] device::Error),
    /// The journal and the state do not belong together, or the device has failed.
    #[error(transparent)]
    Learner(#[from] learn::Error),
    /// The error of the nearest state, or of the oldest one.
    #[error("no state {place} can be gone on from: {}", reasons(nearest, oldest))]
    NoBase {
        /// The place of the search.
        place: String,
        /// The reason why the nearest state does not do; none where there is only the beginning.
        nearest: Option<Box<Error>>,
        /// The reason why the oldest state does not do.
        oldest: Box<Error>,
    },
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::Missing { .. } => Error::NotRetained(error.to_string()),
            error => Error::Store(error),
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Error {
        match error {
            StateError::Store(error) => error.into(),
            error => Error::State(error),
        }
    }
}

impl From<SpecError> for Error {
    fn from(error: SpecError) -> Error {
        Error::Description(error.to_string())
    }
}

impl Error {
    /// The remedy for this error.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Error::Store(error) => Remedy::of_store(error),
            Error::State(error) => error.remedy(),
            Error::NotRetained(_)
            | Error::Undecided(_)
            | Error::Overtaken(_)
            | Error::Description(_)
            | Error::Input(_) => Remedy::Change,
            Error::Learner(learn::Error::Lookup { cause, .. }) => match cause {
                LookupError::Shortage(_) => Remedy::Wait,
                LookupError::Unreadable(_) => Remedy::Mend,
                LookupError::Damaged(_) => Remedy::Restore,
                LookupError::NotRetained(_) => Remedy::Change,
            },
            Error::Answer(device::Error::NoRoom { .. }) => Remedy::Wait,
            Error::Answer(device::Error::Unfit { .. }) => Remedy::Report,
            Error::Answer(_) | Error::Learner(learn::Error::Device { .. }) => Remedy::Mend,
            Error::Learner(_) => Remedy::Restore,
            Error::NoBase {
                nearest, oldest, ..
            } => match nearest.as_ref().map(|nearest| nearest.remedy()) {
                Some(remedy @ (Remedy::Wait | Remedy::Mend)) => remedy,
                _ => oldest.remedy(),
            },
        }
    }

    /// The error of a request about a model, of which `field` asks for too much.
    pub(crate) fn of_request(self, model: &str, field: &'static str) -> EngineError {
        let (model, what) = (model.to_owned(), self.to_string());
        match (self.remedy(), self) {
            (_, Error::Store(error)) => EngineError::Store(error),
            (Remedy::Wait, _) => EngineError::Shortage { model, what },
            (Remedy::Mend, _) => EngineError::Unreadable { model, what },
            (Remedy::Restore | Remedy::Report, _) => EngineError::Damaged { model, what },
            (Remedy::Change, _) => EngineError::Refused { field, what },
        }
    }

    /// The error of a learner's lookup.
    pub(crate) fn of_lookup(self) -> LookupError {
        let what = self.to_string();
        self.remedy().of_lookup(what)
    }
}

impl Remedy {
    /// The error of a lookup that has this remedy.
    pub(crate) fn of_lookup(self, what: String) -> LookupError {
        match self {
            Remedy::Wait => LookupError::Shortage(what),
            Remedy::Mend => LookupError::Unreadable(what),
            Remedy::Restore | Remedy::Report => LookupError::Damaged(what),
            Remedy::Change => LookupError::NotRetained(what),
        }
    }
}

/// The reasons of the nearest and of the oldest: those between add nothing.
fn reasons(nearest: &Option<Box<Error>>, oldest: &Error) -> String {
    let oldest = oldest.to_string();
    match nearest.as_ref().map(|nearest| nearest.to_string()) {
        Some(nearest) if nearest != oldest => format!("{nearest}; and {oldest}"),
        _ => oldest,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn io_error() -> store::Error {
        store::Error::Io {
            path: "data/m".into(),
            doing: "read it",
            source: io::Error::from_raw_os_error(libc::EIO),
        }
    }

    fn damaged() -> store::Error {
        store::Error::Damaged {
            path: "data/m".into(),
            position: 5,
            offset: 9,
            what: "another digest".to_owned(),
        }
    }

    fn short() -> store::Error {
        store::Error::Io {
            path: "data/m".into(),
            doing: "open it",
            source: io::Error::from_raw_os_error(libc::EMFILE),
        }
    }

    fn gone() -> Error {
        Error::NotRetained("it is gone".to_owned())
    }

    #[test]
    fn an_error_keeps_its_remedy_however_deep_it_comes_up() {
        let no_base = |nearest: Option<Error>, oldest: Error| Error::NoBase {
            place: "before position 5".to_owned(),
            nearest: nearest.map(Box::new),
            oldest: Box::new(oldest),
        };
        let looked_up = |error: Error| {
            Error::Learner(learn::Error::Lookup {
                position: 7,
                cause: error.of_lookup(),
            })
        };
        let check = |error: Error, expected: Remedy| {
            assert_eq!(error.remedy(), expected, "{error}");
        };
        check(io_error().into(), Remedy::Mend);
        check(StateError::from(io_error()).into(), Remedy::Mend);
        check(looked_up(io_error().into()), Remedy::Mend);
        check(no_base(Some(io_error().into()), gone()), Remedy::Mend);
        check(no_base(None, io_error().into()), Remedy::Mend);
        check(no_base(Some(gone()), gone()), Remedy::Change);
        check(looked_up(gone()), Remedy::Change);
        check(looked_up(damaged().into()), Remedy::Restore);
        check(looked_up(short().into()), Remedy::Wait);
        check(no_base(Some(gone()), damaged().into()), Remedy::Restore);
        check(StateError::Digest(5).into(), Remedy::Restore);
    }

    #[test]
    fn a_request_is_at_fault_only_where_it_asks_for_too_much() {
        let of = |error: Error| error.of_request("m", "selector");
        assert!(matches!(of(io_error().into()), EngineError::Store(_)));
        let failed = |task, why: &str| device::Error::Failed {
            task,
            why: why.to_owned(),
        };
        let device = Error::Answer(failed("answer", "it is gone"));
        assert!(matches!(of(device), EngineError::Unreadable { .. }));
        let without_room = Error::Answer(device::Error::NoRoom {
            task: "answer",
            why: "it is full".to_owned(),
        });
        assert!(matches!(of(without_room), EngineError::Shortage { .. }));
        let bug = Error::Answer(device::Error::Unfit {
            task: "answer",
            why: "2 rows, expected 3".to_owned(),
        });
        assert!(matches!(of(bug), EngineError::Damaged { .. }));
        let other = Error::State(StateError::Digest(5));
        assert!(matches!(of(other), EngineError::Damaged { .. }));
        let looked_up = |error: Error| {
            of(Error::Learner(learn::Error::Lookup {
                position: 7,
                cause: error.of_lookup(),
            }))
        };
        let error = looked_up(damaged().into());
        assert!(matches!(error, EngineError::Damaged { .. }), "{error}");
        let error = looked_up(short().into());
        assert_eq!(error.remedy(), Remedy::Wait, "{error}");
        let EngineError::Refused { field, what } = of(gone()) else {
            panic!("it asks for what is gone")
        };
        assert_eq!((field, what.as_str()), ("selector", "it is gone"));
    }
}
