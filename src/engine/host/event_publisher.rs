//! The publisher of learning events: to the log, to the watches, and to the queue of the webhook.
//!
//! Invariant: bounded, and it never waits: a watch that does not keep up is dropped, and an event that the
//! queue has no room for is counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::engine::host::deliveries::EventIntake;
use crate::engine::host::learning_event::LearningEvent;

/// Watches at once.
pub(crate) const WATCHES_MAX: usize = 64;
/// Events that wait for one watch to read them.
pub(crate) const WATCH_EVENTS_MAX: usize = 256;
/// Events that are kept for those who begin to watch, over all models.
const RECENT_MAX: usize = 1024;

/// The reason why a watch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Watch again once another has ended.
    #[error(
        "{WATCHES_MAX} watches are open, as many as there can be; try again once one has ended"
    )]
    TooMany,
    /// Ask from a later position on.
    #[error(
        "from_position: {asked}, but events are kept from position {kept} on; ask from there on, or leave \
         it out for those to come"
    )]
    NotKept {
        /// The position that was asked for.
        asked: u64,
        /// The first position whose events are all kept.
        kept: u64,
    },
}

/// The publisher, which the models of an engine share.
#[derive(Debug)]
pub(crate) struct EventPublisher {
    state: Mutex<PublisherState>,
    n_watches: AtomicUsize,
    /// The way to the queue of the webhook, where there is one.
    intake: Option<EventIntake>,
}

#[derive(Debug, Default)]
struct PublisherState {
    recent: VecDeque<Arc<LearningEvent>>,
    /// The first position of each model whose events are all among the recent ones.
    kept: BTreeMap<String, u64>,
    watches: Vec<EventWatch>,
    counts: BTreeMap<(String, &'static str), u64>,
    n_dropped: u64,
}

#[derive(Debug)]
struct EventWatch {
    /// Empty for every model.
    model: String,
    events: Sender<Arc<LearningEvent>>,
    was_dropped: Arc<AtomicBool>,
}

/// The events of one watch, in their order.
#[derive(Debug)]
pub struct Subscription {
    /// The kept events from before the subscription.
    earlier: VecDeque<Arc<LearningEvent>>,
    events: Receiver<Arc<LearningEvent>>,
    was_dropped: Arc<AtomicBool>,
    publisher: Arc<EventPublisher>,
}

/// The events published so far, and their watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishedCounts {
    /// Events since the start, by model and kind.
    pub events: BTreeMap<(String, &'static str), u64>,
    /// Watches that are open.
    pub watches: usize,
    /// Watches that were dropped since they did not keep up.
    pub dropped_watches: u64,
}

impl EventPublisher {
    /// A publisher without watches yet.
    pub(crate) fn new(intake: Option<EventIntake>) -> EventPublisher {
        EventPublisher {
            state: Mutex::default(),
            n_watches: AtomicUsize::new(0),
            intake,
        }
    }

    fn state(&self) -> MutexGuard<'_, PublisherState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A model whose live entries stand behind this position; the webhook is still to be sent these events.
    pub(crate) fn begin(&self, model: &str, position: u64, unsent: Vec<LearningEvent>) {
        self.state().kept.insert(model.to_owned(), position + 1);
        if let Some(intake) = &self.intake {
            intake.begin(model, position, unsent);
        }
    }

    /// Publishes an event.
    pub(crate) fn publish(&self, event: LearningEvent) {
        log(&event);
        let event = Arc::new(event);
        self.state().publish(&event);
        if let Some(intake) = &self.intake {
            intake.take(event);
        }
    }

