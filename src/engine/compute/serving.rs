//! The serving slot: the snapshot that answers now.
//!
//! Invariant: readers get a whole snapshot or the one before it; swapping never waits for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::learn::EvictedPredictions;
use crate::model::Model;

/// A model in its place: which version it descends from, and which position it has reached.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The newest version that it descends from; the champion's where that serves.
    pub version: u64,
    /// The position of the last entry that it has seen.
    pub position: u64,
    /// The position of the state that answers: the champion's where that serves.
    pub state_position: u64,
    /// True if it is the one that the policy serves; the answers of another one take no feedback.
    pub serves: bool,
    /// The version and the position of the side that does not serve; none under rules without a gate.
    pub unserved: Option<(u64, u64)>,
    /// The function that answers canaries: the candidate's; none where there are none.
    pub canary: Option<Arc<Model>>,
    /// The versions that people have named, by their aliases.
    pub aliases: Arc<BTreeMap<String, u64>>,
    /// The function that answers.
    pub model: Arc<Model>,
    /// The predictions that take no feedback any more.
    pub evicted: Arc<EvictedPredictions>,
    /// The largest spent part of a source's budget, as a fraction.
    pub budget_used: f64,
    /// Feedback that waits for a person.
    pub n_quarantined: usize,
}

/// Versions that aliases name and that are in memory at a time.
const NAMED_MAX: usize = 4;

/// The slot of one model, and the position it has reached.
#[derive(Debug)]
pub(crate) struct ServingSlot {
    slot: ArcSwap<Snapshot>,
    position: watch::Sender<u64>,
    /// The side that does not serve, as it was last asked for.
    unserved: Mutex<Option<Arc<Snapshot>>>,
    /// Versions that were asked for by their aliases, the newest asked for last.
    named: Mutex<Vec<Arc<NamedVersion>>>,
    n_read: AtomicU64,
}

impl Snapshot {
    /// The snapshot that answers by the serving side alone, as a request by the name of that side asks.
    pub(crate) fn of_one_side(self: Arc<Snapshot>) -> Arc<Snapshot> {
        if self.canary.is_none() {
            return self;
        }
        Arc::new(Snapshot {
            canary: None,
            ..(*self).clone()
        })
    }
}

/// A version that an alias names, as it answers.
#[derive(Debug)]
pub(crate) struct NamedVersion {
    pub snapshot: Arc<Snapshot>,
    /// The position of the candidate whose past of the target it sees; none where it sees none.
    pub sees: Option<u64>,
}

impl ServingSlot {
    pub(crate) fn new(snapshot: Snapshot) -> ServingSlot {
        let position = watch::Sender::new(snapshot.position);
        ServingSlot {
            slot: ArcSwap::from_pointee(snapshot),
            position,
            unserved: Mutex::default(),
            named: Mutex::default(),
            n_read: AtomicU64::new(0),
        }
    }

    /// The side that does not serve, if it was asked for since it last changed.
    pub(crate) fn unserved(&self) -> Option<Arc<Snapshot>> {
        let now = self.served().unserved;
        let known = self.unserved.lock().expect("nothing panics under it");
        let known = known.as_ref();
        let is_now = |one: &&Arc<Snapshot>| Some((one.version, one.state_position)) == now;
        known.filter(is_now).cloned()
    }

    /// Keeps the side that does not serve until it changes.
    pub(crate) fn keep_unserved(&self, snapshot: Arc<Snapshot>) {
        let mut known = self.unserved.lock().expect("nothing panics under it");
        *known = Some(snapshot);
        self.n_read.fetch_add(1, Relaxed);
    }

    /// The number of kept snapshots that do not serve.
    pub(crate) fn n_read(&self) -> u64 {
        self.n_read.load(Relaxed)
    }

    /// A version that an alias names, if it was asked for lately and sees the past as of now.
    pub(crate) fn named(&self, version: u64, position: u64) -> Option<Arc<Snapshot>> {
        let named = self.named.lock().expect("nothing panics under it");
        let is_it = |one: &&Arc<NamedVersion>| {
            one.snapshot.version == version && one.sees.is_none_or(|at| at == position)
        };
        named.iter().find(is_it).map(|one| one.snapshot.clone())
    }

    /// Keeps a version that an alias names, and of those that were kept before the newest few.
    pub(crate) fn keep_named(&self, version: NamedVersion) {
        let mut named = self.named.lock().expect("nothing panics under it");
        named.retain(|one| one.snapshot.version != version.snapshot.version);
        named.push(Arc::new(version));
        while named.len() > NAMED_MAX {
            named.remove(0);
        }
        self.n_read.fetch_add(1, Relaxed);
    }

    /// Swaps the snapshot, and wakes requests that wait for its position.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        let position = snapshot.position;
        self.slot.store(Arc::new(snapshot));
        self.position.send_replace(position);
    }

    /// Wakes every request that waits for a position.
    pub(crate) fn wake(&self) {
        self.position.send_modify(|_| {});
    }

    /// The snapshot that answers.
    pub(crate) fn served(&self) -> Arc<Snapshot> {
        self.slot.load_full()
    }

    /// The position that the snapshot has reached.
    pub(crate) fn position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }
}
