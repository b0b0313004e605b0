//! The stages of an order on its way, for tests that hold it there.
//!
//! Invariant: only a test watches, and watching changes nothing but the time it takes.

use std::fmt;
use std::sync::Arc;

/// The stage of an order, or of the retraction that is about to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A retraction has surveyed the journal.
    Surveyed,
    /// The retraction has handed over the derived state, and is about to be journaled.
    HandedOver,
    /// An order is in the group of the writer, at this position, and not synced yet.
    Appended(u64),
    /// The learner is about to apply the order at this position.
    Applying(u64),
    /// The entries that the order at this position erases are about to be overwritten.
    Erasing(u64),
}

type StageWatcher = dyn Fn(Stage) + Send + Sync;

/// No watcher, or a test that sees each stage before it is passed.
#[derive(Clone, Default)]
pub struct Stages(Option<Arc<StageWatcher>>);

impl Stages {
    /// The stages of a test: each is passed once `watch` has returned.
    pub fn watched(watch: impl Fn(Stage) + Send + Sync + 'static) -> Stages {
        Stages(Some(Arc::new(watch)))
    }

    pub(crate) fn pass(&self, stage: Stage) {
        if let Some(watch) = &self.0 {
            watch(stage);
        }
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "Stages",
            Some(_) => "Stages, watched",
        })
    }
}
