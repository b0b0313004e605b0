//! STATUS: read the numbers of a model.
//!
//! Invariant: reading changes nothing, and may wait for the learner; predictions do not.

use std::sync::{MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use crate::engine::error::Error;
use crate::engine::host::follower::Follower;
use crate::engine::host::runtime::ModelRuntime;
use crate::engine::host::served_model::ServedModel;
use crate::engine::host::status::{GateStatus, MemberStatus, Readiness, SourceBudget, Status};
use crate::event::Time;
use crate::learn::{Fate, Figure, Learner};
use crate::model::{Device, REVISION, Task, profile};
use crate::store::segments;

impl ServedModel {
    /// One look at it; `digest` also hashes the learned state, which takes time with size.
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
            Err(Error::Unavailable { reason, .. }) => status.state = Readiness::Unavailable(reason),
            Err(error) => status.state = Readiness::Unavailable(error.to_string()),
        }
        status
    }
}

/// The time between two attempts to read the learned state.
const ATTEMPT: Duration = Duration::from_micros(200);

impl ModelRuntime {
    /// The follower, once it has applied the entry it is at; none while that entry waits for a
    /// descriptor, and where its thread has panicked.
    fn follower_now(&self) -> Option<MutexGuard<'_, Follower>> {
        let _reader = self.last_status().read();
        loop {
            match self.try_lock_follower() {
                Ok(follower) => return Some(follower),
                Err(TryLockError::Poisoned(_)) => return None,
                Err(TryLockError::WouldBlock) if self.retry().is_waiting() => return None,
                Err(TryLockError::WouldBlock) => thread::park_timeout(ATTEMPT),
            }
        }
    }

    /// Lets requests for the status go first; of no use to the thread that holds the follower.
    pub(crate) fn yield_to_status(&self) {
        if self.last_status().is_read() {
            thread::park_timeout(2 * ATTEMPT);
        }
    }

    fn look(&self, digest: bool, status: &mut Status) {
        let follower = self.follower_now();
        // As long as an entry waits for a descriptor, the learner's numbers are the last ones.
        if follower.is_none() {
            *status = Status {
                model: std::mem::take(&mut status.model),
                profile: std::mem::take(&mut status.profile),
                bounds: std::mem::take(&mut status.bounds),
                ..self.last_status().get()
            };
        }
        if let Some(reason) = self.health().closed() {
            status.state = Readiness::Unavailable(reason);
        }
        let served = self.serving().served();
        status.task = served.model.spec.task.word();
        status.metric = match served.model.spec.task {
            Task::Classification { .. } => "progressive_accuracy",
            Task::Regression => "mean_absolute_error",
            Task::Bandit { .. } => "mean_reward",
        };
        status.version = served.version;
        status.position = served.position;
        status.journal_position = self.progress().synced();
        status.lag = self.progress().lag(served.position);
        status.journal_bytes = self.metrics().bytes();
        status.group_entries = self.metrics().group_entries();
        status.sync_us = self.metrics().sync_us();
        status.phases = self.phases().counts();
        status.unjournaled = self.metrics().n_unjournaled();
        if let Some(mut follower) = follower {
            follower.look(digest, status);
            follower.look_at_monitors(self.clock().now(), status);
            follower.look_at_room(status);
            drop(follower);
            self.last_status().set(status.clone());
        }
    }
}

impl Follower {
    /// Measures the growth of the journal, and the time for which it can go on.
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
        // Old segments are removed, so that it may never be full.
        let kept_days = (limits.age_max_s + limits.retract_within_s) as f64 / (24.0 * 3600.0);
        let fits = kept_days * status.journal_bytes_a_day < room as f64;
        status.journal_days_left = (!fits).then_some(left);
    }

    /// The figures of the monitors, and how long ago the last feedback and the last example were.
    fn look_at_monitors(&self, now: Time, status: &mut Status) {
        let learner = &self.learner;
        status.figures = learner.figures();
        status.confusion = learner.confusion();
        let since = [
            ("feedback_silence_seconds", learner.last_feedback()),
            ("model_age_seconds", learner.last_example()),
        ];
        for (name, time) in since {
            let seconds = time.map(|time| (now.0 - time.0).max(0) as f64 / 1e6);
            status.figures.extend(seconds.map(|seconds| Figure {
                name,
                all: Some(seconds),
                ..Figure::default()
            }));
        }
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
        status.gate = gate_status(learner);
        status.aliases = (**learner.aliases()).clone();
        status.retraining = learner.retraining();
        if let Some(detectors) = learner.detectors() {
            let raised = detectors.n_alarms();
            status.drift_alarms = raised.map(|(watched, n)| (watched.word(), n)).collect();
            status.newest_alarms = detectors.alarms().cloned().collect();
            let (n_answers, _) = detectors.error_window();
            status.steady_answers = known(n_answers, n_answers);
        }
        let scored = |name: &str| evaluation.members().iter().find(|m| m.name == name);
        status.retention = learner.learned().retention();
        let retained = learner.learned().member_retention();
        let member = |(place, (name, share)): (usize, (String, f64))| MemberStatus {
            examples: scored(&name).map_or(0, |member| member.examples),
            sum: scored(&name).map_or(0.0, |member| member.sum),
            retention: retained.get(place).copied(),
            name,
            share,
        };
        let shares = learner.learned().member_weights().into_iter();
        status.members = shares.enumerate().map(member).collect();
        let count = |fate: Fate| (fate.word(), learner.ledger().count(fate));
        status.fates = Fate::ALL.map(count).into();
        status.budgets = budgets(learner);
        status.quarantined = learner.quarantined().count() as u64;
        status.contradictions = learner.ledger().n_contradictions();
        status.waiting = learner.joins().n_silent() as u64;
        status.remembered = learner.learned().n_remembered() as u64;
        status.digest = digest.then(|| learner.learned().digest());
    }
}

/// The spending of sources, those that have spent the most first, in the order of their names.
fn budgets(learner: &Learner) -> Vec<SourceBudget> {
    const SHOWN_MAX: usize = 20;
    let Some(budget) = &learner.spec().budget else {
        return Vec::new();
    };
    let one = |(source, spent): (&str, f64)| SourceBudget {
        source: source.to_owned(),
        spent,
        budget: budget.weight,
    };
    let mut all: Vec<SourceBudget> = learner.spent().map(one).collect();
    all.sort_by(|a, b| b.spent.total_cmp(&a.spent).then(a.source.cmp(&b.source)));
    all.truncate(SHOWN_MAX);
    all
}

/// The evidence about the weights of a learner.
fn gate_status(learner: &Learner) -> Option<GateStatus> {
    Some(GateStatus {
        policy: learner.spec().publish.policy.word(),
        champion: learner.champion()?,
        contender: learner.contender(),
        promotion: learner.promotion_evidence(),
        decline: learner.decline_evidence()?,
        frozen: learner.is_frozen(),
        frozen_by: learner
            .frozen_by()
            .map_or_else(Default::default, |(actor, note)| {
                (actor.to_owned(), note.to_owned())
            }),
        next_contender: learner.next_contender(),
        n_labels: learner.n_scored(),
        no_evidence: learner.lacks_evidence(),
        forgot: learner.veto_of_newest().cloned(),
        incidents: learner.incidents().to_vec(),
    })
}