    /// Watches a model, or every model for an empty name, from now on; with a position, the events of it and
    /// later that are kept come first.
    pub(crate) fn watch(
        self: &Arc<EventPublisher>,
        model: &str,
        from_position: Option<u64>,
    ) -> Result<Subscription, WatchError> {
        let mut state = self.state();
        let earlier = match from_position {
            Some(asked) => state.kept_from(model, asked)?,
            None => VecDeque::new(),
        };
        if self.n_watches.load(Relaxed) >= WATCHES_MAX {
            return Err(WatchError::TooMany);
        }
        self.n_watches.fetch_add(1, Relaxed);
        let (sender, events) = channel(WATCH_EVENTS_MAX);
        let was_dropped = Arc::new(AtomicBool::new(false));
        state.watches.push(EventWatch {
            model: model.to_owned(),
            events: sender,
            was_dropped: was_dropped.clone(),
        });
        Ok(Subscription {
            earlier,
            events,
            was_dropped,
            publisher: self.clone(),
        })
    }

    /// The newest events of a model that are kept, the oldest of them first.
    pub(crate) fn newest(&self, model: &str, n_max: usize) -> Vec<Arc<LearningEvent>> {
        let state = self.state();
        let of_model = state.recent.iter().rev().filter(|one| one.model == model);
        let mut newest: Vec<_> = of_model.take(n_max).cloned().collect();
        newest.reverse();
        newest
    }

    /// The events published so far, and their watches.
    pub(crate) fn counts(&self) -> PublishedCounts {
        let state = self.state();
        PublishedCounts {
            events: state.counts.clone(),
            watches: self.n_watches.load(Relaxed),
            dropped_watches: state.n_dropped,
        }
    }

    /// Takes no event to the webhook any more, and waits until those that came are on disk.
    pub(crate) fn close(&self) {
        if let Some(intake) = &self.intake {
            intake.close();
        }
    }
}

impl PublisherState {
    fn publish(&mut self, event: &Arc<LearningEvent>) {
        let key = (event.model.clone(), event.kind.word());
        *self.counts.entry(key).or_default() += 1;
        self.recent.push_back(event.clone());
        if self.recent.len() > RECENT_MAX
            && let Some(old) = self.recent.pop_front()
        {
            self.kept.insert(old.model.clone(), old.position + 1);
        }
        let mut n_dropped = 0;
        self.watches.retain(|watch| {
            if !watch.model.is_empty() && watch.model != event.model {
                return !watch.events.is_closed();
            }
            if watch.events.try_send(event.clone()).is_ok() {
                return true;
            }
            if !watch.events.is_closed() {
                watch.was_dropped.store(true, Relaxed);
                n_dropped += 1;
            }
            false
        });
        if n_dropped > 0 {
            self.n_dropped += n_dropped;
            tracing::warn!(
                n_dropped,
                "watches were dropped: {WATCH_EVENTS_MAX} events waited to be read"
            );
        }
    }

    fn kept_from(
        &self,
        model: &str,
        asked: u64,
    ) -> Result<VecDeque<Arc<LearningEvent>>, WatchError> {
        let kept = self.kept.get(model).copied().unwrap_or(1);
        if asked < kept {
            return Err(WatchError::NotKept { asked, kept });
        }
        let is_asked = |one: &&Arc<LearningEvent>| one.model == model && one.position >= asked;
        Ok(self.recent.iter().filter(is_asked).cloned().collect())
    }
}

impl Subscription {
    /// The next event; none once it was dropped, since too many waited to be read.
    pub async fn next(&mut self) -> Option<Arc<LearningEvent>> {
        match self.earlier.pop_front() {
            Some(earlier) => Some(earlier),
            None => self.events.recv().await,
        }
    }

