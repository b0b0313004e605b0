//! Dynamic batching: concurrent requests share a forward pass of an encoder, or of a network on a
//! device.
//!
//! Invariant: each batcher has one thread, beside the requests' own. Requests that wait at a time
//! are computed together, up to a bound of rows; more rows than another bound never wait, and those
//! that come then are refused at once. A request waits for others only after a batch of several,
//! and for a bounded time: a caller that is alone never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
// Its receiver drops the requests that are still in the channel when it goes, as when its thread panics;
// crossbeam's leaves it there while a sender lives, and its callers waiting.
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::compute::failure::ComputeError;
use crate::engine::compute::threads::spawn;

/// The bounds of a batch and of the queue before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchBounds {
    /// Rows of a batch at most, unless one request has more: none is split.
    pub batch_rows_max: usize,
    /// Rows that wait at most, beside those of a first request.
    pub waiting_rows_max: usize,
    /// The time that the first request of a batch waits for others.
    pub wait_max: Duration,
}

/// Rows of one request.
pub(crate) trait BatchRequest: Send + 'static {
    /// The number of its rows; each is answered by equally many values.
    fn n_rows(&self) -> usize;

    /// True if this job can share a batch with another.
    fn batches_with(&self, other: &Self) -> bool;
}

/// The queue of a batch thread; a clone shares it.
#[derive(Debug)]
pub(crate) struct Batcher<R> {
    jobs: SyncSender<QueuedRequest<R>>,
    n_waiting: Arc<AtomicUsize>,
    bounds: BatchBounds,
}

/// A request, and where its answer is waited for.
#[derive(Debug)]
struct QueuedRequest<R> {
    /// Its rows among those that wait, until its batch is computed; given up before the caller wakes.
    place: Option<WaitingRows>,
    request: R,
    reply: oneshot::Sender<(R, ComputedValues)>,
}

/// Rows that wait, for as long as this is kept.
#[derive(Debug)]
struct WaitingRows {
    n_waiting: Arc<AtomicUsize>,
    n_rows: usize,
}

impl Drop for WaitingRows {
    fn drop(&mut self) {
        self.n_waiting.fetch_sub(self.n_rows, Relaxed);
    }
}

/// Values `[rows, width]`, or why there are none.
type ComputedValues = Result<Vec<f32>, ComputeError>;

impl<R> Clone for Batcher<R> {
    fn clone(&self) -> Batcher<R> {
        Batcher {
            jobs: self.jobs.clone(),
            n_waiting: self.n_waiting.clone(),
            bounds: self.bounds,
        }
    }
}

impl<R: BatchRequest> Batcher<R> {
    /// Starts a thread that computes the rows of requests that share a batch, one behind the other.
    pub(crate) fn new(
        name: &str,
        bounds: BatchBounds,
        compute: impl Fn(&[&R]) -> ComputedValues + Send + 'static,
    ) -> Batcher<R> {
        // Each request has a row at least.
        let (jobs, due) = sync_channel(bounds.waiting_rows_max + 1);
        let n_waiting: Arc<AtomicUsize> = Arc::default();
        // It ends once every sender is gone.
        spawn(name, move || run(&due, bounds, compute));
        Batcher {
            jobs,
            n_waiting,
            bounds,
        }
    }

    /// The request and its values, once its batch is computed.
    ///
    /// # Errors
    /// [`ComputeError::Busy`]: too many rows wait. [`ComputeError::Bug`]: its thread has panicked.
    /// Those of the computation.
    pub(crate) async fn compute(&self, request: R) -> Result<(R, Vec<f32>), ComputeError> {
        let n_rows = request.n_rows();
        // Rows that are refused are never counted, so that they refuse no others.
        let with_these = |before: usize| {
            let has_room = before == 0 || before + n_rows <= self.bounds.waiting_rows_max;
            has_room.then_some(before + n_rows)
        };
        let counted = self.n_waiting.fetch_update(Relaxed, Relaxed, with_these);
        let before = counted.map_err(ComputeError::Busy)?;
        self.compute_counted(request, before).await
    }

    /// Computes more rows of a request of which some were computed: these always have room, and there are as
    /// many such requests as had room for their first rows.
    ///
    /// # Errors
    /// As [`Batcher::compute`].
    pub(crate) async fn compute_more(&self, request: R) -> Result<(R, Vec<f32>), ComputeError> {
        let before = self.n_waiting.fetch_add(request.n_rows(), Relaxed);
        self.compute_counted(request, before).await
    }

