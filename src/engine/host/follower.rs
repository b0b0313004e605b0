//! A learner with the journal it follows.
//!
//! Invariant: entries are applied in the order of their positions, each once; the snapshot that is
//! published shares its function with the one before where nothing was learned between them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::compute::serving::{NamedVersion, Snapshot};
use crate::engine::compute::stages::{Stage, Stages};
use crate::engine::history::error as history;
use crate::engine::history::following::FollowerLookup;
use crate::engine::host::learning_event::{self, LearningEvent};
use crate::event::{Entry, Event, Time, Version};
use crate::learn::{Learner, Step};
use crate::model::{Model, SpecError};
use crate::store::{self, DeliveryProgress};

/// Learning events of before the last stop that are sent at most, the newest ones.
const UNSENT_MAX: usize = 1024;

/// A learner with the journal it follows.
pub(crate) struct Follower {
    pub learner: Learner,
    pub lookup: FollowerLookup,
    pub retention: SegmentRetention,
    /// The stages at which a test holds orders.
    pub stages: Stages,
    /// The function as it was last published; none where it has changed since.
    published: Option<Arc<Model>>,
    last_publish: Instant,
    /// Learning events that the webhook is still to be sent, while a state is recovered.
    pub unsent: Option<UnsentEvents>,
}

/// The learning events behind those that had come to the queue of the webhook when the last server ended.
pub(crate) struct UnsentEvents {
    reached: DeliveryProgress,
    events: VecDeque<LearningEvent>,
}

/// The segments of a journal as retention has last seen them.
#[derive(Default)]
pub(crate) struct SegmentRetention {
    /// The time at which the first entry of each segment was accepted.
    pub times: BTreeMap<u64, Time>,
    /// The first position that a state needs, by the position of the state.
    pub needs: BTreeMap<u64, u64>,
}

impl UnsentEvents {
    /// No events yet, behind those that reached the queue.
    pub(crate) fn new(reached: DeliveryProgress) -> UnsentEvents {
        UnsentEvents {
            reached,
            events: VecDeque::new(),
        }
    }

    fn take(&mut self, model: &str, learner: &Learner, (entry, step): (&Entry, &Step)) {
        let came = match entry.position.cmp(&self.reached.position) {
            Ordering::Less => return,
            Ordering::Equal => self.reached.count,
            Ordering::Greater => 0,
        };
        let events = learning_event::of_step(model, learner, entry, step);
        self.events.extend(events.into_iter().skip(came));
        while self.events.len() > UNSENT_MAX {
            self.events.pop_front();
        }
    }

    /// The events, the oldest first.
    pub(crate) fn events(self) -> Vec<LearningEvent> {
        self.events.into()
    }
}

impl Follower {
    pub(crate) fn new(learner: Learner, lookup: FollowerLookup) -> Follower {
        Follower {
            learner,
            lookup,
            retention: SegmentRetention::default(),
            stages: Stages::default(),
            published: None,
            last_publish: Instant::now(),
            unsent: None,
        }
    }

    /// Applies the next entry up to position `last`; none when all are applied.
    pub(crate) fn step(&mut self, last: u64) -> Result<Option<(Entry, Step)>, history::Error> {
        let Some(entry) = self.lookup.next(last)? else {
            return Ok(None);
        };
        if let Event::Command(_) = entry.event {
            self.stages.pass(Stage::Applying(entry.position));
        }
        let step = self.learner.apply(&entry, &mut self.lookup)?;
        if step.changed {
            self.published = None;
        }
        if let Some(unsent) = &mut self.unsent {
            unsent.take(&self.lookup.versions.model, &self.learner, (&entry, &step));
        }
        Ok(Some((entry, step)))
    }

    /// True if the newest snapshot is at least so old.
    pub(crate) fn is_published_before(&self, age: Duration) -> bool {
        self.last_publish.elapsed() >= age
    }

    /// The snapshot to be served: the function is copied only if it has changed.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.last_publish = Instant::now();
        let learner = &self.learner;
        let model = self
            .published
            .get_or_insert_with(|| Arc::new(learner.served()));
        Snapshot {
            version: learner.served_version(),
            position: learner.position(),
            state_position: learner.served_position(),
            serves: true,
            unserved: learner.unserved(),
            canary: learner.canary().map(Arc::new),
            aliases: learner.aliases().clone(),
            model: model.clone(),
            evicted: Arc::new(learner.joins().evicted(learner.spec().waiting_max)),
            budget_used: learner.budget_used(),
            n_quarantined: learner.n_quarantined(),
        }
    }

    /// The side that does not serve; none under rules without a gate.
    pub(crate) fn unserved(&self) -> Option<Snapshot> {
        let learner = &self.learner;
        let (version, state_position) = learner.unserved()?;
        Some(Snapshot {
            version,
            position: learner.position(),
            state_position,
            serves: false,
            unserved: None,
            canary: None,
            aliases: learner.aliases().clone(),
            model: Arc::new(learner.unserved_model()?),
            evicted: Arc::new(learner.joins().evicted(learner.spec().waiting_max)),
            budget_used: learner.budget_used(),
            n_quarantined: learner.n_quarantined(),
        })
    }

    /// A version that an alias names, beside the candidate.
    ///
    /// # Errors
    /// The version is of another description.
    pub(crate) fn named(&self, version: u64, state: &Learner) -> Result<NamedVersion, SpecError> {
        let learner = &self.learner;
        state.spec().check_change(learner.spec())?;
        let sees = state.spec().sees_past().then(|| learner.position());
        Ok(NamedVersion {
            snapshot: Arc::new(Snapshot {
                version,
                position: learner.position(),
                state_position: state.position(),
                serves: false,
                unserved: None,
                canary: None,
                aliases: learner.aliases().clone(),
                model: Arc::new(learner.model_beside(state)),
                evicted: Arc::new(learner.joins().evicted(learner.spec().waiting_max)),
                budget_used: learner.budget_used(),
                n_quarantined: learner.n_quarantined(),
            }),
            sees,
        })
    }

    /// The time at which the next tick is due, in microseconds since the Unix epoch; `i64::MAX` for never.
    pub(crate) fn next_tick(&self) -> i64 {
        self.learner.next_tick().map_or(i64::MAX, |due| due.0)
    }

    /// Saves the version that `entry` made.
    pub(crate) fn save(&mut self, version: &Version, entry: &Entry) -> Result<(), store::Error> {
        let chain = self.lookup.reader.chain();
        self.lookup
            .versions
            .save(&self.learner, version, entry, chain)
    }

    /// Saves all that `entry` made. Frozen states come first: behind the state at the entry nothing makes
    /// them again.
    pub(crate) fn save_all<'a>(
        &mut self,
        mut versions: impl Iterator<Item = &'a Version>,
        entry: &Entry,
    ) -> Result<(), store::Error> {
        versions.try_for_each(|version| self.save(version, entry))
    }
}
