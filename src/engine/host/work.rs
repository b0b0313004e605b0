//! The work of the journal's writer, and the acknowledgement of feedback.

use std::sync::mpsc::SyncSender;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::engine::error::Error;
use crate::event::{Batch, Column, Command, Description, Event};
use crate::event::{Feedback, Outputs, Prediction, Signal, Subject};

/// A message takes so many bytes besides its content, in the queue and in the journal.
const MESSAGE_BYTES: usize = 512;

/// One piece of work for the writer.
pub(crate) enum Work {
    Prediction(Prediction),
    /// With the moment at which it was taken.
    Feedback(
        Feedback,
        oneshot::Sender<Result<Acknowledgement, Error>>,
        Instant,
    ),
    Command(Command, oneshot::Sender<Result<u64, Error>>),
    /// A description of other limits.
    Describe(Description, oneshot::Sender<Result<u64, Error>>),
    /// A record that the learner derived.
    Record(Event),
    /// Journal a tick, so that entries that have become too old can be removed.
    Tick,
    /// Remove segments that hold nothing from this position on.
    Trim(u64),
    /// Write the feedback ids of the synced entries; the reply is whether the disk took them.
    WriteIds(SyncSender<bool>),
    /// More is due than closed within the newest tick: check whether the next one is.
    Due,
    /// Sync every journal, then reply.
    Flush(SyncSender<()>),
    /// Close every journal, then end.
    Close,
}

/// The acknowledgement of a feedback event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// New: the event is on disk, and will be learned.
    Accepted {
        /// The position of the entry.
        position: u64,
    },
    /// Sent before.
    Duplicate {
        /// The position of the first entry.
        position: u64,
    },
    /// Sent before, and retracted since: the event is not learned again under this id.
    Retracted {
        /// The position of the first entry.
        position: u64,
    },
}

/// About how many bytes a prediction takes, here and in the journal.
pub(crate) fn prediction_bytes(prediction: &Prediction) -> usize {
    let outputs = match &prediction.outputs {
        Outputs::Probabilities(values) => values.len(),
        Outputs::Values(values) => 2 * values.len(),
        Outputs::Decisions {
            probabilities,
            chosen,
        } => probabilities.len() + chosen.len(),
        Outputs::Actions { scores, .. } => scores.len() + 2 * prediction.ids.len(),
    };
    let ids = size_of_val(prediction.ids.as_slice());
    let labels = prediction.labels.values();
    let labels: usize = labels.map(|v| v.len() + size_of::<String>()).sum();
    features(&prediction.batch) + outputs * size_of::<f32>() + ids + labels
}

/// The bytes of a message, and of its entry at most: that of a prediction, or of feedback.
pub(crate) fn message_bytes(work: &Work) -> usize {
    MESSAGE_BYTES
        + match work {
            Work::Prediction(prediction) => prediction_bytes(prediction),
            Work::Feedback(feedback, ..) => feedback_bytes(feedback),
            _ => 0,
        }
}

/// About how many bytes feedback takes, here and in the journal.
fn feedback_bytes(feedback: &Feedback) -> usize {
    let rows = match &feedback.subject {
        Subject::Inputs { batch, decision } => {
            features(batch)
                + decision
                    .as_ref()
                    .map_or(0, |decision| decision.action.len())
        }
        Subject::Prediction(_) => 0,
    };
    let signal = match &feedback.signal {
        Signal::Label(text) | Signal::Named { name: text, .. } => text.len(),
        Signal::Value(_) | Signal::Reward(_) | Signal::PreferredOver(_) => 0,
    };
    let tags = feedback.tags.iter();
    let tags: usize = tags
        .map(|(name, value)| name.len() + value.len() + 16)
        .sum();
    let texts = [&feedback.feedback_id, &feedback.source, &feedback.actor];
    rows + signal + tags + texts.map(|text| text.len()).iter().sum::<usize>()
}

fn features(batch: &Batch) -> usize {
    /// A column takes so many bytes besides its values.
    const COLUMN_BYTES: usize = 16;
    let column = |column: &Column| {
        COLUMN_BYTES
            + match column {
                Column::Numbers(values) => size_of_val(values.as_slice()),
                Column::Strings(values) => {
                    values.iter().map(|v| v.len() + size_of::<String>()).sum()
                }
                Column::Vectors(bytes) => bytes.len(),
                Column::Embedded { texts, vectors } => {
                    let texts = texts.iter().map(|v| v.len() + size_of::<String>());
                    texts.sum::<usize>() + vectors.len()
                }
            }
    };
    batch.columns.iter().map(column).sum()
}