    async fn compute_counted(
        &self,
        request: R,
        before: usize,
    ) -> Result<(R, Vec<f32>), ComputeError> {
        let n_rows = request.n_rows();
        let place = Some(WaitingRows {
            n_waiting: self.n_waiting.clone(),
            n_rows,
        });
        let (reply, done) = oneshot::channel();
        let job = QueuedRequest {
            place,
            request,
            reply,
        };
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Disconnected(_) => stopped(),
            TrySendError::Full(_) => ComputeError::Busy(before),
        })?;
        let (request, answer) = done.await.map_err(|_| stopped())?;
        Ok((request, answer?))
    }
}

fn stopped() -> ComputeError {
    ComputeError::Bug("the thread that computes it has panicked".to_owned())
}

/// The loop of the batch thread, until every sender is gone.
fn run<R: BatchRequest>(
    due: &Receiver<QueuedRequest<R>>,
    bounds: BatchBounds,
    compute: impl Fn(&[&R]) -> ComputedValues,
) {
    let (mut after_several, mut left) = (false, None);
    while let Some(first) = left.take().or_else(|| due.recv().ok()) {
        let until = Instant::now() + bounds.wait_max;
        let mut n_rows = first.request.n_rows();
        let mut jobs = vec![first];
        while n_rows < bounds.batch_rows_max {
            let next = if after_several {
                let left = until.saturating_duration_since(Instant::now());
                due.recv_timeout(left).ok()
            } else {
                due.try_recv().ok()
            };
            let Some(job) = next else { break };
            let together = n_rows + job.request.n_rows();
            if together > bounds.batch_rows_max {
                left = Some(job);
                break;
            }
            n_rows = together;
            jobs.push(job);
        }
        after_several = jobs.len() > 1;
        jobs.iter_mut().for_each(|job| job.place = None);
        // A caller that has gone needs no answer.
        jobs.retain(|job| !job.reply.is_closed());
        let mut jobs = jobs.into_iter().peekable();
        while let Some(first) = jobs.next() {
            let mut together = vec![first];
            while let Some(next) =
                jobs.next_if(|job| job.request.batches_with(&together[0].request))
            {
                together.push(next);
            }
            answer(together, &compute);
        }
    }
}

