//! The queue before compute: a place for each prediction, and turns in which they compute.
//!
//! Invariant: so many predictions have a place, and no more; each computes only while it has a turn, of
//! which there is a bounded number for small requests and for batches apart. Where turns are waited for, each
//! connection has equally many, whatever it sends. A batch gives its turn back after each slice.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tonic::Code;

use super::bounds::Config;
use super::call_tasks::end_if_reset;
use super::connection_number::ConnectionNumber;
use super::wire::Refusal;

/// Requests of more rows are batches.
const SMALL_ROWS_MAX: usize = 32;
/// Small requests of a core that have turns at a time: few enough that the input of a connection is
/// read within milliseconds, and enough that none waits where the server keeps up.
const SMALL_TURNS: usize = 32;

/// The queue of predictions that wait to be computed.
#[derive(Debug)]
pub(super) struct ComputeQueue {
    places_max: usize,
    n_places: AtomicUsize,
    small: Turns,
    batches: Turns,
}

/// The turns of one kind of request.
#[derive(Debug)]
struct Turns {
    max: usize,
    n_taken: AtomicUsize,
    n_waiting: AtomicUsize,
    waiting: Mutex<TurnQueue>,
}

/// The queue of waiting turns, by start-time fair queueing (Goyal, Vin and Cheng 1996): each has a tag, the
/// least comes first, and those of one connection have one after the other.
#[derive(Debug, Default)]
struct TurnQueue {
    all: BTreeMap<QueueTag, oneshot::Sender<()>>,
    /// The newest tag of each connection; one that is not ahead of the clock has no effect.
    newest: BTreeMap<ConnectionNumber, u64>,
    /// The tag of the last one that was given a turn.
    clock: u64,
    next_number: u64,
}

/// The tag of one that waits, and its number among all.
type QueueTag = (u64, u64);

/// Connections without anyone waiting whose newest tags may be kept.
const IDLE_MAX: usize = 64;

impl ComputeQueue {
    /// The queue of a server whose calls run on so many threads.
    pub(super) fn new(config: &Config, n_threads: usize) -> ComputeQueue {
        let n_batches = match config.batches_max {
            // One thread is left to small requests.
            0 => n_threads.max(2) - 1,
            max => max,
        };
        ComputeQueue {
            places_max: config.predictions_max,
            n_places: AtomicUsize::new(0),
            small: Turns::new(n_threads * SMALL_TURNS),
            batches: Turns::new(n_batches),
        }
    }

    /// The number of predictions that are computed or wait for that.
    pub(super) fn n_places(&self) -> usize {
        self.n_places.load(SeqCst)
    }

    /// Refuses a prediction for which there is no place now, before it is read.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.n_places() < self.places_max {
            Ok(())
        } else {
            Err(self.full())
        }
    }

    fn full(&self) -> Refusal {
        let n = self.places_max;
        let what = format!("{n} predictions are computed or wait, as many as may; ask again later");
        Refusal::new(Code::ResourceExhausted, "", what).because("predictions")
    }

    /// Polls the work for a request of so many rows in its turns only; its caller may leave between them.
    pub(super) async fn compute<T>(
        &self,
        connection: ConnectionNumber,
        n_rows: usize,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let _place = self.place()?;
        let turns = if n_rows > SMALL_ROWS_MAX {
            &self.batches
        } else {
            &self.small
        };
        let mut work = pin!(work);
        loop {
            let turn = turns.take(connection).await;
            end_if_reset().await;
            let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            drop(turn);
            if let Poll::Ready(done) = polled {
                return done;
            }
            woken().await;
        }
    }

    fn place(&self) -> Result<QueuePlace<'_>, Refusal> {
        let more = |n: usize| (n < self.places_max).then_some(n + 1);
        let taken = self.n_places.fetch_update(SeqCst, SeqCst, more);
        taken.map_err(|_| self.full())?;
        Ok(QueuePlace(&self.n_places))
    }
}

