//! FATE: find a feedback event by its id, and give its fate.
//!
//! Invariant: nothing is changed; an erased event is not found, since its id is overwritten.

use crate::engine::error::Error;
use crate::engine::flows::audit::{PredictionFeedback, with_fate};
use crate::engine::history::facts::Facts;
use crate::engine::history::pass::Pass;
use crate::engine::host::served_model::ServedModel;
use crate::engine::versions::saved::Versions;
use crate::event::{Event, PredictionId, Subject};

/// A feedback event, and its fate.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackFate {
    /// The event.
    pub feedback: PredictionFeedback,
    /// The prediction that it is about; none where it brought its inputs.
    pub prediction: Option<PredictionId>,
    /// The number of times it was sent again.
    pub resent: u64,
}

/// The newest event with this id in a journal, which is written up to `last`.
pub(crate) fn fate(
    versions: &Versions,
    last: u64,
    feedback_id: &str,
) -> Result<Option<FeedbackFate>, Error> {
    let mut pass = Pass::from_start(versions, last)?;
    let mut facts = Facts::from(pass.next_position());
    let (mut found, mut resent) = (None, 0);
    while let Some(entry) = pass.next(last)? {
        facts.note(&entry);
        match entry.event {
            Event::Feedback(feedback) if feedback.feedback_id == feedback_id => {
                (found, resent) = (Some((entry.position, entry.time, feedback)), 0);
            }
            Event::Duplicate(again) if again.feedback_id == feedback_id => resent += 1,
            _ => {}
        }
    }
    Ok(found.map(|event| FeedbackFate {
        prediction: match event.2.subject {
            Subject::Prediction(id) => Some(id),
            Subject::Inputs { .. } => None,
        },
        feedback: with_fate(versions, &facts, event),
        resent,
    }))
}

impl ServedModel {
    /// The newest feedback event with this id, and its fate; none where the journal holds none.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the model is not served. [`Error::Store`]: the journal cannot be read.
    pub fn fate(&self, feedback_id: &str) -> Result<Option<FeedbackFate>, Error> {
        let runtime = self.get()?;
        fate(runtime.versions(), runtime.progress().synced(), feedback_id)
    }
}
