//! What is known of a model, in one look.
//!
//! Invariant: looking changes nothing, and may wait for the learner; predictions do not.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use crate::engine::compute::histogram::Counts;
use crate::engine::host::bounds::Bound;
use crate::engine::host::follower::Follower;
use crate::engine::host::served_model::{ModelRuntime, ServedModel};
use crate::learn::Fate;
use crate::model::{Device, REVISION, Task, profile};
use crate::store::segments;

/// Whether a model answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It does, and learns.
    #[default]
    Ready,
    /// It does not, or does not learn, and why.
    Unavailable(String),
}

/// One look at a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Its name.
    pub model: String,
    /// Whether it answers.
    pub state: State,
    /// The word for its task; empty while it is unavailable.
    pub task: &'static str,
    /// The version that answers.
    pub version: u64,
    /// The position that answers.
    pub position: u64,
    /// The last position on disk.
    pub journal_position: u64,
    /// Entries on disk that are not learned yet.
    pub lag: u64,
    /// The size of the journal.
    pub journal_bytes: u64,
    /// How much it has grown in a day, on average over what it holds.
    pub journal_bytes_a_day: f64,
    /// Days until predictions are no longer journaled, at that rate; none where it never comes.
    pub journal_days_left: Option<f64>,
    /// Examples learned.
    pub examples: u64,
    /// Served answers that were judged.
    pub judged: u64,
    /// What the score is.
    pub metric: &'static str,
    /// Over everything judged; none before.
    pub score: Option<f64>,
    /// Over about the last thousand; none before.
    pub recent_score: Option<f64>,
    /// Of repeating the newest label or value; none before there was one to repeat.
    pub no_change_score: Option<f64>,
    /// The members of a portfolio.
    pub members: Vec<MemberStatus>,
    /// Feedback events by fate.
    pub fates: BTreeMap<&'static str, u64>,
    /// Predictions of which nothing has been heard yet.
    pub waiting: u64,
    /// Predictions that were served without an entry.
    pub unjournaled: u64,
    /// Entries of each group that one sync covered.
    pub group_entries: Counts,
    /// How long each sync took, in microseconds.
    pub sync_us: Counts,
    /// How near each bound is.
    pub bounds: Vec<Bound>,
    /// Examples in memory.
    pub remembered: u64,
    /// BLAKE3 of what has been learned, if asked for.
    pub digest: Option<[u8; 32]>,
    /// The numeric profile.
    pub profile: String,
}

/// One member of a portfolio.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Its share in the answer.
    pub share: f64,
    /// Examples that it was scored on.
    pub examples: u64,
    /// The sum of its scores.
    pub sum: f64,
}

impl ServedModel {
    /// One look at it; `digest` also hashes what has been learned, which takes time with size.
    pub fn status(&self, digest: bool) -> Status {
        let spec = self.spec();
        let device = spec.as_ref().map_or(Device::Cpu, |spec| spec.device);
        let revision = spec.map_or(REVISION, |spec| spec.revision);
        let mut status = Status {
            model: self.name().to_owned(),
            profile: profile(device, revision),
            ..Status::default()
        };
        status.bounds = self.bounds();
        match self.get() {
            Ok(runtime) => runtime.look(digest, &mut status),
            Err(error) => status.state = State::Unavailable(error.to_string()),
        }
        status
    }
}

/// Between two attempts to look at what is learned.
const ATTEMPT: Duration = Duration::from_micros(200);

