//! Labels that are journaled and not learned yet, and would take a place among the classes.
//!
//! Invariant: no more are acknowledged than there are places, however many senders there are at once.

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
        if self.0.contains_key(label) {
            Ok(())
        } else {
            check_place(label, names.len() + self.0.len(), classes_max)
        }
    }

    /// Takes note of feedback that is journaled now.
    pub(crate) fn note(&mut self, feedback: &Feedback, served: &Snapshot, position: u64) {
        if let Some((label, _)) = new_label(feedback, served) {
            self.0.insert(label.to_owned(), position);
        }
    }
}

/// Refuses a label that is no class yet, where so many places are taken that none is left for it.
pub(crate) fn check_place(label: &str, n_taken: usize, classes_max: usize) -> Result<(), Error> {
    if n_taken < classes_max {
        Ok(())
    } else {
        Err(Error::NoPlace {
            label: label.to_owned(),
            classes_max,
        })
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
