//! Orders of operators: requests of a person or of the program to a model.
//!
//! Invariant: plain values; whether an order is carried out is decided where it is applied.

use std::fmt;

use super::feedback::Feedback;
use super::time::Time;

/// An operator's command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The order.
    pub order: Order,
    /// The operator: without authentication, the address of the client, or the system's user
    /// of an offline command, as in `uid 1000`.
    pub actor: String,
    /// The reason, in the operator's words.
    pub note: String,
}

/// An order of an operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Make a version of the state as it is here.
    Checkpoint,
    /// Restore the learned state of a version; where it is refused, a [`super::OrderRefusal`] follows.
    Restore {
        /// An existing version.
        version: u64,
    },
    /// A restore from before refusals were journaled: other histories carry it out in any case.
    EarlierRestore {
        /// An existing version.
        version: u64,
    },
    /// Become the learner that never learned this feedback.
    Retract(Retraction),
    /// Overwrite the content of feedback that was retracted before.
    Erase(Selector),
    /// Become the learner that had this description from the first entry on.
    Adopt(Description),
    /// Make the contender the champion, if it is this version with this digest.
    Promote {
        /// Its version.
        version: u64,
        /// The digest of its learned state.
        digest: blake3::Hash,
    },
    /// Score examples, and learn none.
    Freeze,
    /// Learn again.
    Resume,
    /// A person sees to an incident.
    Acknowledge {
        /// The position that it is known by.
        incident: u64,
    },
    /// An incident is done with.
    Close {
        /// The position that it is known by.
        incident: u64,
    },
    /// A learner that begins anew is about to be derived beside this one.
    BeginRetraining {
        /// Labelled rows that it learns from, the newest ones; all that are retained if 0.
        newest: u64,
    },
    /// Put the state of that learner in place of the learned one; where it is refused, a
    /// [`super::OrderRefusal`] follows.
    Retrain {
        /// The position of the first entry that it applied.
        from: u64,
        /// The description that it began under.
        description: Description,
    },
    /// The new learner is given up; the note has the reason.
    EndRetraining,
    /// Take feedback that waits in quarantine; where nothing of it does, an [`OrderRefusal`] follows.
    ///
    /// [`OrderRefusal`]: super::OrderRefusal
    Release(Selector),
    /// Never learn feedback that waits in quarantine; refused as a release is.
    Discard(Selector),
    /// Name a version, in place of the one that had the name.
    SetAlias {
        /// The name.
        alias: String,
        /// The version.
        version: u64,
    },
    /// Remove an alias.
    RemoveAlias {
        /// The name.
        alias: String,
    },
}

impl Order {
    /// The version that it brings back, if it is to bring one back.
    pub fn restored(&self) -> Option<u64> {
        match self {
            Order::Restore { version } | Order::EarlierRestore { version } => Some(*version),
            _ => None,
        }
    }

    /// The version whose checkpoint it needs, if it needs one.
    pub fn needed(&self) -> Option<u64> {
        match self {
            Order::SetAlias { version, .. } => Some(*version),
            order => order.restored(),
        }
    }

    /// True if the order sets or removes an alias.
    pub fn is_of_aliases(&self) -> bool {
        matches!(self, Order::SetAlias { .. } | Order::RemoveAlias { .. })
    }

    /// True if it is an order about evidence and incidents, which makes no version.
    pub fn is_of_gate(&self) -> bool {
        match self {
            Order::Promote { .. }
            | Order::Freeze
            | Order::Resume
            | Order::Acknowledge { .. }
            | Order::Close { .. } => true,
            Order::Checkpoint
            | Order::Restore { .. }
            | Order::EarlierRestore { .. }
            | Order::Retract(_)
            | Order::Erase(_)
            | Order::Adopt(_)
            | Order::BeginRetraining { .. }
            | Order::Retrain { .. }
            | Order::EndRetraining
            | Order::Release(_)
            | Order::Discard(_)
            | Order::SetAlias { .. }
            | Order::RemoveAlias { .. } => false,
        }
    }