/// Computes a batch, and sends each request its values.
fn answer<R: BatchRequest>(jobs: Vec<QueuedRequest<R>>, compute: impl Fn(&[&R]) -> ComputedValues) {
    let requests: Vec<&R> = jobs.iter().map(|job| &job.request).collect();
    let n_rows: usize = requests.iter().map(|request| request.n_rows()).sum();
    let values = compute(&requests);
    let width = values
        .as_ref()
        .map_or(0, |values| values.len() / n_rows.max(1));
    let (mut start, n_jobs) = (0, jobs.len());
    for job in jobs {
        let end = start + job.request.n_rows() * width;
        let own = match &values {
            Ok(values) => Ok(values[start..end].to_vec()),
            // Not every request may be at fault.
            Err(_) if n_jobs > 1 => compute(&[&job.request]),
            Err(what) => Err(what.clone()),
        };
        start = end;
        // The caller may have gone meanwhile.
        let _ = job.reply.send((job.request, own));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use crossbeam::channel::{Receiver, Sender, bounded};
    use tokio::task::JoinHandle;

    use super::*;

    /// Rows of a kind; each is answered by how many were computed together.
    #[derive(Debug, PartialEq)]
    struct Rows {
        kind: u32,
        n_rows: usize,
    }

    impl BatchRequest for Rows {
        fn n_rows(&self) -> usize {
            self.n_rows
        }

        fn batches_with(&self, other: &Rows) -> bool {
            self.kind == other.kind
        }
    }

    /// A batcher whose thread computes nothing before the test permits it.
    fn batcher(bounds: BatchBounds) -> (Batcher<Rows>, Sender<()>, Receiver<()>) {
        let ((go, may_go), (started, has_started)) = (bounded(16), bounded(16));
        let batcher = Batcher::new("test", bounds, move |requests: &[&Rows]| {
            let _ = started.send(());
            let _ = may_go.recv();
            let n_rows: usize = requests.iter().map(|request| request.n_rows).sum();
            if n_rows > 5 {
                Err(ComputeError::NoRoom("no room".to_owned()))
            } else {
                Ok(vec![n_rows as f32; n_rows])
            }
        });
        (batcher, go, has_started)
    }

    const BOUNDS: BatchBounds = BatchBounds {
        batch_rows_max: 4,
        waiting_rows_max: 8,
        wait_max: Duration::ZERO,
    };

    /// An answer that is waited for; the request is in the queue, or refused, by now.
    type Sent = JoinHandle<Result<(Rows, Vec<f32>), ComputeError>>;

    /// Sends a request: the first poll of its future puts it into the queue.
    async fn send(batcher: &Batcher<Rows>, kind: u32, n_rows: usize) -> Sent {
        let batcher = batcher.clone();
        let mut answer = Box::pin(async move { batcher.compute(Rows { kind, n_rows }).await });
        match poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
            Poll::Ready(answer) => tokio::spawn(async { answer }),
            Poll::Pending => tokio::spawn(answer),
        }
    }

    /// The answers to requests that come, in this order, while a first one is computed.
    async fn answers_to(bounds: BatchBounds, requests: &[(u32, usize)]) -> Vec<ComputedValues> {
        let (batcher, go, has_started) = batcher(bounds);
        let first = send(&batcher, 9, 1).await;
        tokio::task::spawn_blocking(move || has_started.recv())
            .await
            .unwrap()
            .unwrap();
        let mut others = Vec::new();
        for (kind, n_rows) in requests {
            others.push(send(&batcher, *kind, *n_rows).await);
        }
        drop(go);
        assert_eq!(first.await.unwrap().unwrap().1, [1.0]);
        let mut answers = Vec::new();
        for other in others {
            answers.push(other.await.unwrap().map(|(_, values)| values));
        }
        answers
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn waiting_requests_share_a_batch_up_to_the_bounds() {
        let answers = answers_to(BOUNDS, &[(1, 2), (1, 2), (1, 1), (2, 1), (1, 1)]).await;
        let expected: [&[f32]; 5] = [&[4.0; 2], &[4.0; 2], &[1.0], &[1.0], &[1.0]];
        for (answer, expected) in answers.into_iter().zip(expected) {
            assert_eq!(answer.unwrap(), expected);
        }
        let answers = answers_to(BOUNDS, &[(1, 2), (1, 3), (1, 1)]).await;
        let expected: [&[f32]; 3] = [&[2.0; 2], &[4.0; 3], &[4.0]];
        for (answer, expected) in answers.into_iter().zip(expected) {
            assert_eq!(answer.unwrap(), expected);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p9_too_many_rows_are_refused_and_a_failure_concerns_its_own_request() {
        let bounds = BatchBounds {
            batch_rows_max: 6,
            ..BOUNDS
        };
        let answers = answers_to(bounds, &[(1, 3), (1, 3), (1, 3), (1, 2)]).await;
        // Together six rows have no room, alone they do.
        assert_eq!(answers[0].as_deref(), Ok(&[3.0; 3][..]));
        assert_eq!(answers[1].as_deref(), Ok(&[3.0; 3][..]));
        assert_eq!(answers[2], Err(ComputeError::Busy(6)));
        assert_eq!(answers[3].as_deref(), Ok(&[2.0; 2][..]));
        let answers = answers_to(BOUNDS, &[(1, 7)]).await;
        assert_eq!(answers, [Err(ComputeError::NoRoom("no room".to_owned()))]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_a_batch_of_several_the_next_one_waits_for_others() {
        let bounds = BatchBounds {
            wait_max: Duration::from_secs(60),
            ..BOUNDS
        };
        let (batcher, go, has_started) = batcher(bounds);
        let send = |n_rows| send(&batcher, 1, n_rows);
        let started = has_started.clone();
        let begun = move || started.recv().unwrap();
        // Two come while a first one, alone, is computed.
        let first = send(1).await;
        tokio::task::spawn_blocking(begun).await.unwrap();
        let company = [send(1).await, send(1).await];
        drop(go);
        assert_eq!(first.await.unwrap().unwrap().1, [1.0]);
        for one in company {
            assert_eq!(one.await.unwrap().unwrap().1, [2.0]);
        }
        drop(has_started);
        // The next one waits, until another fills the batch.
        let waits = send(1).await;
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        assert_eq!(send(3).await.await.unwrap().unwrap().1, [4.0; 3]);
        assert_eq!(waits.await.unwrap().unwrap().1, [4.0]);
    }

    #[tokio::test]
    async fn p9_a_thread_that_has_panicked_is_not_waited_for() {
        let batcher = Batcher::new("test", BOUNDS, |_: &[&Rows]| panic!("a bug"));
        for _ in 0..2 * BOUNDS.waiting_rows_max {
            let answer = batcher.compute(Rows { kind: 1, n_rows: 1 }).await;
            assert!(matches!(answer, Err(ComputeError::Bug(_))), "{answer:?}");
        }
        assert_eq!(batcher.n_waiting.load(Relaxed), 0);
    }
}
