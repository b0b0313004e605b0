//! The queue to the writer, bounded in messages and in bytes.
//!
//! Invariant: what does not fit is refused at once; nobody who serves a request waits here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::writer::Work;
use crate::event::{Batch, Column, Outputs, Prediction, Subject};

/// Messages on their way at a time, and the bytes that they hold.
const MESSAGES_MAX: usize = 16 * 1024;
const BYTES_MAX: usize = 256 << 20;
/// What a message takes besides its features.
const MESSAGE_BYTES: usize = 512;

/// Something to be written, for the model of this index.
pub struct Message {
    pub model: usize,
    pub work: Work,
    /// About how many it holds.
    pub bytes: usize,
}

/// Where messages are put; a clone shares the queue.
#[derive(Clone)]
pub struct Outbox {
    messages: Sender<Message>,
    bytes: Arc<AtomicUsize>,
}

/// Where the writer takes them out.
pub struct Inbox {
    pub messages: Receiver<Message>,
    bytes: Arc<AtomicUsize>,
}

/// There is no room, or nobody writes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// An empty queue.
pub fn queue() -> (Outbox, Inbox) {
    let (sender, receiver) = bounded(MESSAGES_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        messages: sender,
        bytes: bytes.clone(),
    };
    let inbox = Inbox {
        messages: receiver,
        bytes,
    };
    (outbox, inbox)
}

impl Outbox {
    /// Puts work for a model into the queue, if there is room.
    pub fn offer(&self, model: usize, work: Work) -> Result<(), Refused> {
        let bytes = MESSAGE_BYTES + size(&work);
        if self.bytes.fetch_add(bytes, Relaxed) + bytes > BYTES_MAX {
            self.bytes.fetch_sub(bytes, Relaxed);
            return Err(Refused);
        }
        let message = Message { model, work, bytes };
        self.messages.try_send(message).map_err(|_| {
            self.bytes.fetch_sub(bytes, Relaxed);
            Refused
        })
    }

    /// About how many bytes are on their way.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed) as u64
    }

    /// Puts work into the queue, and waits for room: never on behalf of a prediction.
    pub fn insist(&self, model: usize, work: Work) -> Result<(), Refused> {
        let message = Message {
            model,
            work,
            bytes: 0,
        };
        self.messages.send(message).map_err(|_| Refused)
    }

    /// Waits until all that was put in before is on disk; false where nobody writes any more.
    pub fn flush(&self) -> bool {
        let (done, flushed) = bounded(1);
        self.insist(0, Work::Flush(done)).is_ok() && flushed.recv().is_ok()
    }
}

impl Inbox {
    /// Notes that messages of so many bytes have been taken out.
    pub fn taken(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

/// About how many bytes a prediction takes, here and in the journal.
pub fn prediction_bytes(prediction: &Prediction) -> usize {
    let outputs = match &prediction.outputs {
        Outputs::Probabilities(values) | Outputs::Values(values) => values.len(),
        Outputs::Actions { scores, .. } => scores.len() + 2 * prediction.ids.len(),
    };
    let ids = size_of_val(prediction.ids.as_slice());
    let labels = prediction.labels.values();
    let labels: usize = labels.map(|v| v.len() + size_of::<String>()).sum();
    features(&prediction.batch) + outputs * size_of::<f32>() + ids + labels
}

/// About how many bytes a message holds.
fn size(work: &Work) -> usize {
    match work {
        Work::Prediction(prediction) => prediction_bytes(prediction),
        Work::Feedback(feedback, _) => match &feedback.subject {
            Subject::Inputs { batch, .. } => features(batch),
            Subject::Prediction(_) => 0,
        },
        Work::Command(..)
        | Work::Record(_)
        | Work::Trim(_)
        | Work::Due
        | Work::Flush(_)
        | Work::Close => 0,
    }
}

fn features(batch: &Batch) -> usize {
    let column = |column: &Column| match column {
        Column::Numbers(values) => size_of_val(values.as_slice()),
        Column::Strings(values) => values.iter().map(|v| v.len() + size_of::<String>()).sum(),
        Column::Vectors(bytes) => bytes.len(),
        Column::Embedded { texts, vectors } => {
            let texts = texts.iter().map(|v| v.len() + size_of::<String>());
            texts.sum::<usize>() + vectors.len()
        }
    };
    batch.columns.iter().map(column).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(n_bytes: usize) -> Work {
        Work::Prediction(Prediction {
            ids: vec![],
            batch: Batch {
                n_rows: 1,
                columns: vec![Column::Vectors(vec![0; n_bytes].into())],
            },
            outputs: Outputs::Values(vec![]),
            labels: Default::default(),
            version: 1,
            position: 1,
        })
    }

    #[test]
    fn p8_the_queue_is_bounded_in_bytes() {
        let (outbox, inbox) = queue();
        assert_eq!(outbox.offer(0, prediction(BYTES_MAX / 2)), Ok(()));
        assert_eq!(outbox.offer(0, prediction(BYTES_MAX / 2)), Err(Refused));
        inbox.taken(inbox.messages.recv().unwrap().bytes);
        assert_eq!(outbox.offer(0, prediction(BYTES_MAX / 2)), Ok(()));
    }

    #[test]
    fn p8_the_queue_is_bounded_in_messages() {
        let (outbox, _inbox) = queue();
        for _ in 0..MESSAGES_MAX {
            assert_eq!(outbox.offer(0, prediction(0)), Ok(()));
        }
        assert_eq!(outbox.offer(0, prediction(0)), Err(Refused));
    }
}
