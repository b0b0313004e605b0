//! Where a learner finds what it asks for: in the journal, among the versions, in another history.
//!
//! Invariant: it is found by position and number alone, so that live, recovered and rederived
//! learners find the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::derivation::Derivation;
use super::translation::Translation;
use super::versions::Versions;
use crate::event::{Event, Feedback, Order, Prediction, Time};
use crate::learn::{Archive, Omission, Otherwise};
use crate::model::weights::Tensors;
use crate::model::{Device, Pinned, TextEncoder};
use crate::store::Reader;

/// The journal and the versions of one model, for one learner.
pub struct Shelf {
    pub reader: Reader,
    pub versions: Versions,
    /// What the learner's history leaves out.
    pub omissions: Vec<Omission>,
    /// States of versions as the learner's own history made them.
    pub kept: BTreeMap<u64, (Tensors, Tensors)>,
    /// From the entries of the journal to those of another description.
    pub translation: Option<Translation>,
    /// A derivation that has almost caught up with an order on its way.
    pub prepared: Prepared,
}

/// Where a derivation is handed over to the learner that has to become it.
pub type Prepared = Arc<Mutex<Option<Derivation>>>;

impl Shelf {
    pub fn new(reader: Reader, versions: Versions) -> Shelf {
        Shelf {
            reader,
            versions,
            omissions: Vec::new(),
            kept: BTreeMap::new(),
            translation: None,
            prepared: Prepared::default(),
        }
    }
}

impl Archive for Shelf {
    fn prediction(&mut self, position: u64) -> Result<Cow<'_, Prediction>, String> {
        let entry = self.reader.read(position);
        match entry.map_err(|error| error.to_string())?.event {
            Event::Prediction(prediction) => Ok(Cow::Owned(match &self.translation {
                Some(translation) => translation.prediction(position, prediction)?,
                None => prediction,
            })),
            _ => Err(format!("entry {position} is not a prediction")),
        }
    }

    fn feedback(&mut self, position: u64) -> Result<(Time, Feedback), String> {
        let entry = self.reader.read(position);
        let entry = entry.map_err(|error| error.to_string())?;
        match entry.event {
            Event::Feedback(feedback) => Ok((entry.time, feedback)),
            _ => Err(format!("entry {position} is not feedback")),
        }
    }

    fn version(&mut self, version: u64) -> Result<(Tensors, Tensors), String> {
        match self.kept.get(&version) {
            Some(kept) => Ok(kept.clone()),
            None => self
                .versions
                .load(version)
                .map_err(|error| error.to_string()),
        }
    }

    fn encoder(&mut self, pinned: &Pinned) -> Result<Arc<TextEncoder>, String> {
        self.versions.encoder(pinned)
    }

    fn device(&self, named: Device) -> Device {
        match self.versions.stand_in {
            Some(other) if other != named && named.check().is_err() => other,
            _ => named,
        }
    }

    fn otherwise(&mut self, order: &Order, position: u64) -> Result<Otherwise, String> {
        let mut prepared = self.prepared.lock().map_err(|error| error.to_string())?;
        let prepared = prepared
            .take()
            .filter(|derivation| derivation.order() == Some(order));
        let derivation = match prepared {
            Some(derivation) => derivation,
            None => Derivation::begin(&self.versions, order, position - 1, &self.omissions)?,
        };
        derivation.finish(position - 1)
    }
}
