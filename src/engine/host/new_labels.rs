//! Labels that are journaled and not learned yet, and would take a place among the classes.
//!
//! Invariant: no more are acknowledged than there are places, whoever sends them at once.

use std::collections::BTreeMap;

use crate::engine::compute::serving::Snapshot;
use crate::engine::error::Error;
use crate::event::{Feedback, Signal};
use crate::model::Task;

/// New labels on their way, each with the last position that it stands at.
#[derive(Debug, Default)]
pub(crate) struct NewLabels(BTreeMap<String, u64>);

impl NewLabels {
    /// Refuses a label for which those on their way have left no place.
    pub(crate) fn check(&mut self, feedback: &Feedback, served: &Snapshot) -> Result<(), Error> {
        let Some((label, classes_max)) = new_label(feedback, served) else {
            return Ok(());
        };
        let names = &served.model.names;
        self.0
            .retain(|label, position| *position > served.position && !names.contains(label));
        if self.0.contains_key(label) || names.len() + self.0.len() < classes_max {
            return Ok(());
        }
        Err(Error::Refused {
            field: "label",
            what: format!(
                "\"{label:.64}\" is new, and all {classes_max} places are taken; \
                 describe a model with a larger classes_max"
            ),
        })
    }

    /// Takes note of feedback that is journaled now.
    pub(crate) fn note(&mut self, feedback: &Feedback, served: &Snapshot, position: u64) {
        if let Some((label, _)) = new_label(feedback, served) {
            self.0.insert(label.to_owned(), position);
        }
    }
}

/// A label that is no class yet, and how many there can be.
fn new_label<'a>(feedback: &'a Feedback, served: &Snapshot) -> Option<(&'a str, usize)> {
    match (&feedback.signal, &served.model.spec.task) {
        (Signal::Label(label), Task::Classification { classes_max, .. })
            if !served.model.names.contains(label) =>
        {
            Some((label, *classes_max))
        }
        _ => None,
    }
}