    /// True if a refusal of it is journaled.
    pub(crate) fn is_recorded_when_refused(&self) -> bool {
        let others = matches!(self, Order::Restore { .. } | Order::Retrain { .. });
        others || self.is_of_gate() || self.is_of_quarantine()
    }

    /// True if it decides on feedback that waits in quarantine.
    pub fn is_of_quarantine(&self) -> bool {
        matches!(self, Order::Release(_) | Order::Discard(_))
    }

    /// True if it only records that a learner which begins anew is derived, or is not.
    pub(crate) fn is_note_of_retraining(&self) -> bool {
        matches!(self, Order::BeginRetraining { .. } | Order::EndRetraining)
    }

    /// The feedback whose content it overwrites, if it is to overwrite any.
    pub fn erased(&self) -> Option<&Selector> {
        match self {
            Order::Retract(retraction) if retraction.disposal == Disposal::Erase => {
                Some(&retraction.selector)
            }
            Order::Erase(selector) => Some(selector),
            _ => None,
        }
    }
}

/// A retraction: feedback to be retracted, out of all that was accepted before the order.
#[derive(Clone, Debug, PartialEq)]
pub struct Retraction {
    /// The selection of events.
    pub selector: Selector,
    /// The position of the first of them: nothing before it is touched.
    pub first_position: u64,
    /// The fate of its content: kept, or overwritten as well.
    pub disposal: Disposal,
}

/// The disposal of the content of retracted feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// The content stays in the journal, where an audit finds it.
    Keep,
    /// The content is overwritten, the checkpoints that learned from it are deleted, and those that
    /// only hold it keep their learned state alone. The order names no source.
    Erase,
}

/// A selection of feedback events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All events of this source.
    Source(String),
    /// The event with this key.
    FeedbackId(String),
    /// The events accepted from `since` on, up to and including `until`.
    Accepted {
        /// The first moment.
        since: Time,
        /// The last moment.
        until: Time,
    },
    /// All events of the source with this hash.
    SourceHash(NameHash),
    /// The event whose key has this hash.
    FeedbackIdHash(NameHash),
}

/// The first half of the BLAKE3 of a name that is not to be journaled.
pub type NameHash = [u8; 16];

fn name_hash(name: &str) -> NameHash {
    let hash = blake3::hash(name.as_bytes());
    *hash.as_bytes().first_chunk().expect("it has 32 bytes")
}

impl Selector {
    /// The selection, by hash.
    pub fn hashed(&self) -> Selector {
        match self {
            Selector::Source(source) => Selector::SourceHash(name_hash(source)),
            Selector::FeedbackId(id) => Selector::FeedbackIdHash(name_hash(id)),
            other => other.clone(),
        }
    }

    /// True if it selects this event, which was accepted at `time`.
    pub fn chooses(&self, feedback: &Feedback, time: Time) -> bool {
        match self {
            Selector::SourceHash(hash) => name_hash(&feedback.source) == *hash,
            Selector::FeedbackIdHash(hash) => name_hash(&feedback.feedback_id) == *hash,
            Selector::Source(source) => feedback.source == *source,
            Selector::FeedbackId(feedback_id) => feedback.feedback_id == *feedback_id,
            Selector::Accepted { since, until } => (*since..=*until).contains(&time),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Source(source) => write!(f, "source {source:?}"),
            Selector::FeedbackId(feedback_id) => write!(f, "the id {feedback_id:?}"),
            Selector::SourceHash(hash) => {
                write!(f, "the source of hash {:032x}", u128::from_be_bytes(*hash))
            }
            Selector::FeedbackIdHash(hash) => {
                write!(f, "the id of hash {:032x}", u128::from_be_bytes(*hash))
            }
            Selector::Accepted { since, until } => match (since.0, until.0) {
                (i64::MIN, _) => write!(f, "the time up to {until}"),
                (_, i64::MAX) => write!(f, "the time since {since}"),
                _ => write!(f, "the time from {since} to {until}"),
            },
        }
    }
}

/// The model description in force from here on, with the program and its numeric profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// The text of model.toml.
    pub toml: String,
    /// Name and version of the program.
    pub build: String,
    /// The numeric profile: the settings, besides the journal, on which the bits of a result depend.
    pub profile: String,
}