impl ModelRuntime {
    /// What is learned, once the learner comes to the end of what it is at; none while that waits
    /// for a descriptor, and where its thread has panicked.
    fn follower_now(&self) -> Option<MutexGuard<'_, Follower>> {
        self.n_looking.fetch_add(1, Relaxed);
        let follower = loop {
            match self.follower.try_lock() {
                Ok(follower) => break Some(follower),
                Err(TryLockError::Poisoned(_)) => break None,
                Err(TryLockError::WouldBlock) if self.retry.is_waiting() => break None,
                Err(TryLockError::WouldBlock) => thread::park_timeout(ATTEMPT),
            }
        };
        self.n_looking.fetch_sub(1, Relaxed);
        follower
    }

    /// Lets those who look at what is learned go first; of no use to who holds it.
    pub fn let_look(&self) {
        if self.n_looking.load(Relaxed) > 0 {
            thread::park_timeout(2 * ATTEMPT);
        }
    }

    fn look(&self, digest: bool, status: &mut Status) {
        let follower = self.follower_now();
        // As long as an entry waits for a descriptor, what was learned is as it was looked at last.
        if follower.is_none() {
            let known = self.looked.lock().expect("nothing panics under it").clone();
            *status = Status {
                model: std::mem::take(&mut status.model),
                profile: std::mem::take(&mut status.profile),
                bounds: std::mem::take(&mut status.bounds),
                ..known
            };
        }
        if let Some(reason) = self.halted.get().or(self.closed.get()) {
            status.state = State::Unavailable(reason.clone());
        }
        let served = self.serving.served();
        status.task = served.model.spec.task.word();
        status.metric = match served.model.spec.task {
            Task::Classification { .. } => "progressive_accuracy",
            Task::Regression => "mean_absolute_error",
            Task::Bandit { .. } => "mean_reward",
        };
        status.version = served.version;
        status.position = served.position;
        status.journal_position = self.synced.load(Relaxed);
        status.lag = self.lag(served.position);
        status.journal_bytes = self.journal_bytes.load(Relaxed);
        status.group_entries = self.group_entries.counts();
        status.sync_us = self.sync_us.counts();
        status.unjournaled = self.unjournaled.load(Relaxed);
        if let Some(mut follower) = follower {
            follower.look(digest, status);
            follower.look_at_room(status);
            drop(follower);
            *self.looked.lock().expect("nothing panics under it") = status.clone();
        }
    }
}

impl Follower {
    /// How fast the journal grows, and how long that can go on.
    fn look_at_room(&mut self, status: &mut Status) {
        const DAY_US: f64 = 24.0 * 3600.0 * 1e6;
        let limits = self.learner.spec().journal.clone();
        let first = segments(&self.lookup.versions.journal);
        let first = first
            .ok()
            .and_then(|found| Some(found.first()?.first_position));
        let Some(Ok(since)) = first.map(|first| self.time_of(first)) else {
            return;
        };
        let days = (self.learner.time().0 - since.0) as f64 / DAY_US;
        if days <= 0.0 {
            return;
        }
        status.journal_bytes_a_day = status.journal_bytes as f64 / days;
        let room = limits.prediction_bytes_max();
        let left = room.saturating_sub(status.journal_bytes) as f64 / status.journal_bytes_a_day;
        // What is too old goes, so that it may never be full.
        let kept_days = (limits.age_max_s + limits.retract_within_s) as f64 / (24.0 * 3600.0);
        let fits = kept_days * status.journal_bytes_a_day < room as f64;
        status.journal_days_left = (!fits).then_some(left);
    }

    fn look(&self, digest: bool, status: &mut Status) {
        let learner = &self.learner;
        let evaluation = learner.evaluation();
        status.examples = learner.learned().n_examples();
        status.judged = evaluation.served().count as u64;
        let (served, no_change) = (evaluation.served(), evaluation.no_change());
        let known = |count: f64, score: f64| (count > 0.0).then_some(score);
        status.score = known(served.count, served.mean());
        status.recent_score = known(served.count, evaluation.recent());
        status.no_change_score = known(no_change.count, no_change.mean());
        let scored = |name: &str| evaluation.members().iter().find(|m| m.name == name);
        let member = |(name, share): (String, f64)| MemberStatus {
            examples: scored(&name).map_or(0, |member| member.examples),
            sum: scored(&name).map_or(0.0, |member| member.sum),
            name,
            share,
        };
        let shares = learner.learned().shares().into_iter();
        status.members = shares.map(member).collect();
        let count = |fate: Fate| (fate.word(), learner.ledger().count(fate));
        status.fates = Fate::ALL.map(count).into();
        status.waiting = learner.joins().n_silent() as u64;
        status.remembered = learner.learned().n_remembered() as u64;
        status.digest = digest.then(|| learner.learned().digest());
    }
}
