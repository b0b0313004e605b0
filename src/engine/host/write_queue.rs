//! The queue to the writer, bounded in messages and in bytes.
//!
//! Invariant: what does not fit is refused at once; nobody who serves a request waits here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::engine::host::writer::Work;
use crate::event::{Batch, Column, Feedback, Outputs, Prediction, Signal, Subject};

/// Messages on their way at a time, and the bytes that they hold.
const MESSAGES_MAX: usize = 20 * 1024;
const BYTES_MAX: usize = 256 << 20;
/// Parts of both, out of so many, that predictions leave to feedback, and both leave to orders.
const PARTS: usize = 16;
const KEPT_FOR_FEEDBACK: usize = 4;
const KEPT_FOR_ORDERS: usize = 1;
/// What a message or an entry takes besides what it holds.
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
pub struct WriteQueue {
    messages: Sender<Message>,
    bytes: Arc<AtomicUsize>,
}

/// Where the writer takes them out.
pub struct WriteReceiver {
    pub messages: Receiver<Message>,
    bytes: Arc<AtomicUsize>,
}

/// There is no room, or nobody writes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// An empty queue.
pub fn queue() -> (WriteQueue, WriteReceiver) {
    let (sender, receiver) = bounded(MESSAGES_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    let write_queue = WriteQueue {
        messages: sender,
        bytes: bytes.clone(),
    };
    let write_receiver = WriteReceiver {
        messages: receiver,
        bytes,
    };
    (write_queue, write_receiver)
}

impl WriteQueue {
    /// Puts work for a model into the queue, if there is room for its kind.
    pub fn offer(&self, model: usize, work: Work) -> Result<(), Refused> {
        let bytes = message_bytes(&work);
        let parts = match &work {
            Work::Prediction(_) => PARTS - KEPT_FOR_FEEDBACK,
            Work::Feedback(..) => PARTS - KEPT_FOR_ORDERS,
            _ => PARTS,
        };
        if self.messages.len() >= MESSAGES_MAX / PARTS * parts {
            return Err(Refused);
        }
        if self.bytes.fetch_add(bytes, Relaxed) + bytes > BYTES_MAX / PARTS * parts {
            self.bytes.fetch_sub(bytes, Relaxed);
            return Err(Refused);
        }
        let message = Message { model, work, bytes };
        self.messages.try_send(message).map_err(|_| {
            self.bytes.fetch_sub(bytes, Relaxed);
            Refused
        })
    }

    /// How much of the queue is taken, as a fraction.
    pub fn used(&self) -> f64 {
        let bytes = self.bytes.load(Relaxed) as f64 / BYTES_MAX as f64;
        bytes.max(self.messages.len() as f64 / MESSAGES_MAX as f64)
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

    /// Waits until the feedback ids of what is synced are on disk; false where they are not.
    pub fn write_ids(&self, model: usize) -> bool {
        let (done, written) = bounded(1);
        self.insist(model, Work::WriteIds(done)).is_ok() && written.recv() == Ok(true)
    }

    /// Waits until all that was put in before is on disk; false where nobody writes any more.
    pub fn flush(&self) -> bool {
        let (done, flushed) = bounded(1);
        self.insist(0, Work::Flush(done)).is_ok() && flushed.recv().is_ok()
    }
}

impl WriteReceiver {
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

/// How many bytes a message holds, and its entry at most: that of a prediction, or of feedback.
pub fn message_bytes(work: &Work) -> usize {
    MESSAGE_BYTES
        + match work {
            Work::Prediction(prediction) => prediction_bytes(prediction),
            Work::Feedback(feedback, _) => feedback_bytes(feedback),
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
    /// What a column takes besides its values.
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
        let (write_queue, write_receiver) = queue();
        assert_eq!(write_queue.offer(0, prediction(BYTES_MAX / 2)), Ok(()));
        assert_eq!(
            write_queue.offer(0, prediction(BYTES_MAX / 2)),
            Err(Refused)
        );
        // What predictions may not take is there for an order.
        assert_eq!(write_queue.offer(0, Work::Trim(1)), Ok(()));
        write_receiver.taken(write_receiver.messages.recv().unwrap().bytes);
        assert_eq!(write_queue.offer(0, prediction(BYTES_MAX / 2)), Ok(()));
    }

    #[test]
    fn p8_the_queue_is_bounded_in_messages() {
        let (write_queue, _inbox) = queue();
        for n in 0..MESSAGES_MAX {
            let expected = match n < MESSAGES_MAX * 3 / 4 {
                true => Ok(()),
                false => Err(Refused),
            };
            assert_eq!(write_queue.offer(0, prediction(0)), expected, "{n}");
            if expected.is_err() {
                assert_eq!(write_queue.offer(0, Work::Trim(1)), Ok(()), "{n}");
            }
        }
        assert_eq!(write_queue.offer(0, Work::Trim(1)), Err(Refused));
    }
}
