//! The queue to the writer, bounded in messages and in bytes.
//!
//! Invariant: a message that does not fit is refused at once; no request waits here. A message that a request
//! waits for wakes a writer that rests; predictions do not.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
// A receiver of these drops the work that is still in the channel when it goes, with the replies that are
// waited for; crossbeam's leaves them there while a sender lives.
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::engine::host::work::{Work, message_bytes};

/// Messages on their way at a time, and the bytes that they hold.
const MESSAGES_MAX: usize = 20 * 1024;
const BYTES_MAX: usize = 64 << 20;
/// Parts of both, out of so many, that predictions leave to feedback, and both leave to orders.
const PARTS: usize = 16;
const KEPT_FOR_FEEDBACK: usize = 4;
const KEPT_FOR_ORDERS: usize = 1;
/// Something to be written, for the model of this index.
pub(crate) struct Message {
    pub model: usize,
    pub work: Work,
    /// About how many it holds.
    pub bytes: usize,
}

/// The entrance for the messages of one model; all models share the queue.
#[derive(Clone)]
pub(crate) struct WriteQueue {
    messages: SyncSender<Message>,
    n_messages: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    urgent: Arc<Urgent>,
    model: usize,
}

/// The exit, for the writer.
pub(crate) struct WriteReceiver {
    messages: Receiver<Message>,
    n_messages: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    urgent: Arc<Urgent>,
}

/// Whether something has come since the last rest that is to be written at once.
#[derive(Default)]
struct Urgent {
    has_come: Mutex<bool>,
    comes: Condvar,
}

/// The refusal of an entry: there is no room, or the writer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueRefusal;

