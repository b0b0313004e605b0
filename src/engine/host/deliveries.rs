//! Deliveries: learning events on their way to a webhook, on disk before they are sent.
//!
//! Invariant: the publisher of an event never waits for the disk; an event that is queued is there after a
//! restart, under the same id, until it was delivered or given up; the queue has a bound, and an event without
//! room is dropped and counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use tokio::sync::Notify;

use crate::engine::compute::threads::spawn;
use crate::engine::host::learning_event::{LearningEvent, LearningEventKind};
use crate::store::{Delivery, DeliveryProgress, DeliveryQueue};

/// Events that wait for the thread that writes them.
const INTAKE_MAX: usize = 1024;
/// Events that one sync covers.
const GROUP_MAX: usize = 256;
/// The time between two log lines about a queue without room.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The outcome of an attempt to deliver an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver accepted the event.
    Delivered,
    /// The attempt failed and is retried.
    Failed(String),
    /// The attempt failed for good.
    GivenUp(String),
}

/// The counts of deliveries since the start, and of those that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Events that were taken.
    pub delivered: u64,
    /// Attempts that failed and were followed by others.
    pub retried: u64,
    /// Events that were not taken at the last attempt either.
    pub given_up: u64,
    /// Events that found no room.
    pub dropped: u64,
    /// Events that wait.
    pub queued: usize,
    /// The most that may.
    pub queue_max: usize,
    /// The reason why the newest attempt failed; empty where it did not.
    pub last_error: String,
}

/// The deliveries of a server.
#[derive(Debug)]
pub struct Deliveries {
    queue: Mutex<DeliveryQueue>,
    queue_max: usize,
    arrived: Notify,
    delivered: AtomicU64,
    retried: AtomicU64,
    given_up: AtomicU64,
    dropped: AtomicU64,
    last_error: Mutex<String>,
    /// The time of the last log line about a full queue.
    logged: Mutex<Option<Instant>>,
}

/// The way of events into the queue: a thread that writes them.
#[derive(Debug)]
pub(crate) struct EventIntake {
    deliveries: Arc<Deliveries>,
    events: Mutex<Option<Sender<Arc<LearningEvent>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deliveries {
    pub(crate) fn new(queue: DeliveryQueue, queue_max: usize) -> Deliveries {
        Deliveries {
            queue: Mutex::new(queue),
            queue_max,
            arrived: Notify::new(),
            delivered: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            last_error: Mutex::default(),
            logged: Mutex::default(),
        }
    }

    /// The delivery that has waited longest, once there is one. It stays in the queue. One task at a time
    /// may ask.
    pub async fn first(&self) -> Delivery {
        loop {
            let first = locked(&self.queue).first().cloned();
            match first {
                Some(first) => return first,
                None => self.arrived.notified().await,
            }
        }
    }

    /// Takes note of an attempt with the delivery that has waited longest. It writes to the disk.
    pub fn note(&self, id: &str, attempted: AttemptOutcome) {
        let (count, error, is_done) = match attempted {
            AttemptOutcome::Delivered => (&self.delivered, String::new(), true),
            AttemptOutcome::Failed(why) => (&self.retried, why, false),
            AttemptOutcome::GivenUp(why) => (&self.given_up, why, true),
        };
        // Every count sees the event either waiting or done.
        let mut queue = locked(&self.queue);
        count.fetch_add(1, Relaxed);
        *locked(&self.last_error) = error;
        if is_done && let Err(error) = queue.remove_first(id) {
            tracing::warn!(id, %error, "a webhook delivery may be repeated after a restart");
        }
    }

    /// The counts of deliveries.
    pub fn counts(&self) -> DeliveryCounts {
        let queue = locked(&self.queue);
        DeliveryCounts {
            delivered: self.delivered.load(Relaxed),
            retried: self.retried.load(Relaxed),
            given_up: self.given_up.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            queued: queue.len(),
            queue_max: self.queue_max,
            last_error: locked(&self.last_error).clone(),
        }
    }

    /// The progress of a model's events; none where none ever came.
    pub(crate) fn reached(&self, model: &str) -> Option<DeliveryProgress> {
        locked(&self.queue).reached(model)
    }

    /// A model whose learner stands at a position: events that a later start finds behind it are sent then.
    fn begin(&self, model: &str, position: u64) {
        let mut queue = locked(&self.queue);
        if queue.reached(model).is_some() {
            return;
        }
        let begun = DeliveryProgress {
            position: position + 1,
            count: 0,
        };
        if let Err(error) = queue.push(Vec::new(), BTreeMap::from([(model.to_owned(), begun)])) {
            tracing::error!(model, %error, "the beginning of the webhook's events is not on disk");
        }
    }

    /// The progress of the models of these events.
    fn reached_with(&self, events: &[Arc<LearningEvent>]) -> BTreeMap<String, DeliveryProgress> {
        let mut all = BTreeMap::new();
        // A model that has halted has not applied the entry.
        let events = events
            .iter()
            .filter(|one| one.kind != LearningEventKind::Halted);
        for event in events {
            let before = self.reached(&event.model).unwrap_or_default();
            let reached = all.entry(event.model.clone()).or_insert(before);
            if reached.position != event.position {
                *reached = DeliveryProgress {
                    position: event.position,
                    count: 0,
                };
            }
            reached.count += 1;
        }
        all
    }

    /// Adds events with one sync, as many as there is room for.
    fn push(&self, events: &[Arc<LearningEvent>]) {
        let reached = self.reached_with(events);
        let written = {
            let mut queue = locked(&self.queue);
            let room = self.queue_max.saturating_sub(queue.len());
            let dropped = events.len().saturating_sub(room) as u64;
            if dropped > 0 {
                self.note_dropped(dropped);
            }
            let deliveries = events.iter().take(room).map(|event| Delivery {
                id: event.id(),
                body: event.object().to_string(),
            });
            queue.push(deliveries.collect(), reached)
        };
        if let Err(error) = written {
            tracing::error!(%error, "events for the webhook are not on disk; they are sent from memory");
        }
        self.arrived.notify_one();
    }

    /// Counts events that found no room, and logs that once a minute.
    fn note_dropped(&self, n: u64) {
        let total = self.dropped.fetch_add(n, Relaxed) + n;
        let (mut logged, now) = (locked(&self.logged), Instant::now());
        if logged.is_none_or(|at| now.duration_since(at) >= LOG_EVERY) {
            *logged = Some(now);
            let queue_max = self.queue_max;
            tracing::warn!(
                queue_max,
                total,
                "the webhook's queue is full: new events are dropped until it takes some"
            );
        }
    }
}

impl EventIntake {
    /// Starts the thread.
    pub(crate) fn start(deliveries: &Arc<Deliveries>) -> EventIntake {
        let (events, arriving) = bounded(INTAKE_MAX);
        let writing = deliveries.clone();
        let thread = spawn("deliveries", move || run(&writing, &arriving));
        EventIntake {
            deliveries: deliveries.clone(),
            events: Mutex::new(Some(events)),
            thread: Mutex::new(Some(thread)),
        }
    }

