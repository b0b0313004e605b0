//! Lookups of a learner: answers in the journal, and states of versions.
//!
//! Invariant: the journal alone decides the result of a lookup, so that a learner that asks stays a
//! function of state and entry; but for a device that is gone, with which a numeric profile ends.

use std::borrow::Cow;
use std::sync::Arc;

use crate::event::{Description, Feedback, Prediction, Time, Version};
use crate::model::weights::Tensors;
use crate::model::{Device, PinnedFile, Spec, TextEncoder};

/// The reason why a lookup failed; each is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The system is short of descriptors, memory or room on the disk: the same lookup may succeed
    /// later.
    #[error("{0}")]
    Shortage(String),
    /// The disk or an encoder could not be read: mend it.
    #[error("{0}")]
    Unreadable(String),
    /// The file is damaged: restore it from a copy.
    #[error("{0}")]
    Damaged(String),
    /// The state is no longer kept.
    #[error("{0}")]
    NotRetained(String),
}

/// The lookups that a learner may make while it applies an entry.
pub trait Lookup {
    /// The prediction entry at this position.
    ///
    /// # Errors
    /// When it is not there any more.
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, LookupError>;

    /// The feedback entry at this position, and when it was accepted: asked for where a second
    /// truth comes for a prediction.
    ///
    /// # Errors
    /// When it is not there any more.
    fn feedback(&mut self, position: u64) -> Result<(Time, Feedback), LookupError> {
        Err(LookupError::NotRetained(format!(
            "no feedback is kept, as of entry {position}"
        )))
    }

    /// Weights and learner state of this version.
    ///
    /// # Errors
    /// When it is not there, or not whole.
    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), LookupError>;

    /// The encoder that a description pins: asked for where its adapters learn.
    ///
    /// # Errors
    /// When it is not there, or not the one that is pinned.
    fn encoder(&mut self, pinned: &PinnedFile) -> Result<Arc<TextEncoder>, LookupError> {
        Err(LookupError::NotRetained(format!(
            "no encoder is kept, as is {}",
            pinned.path
        )))
    }

    /// The device that computes a network in place of the one that a description names: the same,
    /// unless that is gone.
    fn device(&self, named: Device) -> Device {
        named
    }

    /// True if the bits of a description's numeric profile are computed here: the digests of another
    /// profile's records differ from those derived here.
    fn has_profile(&self, _description: &Description, _spec: &Spec) -> bool {
        true
    }

    /// True if the recorded history refused the order at this position; other histories ask.
    fn refused(&mut self, _position: u64) -> bool {
        false
    }

    /// The last order that took back the event at this position before it was erased, by its
    /// position; none where the journal has no record of one.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn taken_back(&mut self, _position: u64) -> Result<Option<u64>, LookupError> {
        Ok(None)
    }

    /// The next version that was made at this position by its record in the journal; asked where it is
    /// not derived.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn recorded(&mut self, _position: u64) -> Result<Option<Version>, LookupError> {
        Ok(None)
    }
}

/// Nothing is kept: for streams whose feedback brings its own rows.
impl Lookup for () {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, LookupError> {
        Err(LookupError::NotRetained(format!(
            "no prediction is kept, as of entry {position}"
        )))
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), LookupError> {
        Err(LookupError::NotRetained(format!(
            "no version is kept, as is {version}"
        )))
    }
}