/// An empty queue.
pub(crate) fn queue() -> (WriteQueue, WriteReceiver) {
    let (sender, receiver) = sync_channel(MESSAGES_MAX);
    let (n_messages, bytes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let urgent = Arc::<Urgent>::default();
    let write_queue = WriteQueue {
        messages: sender,
        n_messages: n_messages.clone(),
        bytes: bytes.clone(),
        urgent: urgent.clone(),
        model: 0,
    };
    let write_receiver = WriteReceiver {
        messages: receiver,
        n_messages,
        bytes,
        urgent,
    };
    (write_queue, write_receiver)
}

impl WriteQueue {
    /// The entrance for the model whose journal has this index.
    pub(crate) fn for_model(&self, model: usize) -> WriteQueue {
        WriteQueue {
            model,
            ..self.clone()
        }
    }

    /// Puts work into the queue, if there is room for its kind.
    pub(crate) fn offer(&self, work: Work) -> Result<(), QueueRefusal> {
        let bytes = message_bytes(&work);
        let parts = match &work {
            Work::Prediction(_) => PARTS - KEPT_FOR_FEEDBACK,
            Work::Feedback(..) => PARTS - KEPT_FOR_ORDERS,
            _ => PARTS,
        };
        if self.n_messages.load(Relaxed) >= MESSAGES_MAX / PARTS * parts {
            return Err(QueueRefusal);
        }
        let before = self.bytes.fetch_add(bytes, Relaxed);
        // The largest one has room where it is alone.
        if before > 0 && before + bytes > BYTES_MAX / PARTS * parts {
            self.bytes.fetch_sub(bytes, Relaxed);
            return Err(QueueRefusal);
        }
        let model = self.model;
        let can_wait = matches!(work, Work::Prediction(_));
        let message = Message { model, work, bytes };
        self.n_messages.fetch_add(1, Relaxed);
        let sent = self.messages.try_send(message).map_err(|_| {
            self.n_messages.fetch_sub(1, Relaxed);
            self.bytes.fetch_sub(bytes, Relaxed);
            QueueRefusal
        });
        if !can_wait {
            self.urgent.come();
        }
        sent
    }

    /// True if feedback would be taken now.
    pub(crate) fn has_room_for_feedback(&self) -> bool {
        let parts = PARTS - KEPT_FOR_ORDERS;
        self.n_messages.load(Relaxed) < MESSAGES_MAX / PARTS * parts
            && self.bytes.load(Relaxed) < BYTES_MAX / PARTS * parts
    }

    /// The taken part of the queue, as a fraction.
    pub(crate) fn used(&self) -> f64 {
        let bytes = self.bytes.load(Relaxed) as f64 / BYTES_MAX as f64;
        bytes.max(self.n_messages.load(Relaxed) as f64 / MESSAGES_MAX as f64)
    }

    /// Puts work into the queue, and waits for room: never on behalf of a prediction.
    pub(crate) fn insist(&self, work: Work) -> Result<(), QueueRefusal> {
        let message = Message {
            model: self.model,
            work,
            bytes: 0,
        };
        self.n_messages.fetch_add(1, Relaxed);
        let sent = self.messages.send(message).map_err(|_| {
            self.n_messages.fetch_sub(1, Relaxed);
            QueueRefusal
        });
        self.urgent.come();
        sent
    }

    /// Waits until the feedback ids of the synced entries are on disk; false where they are not.
    pub(crate) fn write_ids(&self) -> bool {
        let (done, written) = sync_channel(1);
        self.insist(Work::WriteIds(done)).is_ok() && written.recv() == Ok(true)
    }

    /// Waits until all that was put in before is on disk; false where the writer has ended.
    pub(crate) fn flush(&self) -> bool {
        let (done, flushed) = sync_channel(1);
        self.insist(Work::Flush(done)).is_ok() && flushed.recv().is_ok()
    }
}

impl Urgent {
    fn come(&self) {
        *self.has_come.lock().expect("nothing panics under it") = true;
        self.comes.notify_one();
    }
}

impl WriteReceiver {
    /// Sleeps so long, or until something comes that is to be written at once.
    pub(crate) fn rest(&self, time: Duration) {
        let has_come = self.urgent.has_come.lock();
        let has_come = has_come.expect("nothing panics under it");
        let rested = self
            .urgent
            .comes
            .wait_timeout_while(has_come, time, |has_come| !*has_come);
        *rested.expect("nothing panics under it").0 = false;
    }

    /// The next message, which is waited for so long.
    pub(crate) fn next(&self, wait: Duration) -> Result<Message, RecvTimeoutError> {
        let message = self.messages.recv_timeout(wait);
        self.n_messages
            .fetch_sub(usize::from(message.is_ok()), Relaxed);
        message
    }

    /// The messages that have come.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Message> {
        let waiting = self.messages.try_iter();
        waiting.inspect(|_| _ = self.n_messages.fetch_sub(1, Relaxed))
    }

    /// Notes that messages of so many bytes have been taken out.
    pub(crate) fn taken(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Batch, Column, Command, Order, Outputs, Prediction};

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
        assert_eq!(write_queue.offer(prediction(BYTES_MAX / 2)), Ok(()));
        assert_eq!(
            write_queue.offer(prediction(BYTES_MAX / 2)),
            Err(QueueRefusal)
        );
        // The part that predictions may not take is there for an order.
        assert_eq!(write_queue.offer(Work::Trim(1)), Ok(()));
        let message = write_receiver.waiting().next().expect("a message");
        write_receiver.taken(message.bytes);
        assert_eq!(write_queue.offer(prediction(BYTES_MAX / 2)), Ok(()));
        let (alone, _receiver) = queue();
        assert_eq!(alone.offer(prediction(BYTES_MAX + 1)), Ok(()));
        assert_eq!(alone.offer(prediction(1)), Err(QueueRefusal));
    }

    #[test]
    fn p8_the_queue_is_bounded_in_messages() {
        let (write_queue, _inbox) = queue();
        for n in 0..MESSAGES_MAX {
            let expected = if n < MESSAGES_MAX * 3 / 4 {
                Ok(())
            } else {
                Err(QueueRefusal)
            };
            assert_eq!(write_queue.offer(prediction(0)), expected, "{n}");
            if expected.is_err() {
                assert_eq!(write_queue.offer(Work::Trim(1)), Ok(()), "{n}");
            }
        }
        assert_eq!(write_queue.offer(Work::Trim(1)), Err(QueueRefusal));
    }

    #[test]
    fn p9_nobody_waits_for_a_writer_that_has_ended() {
        let (write_queue, write_receiver) = queue();
        let (reply, mut accepted) = tokio::sync::oneshot::channel();
        let command = Command {
            order: Order::Checkpoint,
            actor: String::new(),
            note: String::new(),
        };
        let command = || command.clone();
        assert_eq!(write_queue.offer(Work::Command(command(), reply)), Ok(()));
        drop(write_receiver);
        let closed = tokio::sync::oneshot::error::TryRecvError::Closed;
        assert_eq!(accepted.try_recv().expect_err("no answer"), closed);
        let (reply, _) = tokio::sync::oneshot::channel();
        assert_eq!(
            write_queue.offer(Work::Command(command(), reply)),
            Err(QueueRefusal)
        );
        assert!(!write_queue.flush() && !write_queue.write_ids());
    }
}
