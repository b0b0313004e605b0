//! Dynamic batching: concurrent requests share a forward pass of an encoder, or of a network on a
//! device.
//!
//! Invariant: each batcher has one thread, beside the requests' own. Requests that wait at a time
//! are computed together, up to a bound of rows; more rows than another bound never wait, and those
//! that come then are refused at once. A request waits for others only after a batch of several,
//! and for a bounded time: a caller that is alone never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::engine::compute::failure::ComputeError;
use crate::engine::compute::threads::spawn;

/// The bounds of a batch and of the queue before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Rows of a batch at most, unless one request has more: none is split.
    pub batch_rows_max: usize,
    /// Rows that wait at most, beside those of a first request.
    pub waiting_rows_max: usize,
    /// The time that the first request of a batch waits for others.
    pub wait_max: Duration,
}

/// Rows of one request.
pub(crate) trait Request: Send + 'static {
    /// The number of its rows; each is answered by equally many values.
    fn n_rows(&self) -> usize;

    /// Whether it can share a batch with another.
    fn batches_with(&self, other: &Self) -> bool;
}

/// The queue of a batch thread; a clone shares it.
#[derive(Debug)]
pub(crate) struct Batcher<R> {
    jobs: Sender<Job<R>>,
    n_waiting: Arc<AtomicUsize>,
    bounds: Bounds,
}

/// A request, and where its answer is waited for.
#[derive(Debug)]
struct Job<R> {
    request: R,
    reply: oneshot::Sender<(R, Answer)>,
}

/// Values `[rows, width]`, or why there are none.
type Answer = Result<Vec<f32>, ComputeError>;

impl<R> Clone for Batcher<R> {
    fn clone(&self) -> Batcher<R> {
        Batcher {
            jobs: self.jobs.clone(),
            n_waiting: self.n_waiting.clone(),
            bounds: self.bounds,
        }
    }
}

impl<R: Request> Batcher<R> {
    /// Starts a thread that computes the rows of requests that share a batch, one behind the other.
    pub fn new(
        name: &str,
        bounds: Bounds,
        compute: impl Fn(&[&R]) -> Answer + Send + 'static,
    ) -> Batcher<R> {
        // Each request has a row at least.
        let (jobs, due) = bounded(bounds.waiting_rows_max + 1);
        let n_waiting: Arc<AtomicUsize> = Arc::default();
        let counted = n_waiting.clone();
        // It ends once every sender is gone.
        spawn(name, move || run(&due, &counted, bounds, compute));
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
    pub async fn compute(&self, request: R) -> Result<(R, Vec<f32>), ComputeError> {
        let n_rows = request.n_rows();
        let before = self.n_waiting.fetch_add(n_rows, Relaxed);
        let (reply, done) = oneshot::channel();
        let has_room = before == 0 || before + n_rows <= self.bounds.waiting_rows_max;
        let job = Job { request, reply };
        let refused = match has_room.then(|| self.jobs.try_send(job)) {
            Some(Ok(())) => None,
            Some(Err(TrySendError::Disconnected(_))) => Some(stopped()),
            Some(Err(TrySendError::Full(_))) | None => Some(ComputeError::Busy(before)),
        };
        if let Some(error) = refused {
            self.n_waiting.fetch_sub(n_rows, Relaxed);
            return Err(error);
        }
        let (request, answer) = done.await.map_err(|_| stopped())?;
        Ok((request, answer?))
    }
}

fn stopped() -> ComputeError {
    ComputeError::Bug("the thread that computes it has panicked".to_owned())
}

/// The loop of the batch thread, until every sender is gone.
fn run<R: Request>(
    due: &Receiver<Job<R>>,
    n_waiting: &AtomicUsize,
    bounds: Bounds,
    compute: impl Fn(&[&R]) -> Answer,
) {
    let (mut after_several, mut left) = (false, None);
    while let Some(first) = left.take().or_else(|| due.recv().ok()) {
        let until = Instant::now() + bounds.wait_max;
        let mut n_rows = first.request.n_rows();
        let mut jobs = vec![first];
        while n_rows < bounds.batch_rows_max {
            let next = if after_several {
                due.recv_deadline(until).ok()
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
        n_waiting.fetch_sub(n_rows, Relaxed);
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
fn answer<R: Request>(jobs: Vec<Job<R>>, compute: impl Fn(&[&R]) -> Answer) {
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
    use super::*;

    /// Rows of a kind; each is answered by how many were computed together.
    #[derive(Debug, PartialEq)]
    struct Rows {
        kind: u32,
        n_rows: usize,
    }

    impl Request for Rows {
        fn n_rows(&self) -> usize {
            self.n_rows
        }

        fn batches_with(&self, other: &Rows) -> bool {
            self.kind == other.kind
        }
    }

    /// A batcher whose thread computes nothing before the test permits it.
    fn batcher(bounds: Bounds) -> (Batcher<Rows>, Sender<()>, Receiver<()>) {
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

    const BOUNDS: Bounds = Bounds {
        batch_rows_max: 4,
        waiting_rows_max: 8,
        wait_max: Duration::ZERO,
    };

    /// The answers to requests that come, in this order, while a first one is computed.
    async fn answers_to(bounds: Bounds, requests: &[(u32, usize)]) -> Vec<Answer> {
        let (batcher, go, has_started) = batcher(bounds);
        let send = |kind, n_rows| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.compute(Rows { kind, n_rows }).await })
        };
        let first = send(9, 1);
        tokio::task::spawn_blocking(move || has_started.recv())
            .await
            .unwrap()
            .unwrap();
        let mut others = Vec::new();
        for (kind, n_rows) in requests {
            let before = batcher.jobs.len();
            others.push(send(*kind, *n_rows));
            // Until it is in the queue, or refused.
            while batcher.jobs.len() == before && !others[others.len() - 1].is_finished() {
                tokio::task::yield_now().await;
            }
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
        let bounds = Bounds {
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
        let bounds = Bounds {
            wait_max: Duration::from_secs(60),
            ..BOUNDS
        };
        let (batcher, go, has_started) = batcher(bounds);
        let send = |n_rows| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.compute(Rows { kind: 1, n_rows }).await })
        };
        let started = has_started.clone();
        let begun = move || started.recv().unwrap();
        // Two come while a first one, alone, is computed.
        let first = send(1);
        tokio::task::spawn_blocking(begun).await.unwrap();
        let company = [send(1), send(1)];
        while batcher.jobs.len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(go);
        assert_eq!(first.await.unwrap().unwrap().1, [1.0]);
        for one in company {
            assert_eq!(one.await.unwrap().unwrap().1, [2.0]);
        }
        drop(has_started);
        // The next one waits, until another fills the batch.
        let waits = send(1);
        while batcher.n_waiting.load(Relaxed) < 1 && !waits.is_finished() {
            tokio::task::yield_now().await;
        }
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        assert_eq!(send(3).await.unwrap().unwrap().1, [4.0; 3]);
        assert_eq!(waits.await.unwrap().unwrap().1, [4.0]);
    }

    #[tokio::test]
    async fn p9_a_thread_that_has_panicked_is_not_waited_for() {
        let batcher = Batcher::new("test", BOUNDS, |_: &[&Rows]| panic!("a bug"));
        for _ in 0..2 * BOUNDS.waiting_rows_max {
            let answer = batcher.compute(Rows { kind: 1, n_rows: 1 }).await;
            assert!(matches!(answer, Err(ComputeError::Bug(_))), "{answer:?}");
        }
    }
}