    /// True once it was dropped, since too many waited to be read.
    pub(crate) fn was_dropped(&self) -> bool {
        self.was_dropped.load(Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events.close();
        let mut state = self.publisher.state();
        state.watches.retain(|watch| !watch.events.is_closed());
        self.publisher.n_watches.fetch_sub(1, Relaxed);
    }
}

/// One line: as a warning where it asks for a person.
fn log(event: &LearningEvent) {
    let LearningEvent {
        model,
        position,
        version,
        message,
        ..
    } = event;
    let kind = event.kind.word();
    if event.kind.is_warning() {
        tracing::warn!(model, position, version, kind, "{message}");
    } else {
        tracing::info!(model, position, version, kind, "{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compute::threads::block_on;
    use crate::engine::host::learning_event::LearningEventKind;
    use crate::event::Time;

    fn event(model: &str, position: u64) -> LearningEvent {
        let place = (model, position, Time(0));
        LearningEvent::new(LearningEventKind::Drift, place, "so".to_owned())
    }

    fn publisher() -> Arc<EventPublisher> {
        let publisher = Arc::new(EventPublisher::new(None));
        ["a", "b"]
            .iter()
            .for_each(|model| publisher.begin(model, 10, Vec::new()));
        publisher
    }

    #[test]
    fn a_watch_sees_its_model_or_all_of_them() {
        let publisher = publisher();
        let mut watches = ["a", ""].map(|model| publisher.watch(model, None).unwrap());
        publisher.publish(event("b", 11));
        publisher.publish(event("a", 12));
        let mut next = |place: usize| block_on(watches[place].next()).unwrap().position;
        assert_eq!([next(0), next(1), next(1)], [12, 11, 12]);
        let counts = publisher.counts();
        assert_eq!(counts.events[&("a".to_owned(), "drift")], 1);
        assert_eq!((counts.watches, counts.dropped_watches), (2, 0));
        drop(watches);
        assert_eq!(publisher.counts().watches, 0);
    }

    #[test]
    fn p8_a_watch_that_does_not_read_is_dropped_and_the_others_go_on() {
        let publisher = publisher();
        let mut slow = publisher.watch("", None).unwrap();
        let mut quick = publisher.watch("", None).unwrap();
        for position in 11..=(11 + WATCH_EVENTS_MAX as u64) {
            publisher.publish(event("a", position));
            assert_eq!(block_on(quick.next()).unwrap().position, position);
        }
        let mut n_read = 0;
        while block_on(slow.next()).is_some() {
            n_read += 1;
        }
        assert_eq!((n_read, slow.was_dropped()), (WATCH_EVENTS_MAX, true));
        assert!(!quick.was_dropped());
        assert_eq!(publisher.counts().dropped_watches, 1);
    }

    #[test]
    fn p8_so_many_watch_and_no_more() {
        let publisher = publisher();
        let mut open: Vec<Subscription> = (0..WATCHES_MAX)
            .map(|_| publisher.watch("", None).unwrap())
            .collect();
        let refused = publisher.watch("", None).unwrap_err();
        assert_eq!(refused, WatchError::TooMany);
        open.pop();
        publisher.watch("", None).unwrap();
    }

    #[test]
    fn a_watch_begins_where_it_is_asked_to_as_long_as_that_is_kept() {
        let publisher = publisher();
        (11..=13).for_each(|position| publisher.publish(event("a", position)));
        let mut watch = publisher.watch("a", Some(12)).unwrap();
        publisher.publish(event("a", 14));
        let mut next = || block_on(watch.next()).unwrap().position;
        assert_eq!([next(), next(), next()], [12, 13, 14]);
        let refused = publisher.watch("a", Some(10)).unwrap_err();
        assert_eq!(
            refused,
            WatchError::NotKept {
                asked: 10,
                kept: 11
            }
        );
        (0..RECENT_MAX as u64).for_each(|n| publisher.publish(event("b", 11 + n)));
        let refused = publisher.watch("a", Some(14)).unwrap_err();
        assert_eq!(
            refused,
            WatchError::NotKept {
                asked: 14,
                kept: 15
            }
        );
        publisher.watch("a", Some(15)).unwrap();
        let newest = publisher.newest("b", 2);
        let last = 10 + RECENT_MAX as u64;
        assert_eq!(
            newest.iter().map(|one| one.position).collect::<Vec<_>>(),
            [last - 1, last]
        );
    }
}