    /// Takes note that a model is served whose learner stands at a position, with the events of a moment before
    /// the last stop that were not taken then.
    pub(crate) fn begin(&self, model: &str, position: u64, unsent: Vec<LearningEvent>) {
        self.deliveries.begin(model, position);
        let unsent: Vec<_> = unsent.into_iter().map(Arc::new).collect();
        if !unsent.is_empty() {
            let n = unsent.len();
            tracing::info!(
                model,
                n,
                "learning events of before the stop are sent to the webhook"
            );
            self.deliveries.push(&unsent);
        }
    }

    /// Takes an event, or counts it where the thread is too far behind.
    pub(crate) fn take(&self, event: Arc<LearningEvent>) {
        let sent = match &*locked(&self.events) {
            Some(events) => events.try_send(event).is_ok(),
            None => false,
        };
        if !sent {
            self.deliveries.note_dropped(1);
        }
    }

    /// Takes no event any more, and waits until those that came are written.
    pub(crate) fn close(&self) {
        locked(&self.events).take();
        let thread = locked(&self.thread).take();
        let _ = thread.map(JoinHandle::join);
    }
}

/// The loop of the thread, until no sender is left.
fn run(deliveries: &Deliveries, arriving: &Receiver<Arc<LearningEvent>>) {
    while let Ok(first) = arriving.recv() {
        let mut group = vec![first];
        group.extend(arriving.try_iter().take(GROUP_MAX - 1));
        deliveries.push(&group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compute::threads::block_on;
    use crate::event::Time;
    use crate::store::Directory;

    fn event(position: u64) -> Arc<LearningEvent> {
        let place = ("m", position, Time(0));
        let event = LearningEvent::new(LearningEventKind::Drift, place, "so".to_owned());
        Arc::new(event)
    }

    fn opened(directory: &Directory, queue_max: usize) -> Arc<Deliveries> {
        let (queue, _) = DeliveryQueue::open(directory).unwrap();
        Arc::new(Deliveries::new(queue, queue_max))
    }

    #[test]
    fn p1_what_was_taken_is_delivered_in_its_order_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let deliveries = opened(&directory, 10);
        let intake = EventIntake::start(&deliveries);
        (1..=3).for_each(|position| intake.take(event(position)));
        intake.close();
        let first = block_on(deliveries.first());
        assert_eq!(first.id, "m/1/drift/0");
        deliveries.note(&first.id, AttemptOutcome::Failed("it hangs".to_owned()));
        assert_eq!(block_on(deliveries.first()), first, "it is tried again");
        assert_eq!(deliveries.counts().last_error, "it hangs");
        deliveries.note(&first.id, AttemptOutcome::Delivered);
        let second = block_on(deliveries.first());
        deliveries.note(&second.id, AttemptOutcome::GivenUp("so".to_owned()));
        let counts = deliveries.counts();
        let n = (
            counts.delivered,
            counts.retried,
            counts.given_up,
            counts.queued,
        );
        assert_eq!(n, (1, 1, 1, 1));
        drop((deliveries, intake));
        let again = opened(&directory, 10);
        assert_eq!(block_on(again.first()).id, "m/3/drift/0");
    }

    #[test]
    fn p8_a_full_queue_drops_what_is_new_and_counts_it() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let deliveries = opened(&directory, 2);
        deliveries.push(&[event(1), event(2), event(3)]);
        deliveries.push(&[event(4)]);
        let counts = deliveries.counts();
        assert_eq!((counts.queued, counts.dropped), (2, 2));
        deliveries.note("m/1/drift/0", AttemptOutcome::Delivered);
        deliveries.push(&[event(5)]);
        assert_eq!(deliveries.counts().queued, 2);
        let intake = EventIntake::start(&deliveries);
        intake.close();
        intake.take(event(6));
        assert_eq!(deliveries.counts().dropped, 3, "after it was closed");
    }
}
