//! Questions that come one by one, computed together: by an encoder, or by a network on a device.
//!
//! Invariant: each batcher has one thread, beside the requests' own. Questions that wait at a time
//! are computed together, up to a bound of rows; more rows than another bound never wait, and what
//! comes then is refused at once. Only where the last ones came in company does the next one wait
//! for more, for a bounded time: who is alone never waits for anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::engine::compute::failure::ComputeError;
use crate::engine::compute::threads::spawn;

/// What is computed together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Rows at most, unless a question alone has more: none is parted.
    pub rows_at_once: usize,
    /// Rows that wait at most, beside those of a first question.
    pub rows_waiting: usize,
    /// How long the first question waits for more.
    pub gather: Duration,
}

/// What is asked.
pub(crate) trait Question: Send + 'static {
    /// Its rows; each is answered by equally many values.
    fn n_rows(&self) -> usize;

    /// Whether it can be computed together with another.
    fn is_like(&self, other: &Self) -> bool;
}

/// Where questions are asked.
#[derive(Debug)]
pub(crate) struct Batcher<Q> {
    jobs: Sender<Job<Q>>,
    n_waiting: Arc<AtomicUsize>,
    bounds: Bounds,
}

/// A question, and who waits for its answer.
#[derive(Debug)]
struct Job<Q> {
    question: Q,
    reply: oneshot::Sender<(Q, Answer)>,
}

/// Values `[rows, width]`, or why there are none.
type Answer = Result<Vec<f32>, ComputeError>;

impl<Q> Clone for Batcher<Q> {
    fn clone(&self) -> Batcher<Q> {
        Batcher {
            jobs: self.jobs.clone(),
            n_waiting: self.n_waiting.clone(),
            bounds: self.bounds,
        }
    }
}

impl<Q: Question> Batcher<Q> {
    /// One whose thread computes the answers to like questions, all rows one behind the other.
    pub fn new(
        name: &str,
        bounds: Bounds,
        compute: impl Fn(&[&Q]) -> Answer + Send + 'static,
    ) -> Batcher<Q> {
        // Each question has a row at least.
        let (jobs, due) = bounded(bounds.rows_waiting + 1);
        let n_waiting: Arc<AtomicUsize> = Arc::default();
        let counted = n_waiting.clone();
        // It ends once nobody can send it anything.
        spawn(name, move || run(&due, &counted, bounds, compute));
        Batcher {
            jobs,
            n_waiting,
            bounds,
        }
    }

    /// The question, and its answer once it is its turn.
    ///
    /// # Errors
    /// [`ComputeError::Busy`]: too many rows wait. [`ComputeError::Bug`]: its thread has panicked.
    /// Those of the computation.
    pub async fn ask(&self, question: Q) -> Result<(Q, Vec<f32>), ComputeError> {
        let n_rows = question.n_rows();
        let before = self.n_waiting.fetch_add(n_rows, Relaxed);
        let (reply, done) = oneshot::channel();
        let has_room = before == 0 || before + n_rows <= self.bounds.rows_waiting;
        let job = Job { question, reply };
        let refused = match has_room.then(|| self.jobs.try_send(job)) {
            Some(Ok(())) => None,
            Some(Err(TrySendError::Disconnected(_))) => Some(stopped()),
            Some(Err(TrySendError::Full(_))) | None => Some(ComputeError::Busy(before)),
        };
        if let Some(error) = refused {
            self.n_waiting.fetch_sub(n_rows, Relaxed);
            return Err(error);
        }
        let (question, answer) = done.await.map_err(|_| stopped())?;
        Ok((question, answer?))
    }
}

fn stopped() -> ComputeError {
    ComputeError::Bug("the thread that computes it has panicked".to_owned())
}

/// Computes what waits, until nobody is left who could ask more.
fn run<Q: Question>(
    due: &Receiver<Job<Q>>,
    n_waiting: &AtomicUsize,
    bounds: Bounds,
    compute: impl Fn(&[&Q]) -> Answer,
) {
    let (mut in_company, mut left) = (false, None);
    while let Some(first) = left.take().or_else(|| due.recv().ok()) {
        let until = Instant::now() + bounds.gather;
        let mut n_rows = first.question.n_rows();
        let mut jobs = vec![first];
        while n_rows < bounds.rows_at_once {
            let next = match in_company {
                true => due.recv_deadline(until).ok(),
                false => due.try_recv().ok(),
            };
            let Some(job) = next else { break };
            let together = n_rows + job.question.n_rows();
            if together > bounds.rows_at_once {
                left = Some(job);
                break;
            }
            n_rows = together;
            jobs.push(job);
        }
        in_company = jobs.len() > 1;
        n_waiting.fetch_sub(n_rows, Relaxed);
        // Nobody waits any more for an answer that was given up.
        jobs.retain(|job| !job.reply.is_closed());
        let mut jobs = jobs.into_iter().peekable();
        while let Some(first) = jobs.next() {
            let mut together = vec![first];
            while let Some(next) = jobs.next_if(|job| job.question.is_like(&together[0].question)) {
                together.push(next);
            }
            answer(together, &compute);
        }
    }
}