/// Waits until something wakes its task.
async fn woken() {
    let mut has_waited = false;
    poll_fn(|_| {
        if std::mem::replace(&mut has_waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// A place in the queue, as long as this lives.
struct QueuePlace<'a>(&'a AtomicUsize);

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A turn, as long as this lives.
struct ComputeTurn<'a>(&'a Turns);

impl Drop for ComputeTurn<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Turns {
    fn new(max: usize) -> Turns {
        Turns {
            max,
            n_taken: AtomicUsize::new(0),
            n_waiting: AtomicUsize::new(0),
            waiting: Mutex::default(),
        }
    }

    /// The next turn for a connection. Whoever comes while none waits takes one that is free.
    async fn take(&self, connection: ConnectionNumber) -> ComputeTurn<'_> {
        if self.n_waiting.load(SeqCst) == 0 && self.try_take() {
            return ComputeTurn(self);
        }
        self.wait(connection).await
    }

    fn try_take(&self) -> bool {
        let more = |n: usize| (n < self.max).then_some(n + 1);
        self.n_taken.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    fn wait(&self, connection: ConnectionNumber) -> QueueWait<'_> {
        let (granted, grant) = oneshot::channel();
        let mut waiting = self.lock();
        let key = waiting.push(connection, granted);
        self.n_waiting.fetch_add(1, SeqCst);
        // A turn that was given back meanwhile was given to no request.
        self.grant(&mut waiting);
        QueueWait {
            turns: self,
            key,
            grant,
        }
    }

    fn give_back(&self) {
        self.n_taken.fetch_sub(1, SeqCst);
        if self.n_waiting.load(SeqCst) > 0 {
            self.grant(&mut self.lock());
        }
    }

    /// Gives the turns that are free to those that wait.
    fn grant(&self, waiting: &mut TurnQueue) {
        while self.n_waiting.load(SeqCst) > 0 && self.try_take() {
            let Some(next) = waiting.pop() else {
                self.n_taken.fetch_sub(1, SeqCst);
                return;
            };
            self.n_waiting.fetch_sub(1, SeqCst);
            // A waiting request removes itself before it goes.
            let _ = next.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, TurnQueue> {
        self.waiting.lock().expect("nothing panics under it")
    }
}

impl TurnQueue {
    fn push(&mut self, connection: ConnectionNumber, granted: oneshot::Sender<()>) -> QueueTag {
        let number = self.next_number;
        self.next_number += 1;
        let newest = self.newest.get(&connection);
        let tag = newest.map_or(self.clock, |newest| self.clock.max(newest + 1));
        self.newest.insert(connection, tag);
        self.all.insert((tag, number), granted);
        if self.newest.len() > self.all.len() + IDLE_MAX {
            let clock = self.clock;
            self.newest.retain(|_, newest| *newest > clock);
        }
        (tag, number)
    }

    fn pop(&mut self) -> Option<oneshot::Sender<()>> {
        let ((tag, _), next) = self.all.pop_first()?;
        self.clock = tag;
        Some(next)
    }
}

/// One that waits for a turn.
struct QueueWait<'a> {
    turns: &'a Turns,
    key: QueueTag,
    grant: oneshot::Receiver<()>,
}

impl<'a> Future for QueueWait<'a> {
    type Output = ComputeTurn<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ComputeTurn<'a>> {
        // Senders are dropped with the queue alone, which outlives this.
        let _ = ready!(Pin::new(&mut self.grant).poll(context));
        Poll::Ready(ComputeTurn(self.turns))
    }
}

impl Drop for QueueWait<'_> {
    fn drop(&mut self) {
        if self.grant.is_terminated() {
            return;
        }
        let mut waiting = self.turns.lock();
        if waiting.all.remove(&self.key).is_some() {
            self.turns.n_waiting.fetch_sub(1, SeqCst);
            return;
        }
        drop(waiting);
        // It was granted, and was never taken.
        self.turns.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;

    fn connection(number: u64) -> ConnectionNumber {
        ConnectionNumber(number)
    }

    fn queue(predictions_max: usize, batches_max: usize) -> ComputeQueue {
        let config = Config {
            predictions_max,
            batches_max,
            ..Config::default()
        };
        ComputeQueue::new(&config, 1)
    }

    #[tokio::test]
    async fn p8_so_many_predictions_have_a_place_and_no_more() {
        let queue = queue(2, 0);
        let never = || {
            queue.compute(
                connection(0),
                1,
                std::future::pending::<Result<(), Refusal>>(),
            )
        };
        let mut all = [Box::pin(never()), Box::pin(never())];
        for one in &mut all {
            assert!(one.as_mut().now_or_never().is_none());
        }
        assert_eq!(queue.n_places(), 2);
        let full = queue.compute(connection(0), 1, async { Ok(()) }).await;
        for refusal in [full, queue.check()] {
            let refusal = refusal.expect_err("it is full");
            assert_eq!(refusal.code, Code::ResourceExhausted);
        }
        drop(all);
        queue.check().expect("there is room");
        let done = queue.compute(connection(0), 1, async { Ok(7) }).await;
        assert_eq!(done, Ok(7));
        assert_eq!(queue.n_places(), 0);
    }

    #[test]
    fn p8_connections_have_turns_alternately_however_many_wait_on_one() {
        let mut waiting = TurnQueue::default();
        let mut grants = Vec::new();
        for (name, port) in [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("x", 2)] {
            let (granted, grant) = oneshot::channel();
            waiting.push(connection(port), granted);
            grants.push((name, grant));
        }
        let mut order = Vec::new();
        while let Some(next) = waiting.pop() {
            next.send(()).expect("it waits");
            let is_granted = |(_, grant): &mut (_, oneshot::Receiver<()>)| grant.try_recv().is_ok();
            let place = grants.iter_mut().position(is_granted).expect("one of them");
            let (name, _) = grants.remove(place);
            order.push(name);
            if name == "x" && order.len() < 8 {
                // The next slice of the same batch.
                let (granted, grant) = oneshot::channel();
                waiting.push(connection(2), granted);
                grants.push(("x", grant));
            }
        }
        assert_eq!(order, ["a", "x", "b", "x", "c", "x", "d", "x"]);
        assert!(waiting.newest.len() <= 2);
    }

    #[test]
    fn p8_connections_that_are_idle_are_forgotten() {
        let mut waiting = TurnQueue::default();
        for port in 0..10_000 {
            let (granted, _grant) = oneshot::channel();
            waiting.push(connection(port), granted);
            waiting.pop().expect("it waits");
            assert!(waiting.newest.len() <= IDLE_MAX + 1);
        }
    }

    #[tokio::test]
    async fn p8_a_small_request_does_not_wait_for_batches() {
        let queue = queue(16, 1);
        let turn = queue.batches.take(connection(0)).await;
        let batch = queue.compute(connection(1), 4096, async { Ok("batch") });
        let mut batch = Box::pin(batch);
        assert!(batch.as_mut().now_or_never().is_none());
        let small = queue.compute(connection(1), 1, async { Ok("small") });
        assert_eq!(small.now_or_never(), Some(Ok("small")));
        drop(turn);
        assert_eq!(batch.await, Ok("batch"));
    }

    #[tokio::test]
    async fn p8_a_turn_goes_on_where_whoever_waited_for_it_has_gone() {
        let queue = Arc::new(queue(16, 1));
        let turn = queue.batches.take(connection(0)).await;
        let mut waits: Vec<_> = (1..=3)
            .map(|port| queue.batches.wait(connection(port)))
            .collect();
        // One goes while it waits, the next once it has the turn.
        drop(waits.remove(0));
        drop(turn);
        drop(waits.remove(0));
        let last = waits.remove(0).now_or_never();
        drop(last.expect("it has the turn"));
        assert_eq!(queue.batches.n_waiting.load(SeqCst), 0);
        assert_eq!(queue.batches.n_taken.load(SeqCst), 0);
        assert!(queue.batches.lock().all.is_empty());
    }
}
