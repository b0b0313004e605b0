//! The pace of a stream of feedback: when its next event is read, and its waiting replies.
//!
//! Invariant: the replies that wait count against the budget; a stream whose replies are not read ends, and
//! one whose event was refused for want of room goes on event by event until one is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::mpsc::{Permit, Sender};
use tokio::time::{sleep, timeout};

use super::budget::Holding;
use super::wire::RETRY;

/// About how many bytes a reply takes that waits: its id, and its receipt or refusal.
const REPLY_BYTES: u64 = 512;
/// The time for which the replies of a stream may be left unread, where no further one has room.
const UNREAD_MAX: Duration = Duration::from_secs(60);
/// The time between two looks for room: some hundred entries are learned meanwhile.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The pace of one stream; a clone shares it.
#[derive(Clone, Debug)]
pub(super) struct StreamPace {
    holding: Arc<Holding>,
    replies: Arc<WaitingReplies>,
}

/// The state of the waiting replies.
#[derive(Debug, Default)]
struct WaitingReplies {
    /// One is waited for by who reads them.
    is_awaited: AtomicBool,
    n_known: AtomicU64,
    /// The newest event had no room.
    is_short: AtomicBool,
}

/// Bytes of a stream that count as long as this lives.
#[derive(Debug)]
pub(super) struct CountedReplies {
    holding: Arc<Holding>,
    n_bytes: u64,
}

impl Drop for CountedReplies {
    fn drop(&mut self) {
        self.holding.give_back(self.n_bytes);
    }
}

/// The reason why a reply has no place.
pub(super) enum NoPlace<'a, T> {
    /// The client does not read the replies.
    Unread,
    /// The budget has no room for it; there is still a place for the status that ends the stream.
    Short(Permit<'a, T>),
}

impl StreamPace {
    pub(super) fn new(holding: Arc<Holding>) -> StreamPace {
        StreamPace {
            holding,
            replies: Arc::default(),
        }
    }

    /// Counts bytes of an event that is held after it was read.
    pub(super) fn keep(&self, n_bytes: usize) -> CountedReplies {
        let n_bytes = n_bytes as u64;
        self.holding.keep(n_bytes);
        let holding = self.holding.clone();
        CountedReplies { holding, n_bytes }
    }

    fn reply(&self) -> Option<CountedReplies> {
        self.holding.try_take(REPLY_BYTES).then(|| CountedReplies {
            holding: self.holding.clone(),
            n_bytes: REPLY_BYTES,
        })
    }

    /// A place for the reply to the next event, among those that wait.
    pub(super) async fn place<'a, T>(
        &self,
        window: &'a Sender<T>,
    ) -> Result<(Permit<'a, T>, CountedReplies), NoPlace<'a, T>> {
        let place = match window.try_reserve() {
            Ok(place) => place,
            Err(_) => self.waited_place(window).await.ok_or(NoPlace::Unread)?,
        };
        if let Some(counted) = self.reply() {
            return Ok((place, counted));
        }
        let waited = async {
            loop {
                sleep(LOOK_EVERY).await;
                if let Some(counted) = self.reply() {
                    return counted;
                }
            }
        };
        match timeout(UNREAD_MAX, waited).await {
            Ok(counted) => Ok((place, counted)),
            Err(_) => Err(NoPlace::Short(place)),
        }
    }

    async fn waited_place<'a, T>(&self, window: &'a Sender<T>) -> Option<Permit<'a, T>> {
        loop {
            match timeout(UNREAD_MAX, window.reserve()).await {
                Ok(place) => return place.ok(),
                // A reader who waits for the disk is not at fault.
                Err(_) if self.replies.is_awaited.load(Relaxed) => {}
                Err(_) => {
                    self.holding.conduct().leave_unread();
                    return None;
                }
            }
        }
    }

    /// The next reply is waited for.
    pub(super) fn begin_reply(&self) {
        self.replies.is_awaited.store(true, Relaxed);
    }

    /// The next reply is known; its event was taken, or had no room.
    pub(super) fn end_reply(&self, is_short: bool) {
        self.replies.is_awaited.store(false, Relaxed);
        self.replies.is_short.store(is_short, Relaxed);
        self.replies.n_known.fetch_add(1, Relaxed);
    }

    /// Waits while the newest events had no room: as long as their senders are asked to, and until the replies
    /// to all of so many events are known.
    pub(super) async fn settle(&self, n_events: u64) {
        let replies = &self.replies;
        if !replies.is_short.load(Relaxed) {
            return;
        }
        sleep(RETRY).await;
        while replies.is_short.load(Relaxed) && replies.n_known.load(Relaxed) < n_events {
            sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::super::budget::RequestBudget;
    use super::super::conduct::ConductFault;
    use super::*;

    fn pace(budget: &Arc<RequestBudget>) -> StreamPace {
        StreamPace::new(budget.hold_alone().expect("a place"))
    }

    #[tokio::test(start_paused = true)]
    async fn p8_replies_that_wait_count_and_a_stream_that_finds_no_room_waits_and_ends() {
        let budget = Arc::new(RequestBudget::new(8, 4 * REPLY_BYTES));
        let pace = pace(&budget);
        let (window, _pending) = mpsc::channel::<()>(1000);
        let mut counted = vec![];
        for _ in 0..3 {
            let Ok((place, room)) = pace.place(&window).await else {
                panic!("there is room")
            };
            place.send(());
            counted.push(room);
        }
        assert_eq!(budget.bytes(), 3 * REPLY_BYTES);
        let mut next = pin!(pace.place(&window));
        assert!(next.as_mut().now_or_never().is_none(), "it waits");
        counted.pop();
        assert!(next.await.is_ok(), "one was read");
        let held = pace.keep(4 * REPLY_BYTES as usize);
        let start = Instant::now();
        assert!(matches!(pace.place(&window).await, Err(NoPlace::Short(_))));
        assert!(start.elapsed() >= UNREAD_MAX);
        drop((held, counted));
        assert_eq!(budget.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn p8_a_stream_whose_replies_are_not_read_for_a_minute_ends() {
        let budget = Arc::new(RequestBudget::new(8, 1 << 20));
        let pace = pace(&budget);
        let (window, _pending) = mpsc::channel::<()>(1);
        let Ok((place, _room)) = pace.place(&window).await else {
            panic!("there is room")
        };
        place.send(());
        // The disk takes its time: no party is at fault.
        pace.begin_reply();
        let waits = timeout(3 * UNREAD_MAX, pace.place(&window)).await;
        assert!(waits.is_err(), "it waits");
        assert_eq!(pace.holding.conduct().fault(), None);
        pace.end_reply(false);
        assert!(matches!(pace.place(&window).await, Err(NoPlace::Unread)));
        assert_eq!(pace.holding.conduct().fault(), Some(ConductFault::Unread));
    }

    #[tokio::test(start_paused = true)]
    async fn p8_after_a_refusal_a_stream_goes_on_event_by_event() {
        let budget = Arc::new(RequestBudget::new(8, 1 << 20));
        let pace = pace(&budget);
        let start = Instant::now();
        pace.settle(7).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.end_reply(true);
        pace.settle(1).await;
        assert_eq!(start.elapsed(), RETRY);
        let waits = timeout(UNREAD_MAX, pace.settle(2)).await;
        waits.expect_err("the reply to the second is not known");
        pace.end_reply(false);
        pace.settle(2).await;
        assert_eq!(start.elapsed(), RETRY + UNREAD_MAX);
    }
}