/// Computes like questions together, and tells everyone what is theirs.
fn answer<Q: Question>(jobs: Vec<Job<Q>>, compute: impl Fn(&[&Q]) -> Answer) {
    let questions: Vec<&Q> = jobs.iter().map(|job| &job.question).collect();
    let n_rows: usize = questions.iter().map(|question| question.n_rows()).sum();
    let values = compute(&questions);
    let width = values
        .as_ref()
        .map_or(0, |values| values.len() / n_rows.max(1));
    let (mut start, n_jobs) = (0, jobs.len());
    for job in jobs {
        let end = start + job.question.n_rows() * width;
        let own = match &values {
            Ok(values) => Ok(values[start..end].to_vec()),
            // Not every one of them may be at fault.
            Err(_) if n_jobs > 1 => compute(&[&job.question]),
            Err(what) => Err(what.clone()),
        };
        start = end;
        // Who asked may have given up meanwhile.
        let _ = job.reply.send((job.question, own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a kind; each is answered by how many were computed together.
    #[derive(Debug, PartialEq)]
    struct Asked {
        kind: u32,
        n_rows: usize,
    }

    impl Question for Asked {
        fn n_rows(&self) -> usize {
            self.n_rows
        }

        fn is_like(&self, other: &Asked) -> bool {
            self.kind == other.kind
        }
    }

    /// A thread that counts, and computes nothing before it is let go on.
    fn batcher(bounds: Bounds) -> (Batcher<Asked>, Sender<()>, Receiver<()>) {
        let ((go, may_go), (started, has_started)) = (bounded(16), bounded(16));
        let batcher = Batcher::new("test", bounds, move |questions: &[&Asked]| {
            let _ = started.send(());
            let _ = may_go.recv();
            let n_rows: usize = questions.iter().map(|question| question.n_rows).sum();
            match n_rows > 5 {
                true => Err(ComputeError::NoRoom("no room".to_owned())),
                false => Ok(vec![n_rows as f32; n_rows]),
            }
        });
        (batcher, go, has_started)
    }

    const BOUNDS: Bounds = Bounds {
        rows_at_once: 4,
        rows_waiting: 8,
        gather: Duration::ZERO,
    };

    /// What each question comes to that is asked, in this order, while a first one is computed.
    async fn asked(bounds: Bounds, questions: &[(u32, usize)]) -> Vec<Answer> {
        let (batcher, go, has_started) = batcher(bounds);
        let ask = |kind, n_rows| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.ask(Asked { kind, n_rows }).await })
        };
        let first = ask(9, 1);
        tokio::task::spawn_blocking(move || has_started.recv())
            .await
            .unwrap()
            .unwrap();
        let mut others = Vec::new();
        for (kind, n_rows) in questions {
            let before = batcher.jobs.len();
            others.push(ask(*kind, *n_rows));
            // Until it stands in the queue, or has been told that it cannot.
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
    async fn what_waits_is_computed_together_up_to_the_bounds() {
        let answers = asked(BOUNDS, &[(1, 2), (1, 2), (1, 1), (2, 1), (1, 1)]).await;
        let expected: [&[f32]; 5] = [&[4.0; 2], &[4.0; 2], &[1.0], &[1.0], &[1.0]];
        for (answer, expected) in answers.into_iter().zip(expected) {
            assert_eq!(answer.unwrap(), expected);
        }
        let answers = asked(BOUNDS, &[(1, 2), (1, 3), (1, 1)]).await;
        let expected: [&[f32]; 3] = [&[2.0; 2], &[4.0; 3], &[4.0]];
        for (answer, expected) in answers.into_iter().zip(expected) {
            assert_eq!(answer.unwrap(), expected);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p9_too_many_rows_are_refused_and_a_failure_is_told_to_whom_it_is_due() {
        let bounds = Bounds {
            rows_at_once: 6,
            ..BOUNDS
        };
        let answers = asked(bounds, &[(1, 3), (1, 3), (1, 3), (1, 2)]).await;
        // Together six rows have no room, alone they do.
        assert_eq!(answers[0].as_deref(), Ok(&[3.0; 3][..]));
        assert_eq!(answers[1].as_deref(), Ok(&[3.0; 3][..]));
        assert_eq!(answers[2], Err(ComputeError::Busy(6)));
        assert_eq!(answers[3].as_deref(), Ok(&[2.0; 2][..]));
        let answers = asked(BOUNDS, &[(1, 7)]).await;
        assert_eq!(answers, [Err(ComputeError::NoRoom("no room".to_owned()))]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn in_company_the_next_one_waits_for_more() {
        let bounds = Bounds {
            gather: Duration::from_secs(60),
            ..BOUNDS
        };
        let (batcher, go, has_started) = batcher(bounds);
        let ask = |n_rows| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.ask(Asked { kind: 1, n_rows }).await })
        };
        let started = has_started.clone();
        let begun = move || started.recv().unwrap();
        // Two come together while a first one, alone, is computed.
        let first = ask(1);
        tokio::task::spawn_blocking(begun).await.unwrap();
        let company = [ask(1), ask(1)];
        while batcher.jobs.len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(go);
        assert_eq!(first.await.unwrap().unwrap().1, [1.0]);
        for one in company {
            assert_eq!(one.await.unwrap().unwrap().1, [2.0]);
        }
        drop(has_started);
        // The next one is in no hurry, until another fills what is computed at once.
        let waits = ask(1);
        while batcher.n_waiting.load(Relaxed) < 1 && !waits.is_finished() {
            tokio::task::yield_now().await;
        }
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        assert_eq!(ask(3).await.unwrap().unwrap().1, [4.0; 3]);
        assert_eq!(waits.await.unwrap().unwrap().1, [4.0]);
    }

    #[tokio::test]
    async fn p9_a_thread_that_has_panicked_is_not_waited_for() {
        let batcher = Batcher::new("test", BOUNDS, |_: &[&Asked]| panic!("a bug"));
        for _ in 0..2 * BOUNDS.rows_waiting {
            let answer = batcher.ask(Asked { kind: 1, n_rows: 1 }).await;
            assert!(matches!(answer, Err(ComputeError::Bug(_))), "{answer:?}");
        }
    }
}
