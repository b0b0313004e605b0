//! Lookups in the journal and among the versions of one model, for one learner.
//!
//! Invariant: everything is found by position and number alone, so that live, recovered and rebuilt
//! learners find the same.

use std::collections::BTreeSet;

use crate::engine::history::error::Error;
use crate::engine::history::facts::Facts;
use crate::engine::history::pass::Pass;
use crate::engine::history::translation::Translation;
use crate::engine::versions::kept::RetainedStates;
use crate::engine::versions::saved::Versions;
use crate::event::{Entry, Event, Feedback, Prediction, Time};
use crate::learn::Exclusion;
use crate::model::Device;
use crate::store::Reader;

/// The journal and the versions of one model.
pub(crate) struct JournalLookup {
    pub reader: Reader,
    pub versions: Versions,
    /// The facts of the entries that were handed out, and of those that are known to follow.
    pub facts: Facts,
    /// Feedback that the learner's history excludes.
    pub exclusions: Vec<Exclusion>,
    /// Orders that the recorded history refused, as far as they are recorded.
    pub refused: BTreeSet<u64>,
    /// States of versions as the learner's own history made them.
    pub kept: RetainedStates,
    /// The translation of the journal's entries into those of another description.
    pub translation: Option<Translation>,
}

impl JournalLookup {
    pub(crate) fn new(reader: Reader, versions: Versions) -> JournalLookup {
        JournalLookup {
            facts: Facts::from(reader.next_position()),
            reader,
            versions,
            exclusions: Vec::new(),
            refused: BTreeSet::new(),
            kept: RetainedStates::default(),
            translation: None,
        }
    }

    /// The next entry up to position `last`; none when all are applied.
    pub(crate) fn next(&mut self, last: u64) -> Result<Option<Entry>, Error> {
        let (retry, reader) = (&self.versions.retry, &mut self.reader);
        let next = retry.run(|| reader.next(last))?;
        next.iter().for_each(|entry| self.facts.note(entry));
        Ok(next)
    }

    /// The entry at a position, which stands before the one that is applied.
    fn entry(&mut self, position: u64) -> Result<Entry, Error> {
        let (retry, reader) = (&self.versions.retry, &mut self.reader);
        Ok(retry.run(|| reader.read(position))?)
    }

    /// The prediction at a position, as the learner is to see it.
    pub(crate) fn prediction_at(&mut self, position: u64) -> Result<Prediction, Error> {
        match (self.entry(position)?.event, &self.translation) {
            (Event::Prediction(prediction), None) => Ok(prediction),
            (Event::Prediction(prediction), Some(translation)) => {
                translation.prediction(position, prediction)
            }
            _ => Err(Error::NotRetained(format!(
                "entry {position} is not a prediction"
            ))),
        }
    }

    /// The feedback at a position, and when it was accepted.
    pub(crate) fn feedback_at(&mut self, position: u64) -> Result<(Time, Feedback), Error> {
        let entry = self.entry(position)?;
        match (entry.event, &self.translation) {
            (Event::Feedback(feedback), None) => Ok((entry.time, feedback)),
            (Event::Feedback(feedback), Some(translation)) => {
                Ok((entry.time, translation.feedback(position, feedback)?))
            }
            _ => Err(Error::NotRetained(format!(
                "entry {position} is not feedback"
            ))),
        }
    }

    /// The device that computes in place of the one that a description names, where that is gone.
    pub(crate) fn device_for(&self, named: Device) -> Device {
        match self.versions.stand_in {
            Some(other) if other != named && named.check().is_err() => other,
            _ => named,
        }
    }

    /// The position of a version's state, from its manifest or its record up to `last`.
    pub(crate) fn position_of(&self, version: u64, last: u64) -> Result<u64, Error> {
        let versions = &self.versions;
        if let Some(manifest) = versions.retry.run(|| versions.find(version))? {
            return Ok(manifest.position);
        }
        let mut pass = Pass::from_start(versions, 0)?;
        while let Some(entry) = pass.next(last)? {
            if let Event::Version(record) = entry.event
                && record.version == version
            {
                return Ok(record.position);
            }
        }
        let what = format!("version {version} has neither a manifest nor a record in the journal");
        Err(Error::NotRetained(what))
    }
}
