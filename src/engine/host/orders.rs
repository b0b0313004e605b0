//! Orders of one model: the outcomes of the newest, and the turn of those that change limits.
//!
//! Invariant: an outcome is kept until it is asked for, or a bounded number of newer ones has come.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::engine::error::Error;
use crate::learn::{ChampionChange, MovedAlias};

/// Outcomes that are kept.
const OUTCOMES_MAX: usize = 1024;

/// The outcome of an order.
pub(crate) type OrderResult = Result<Done, Error>;

/// An order that was carried out.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The version that it made.
    pub version: u64,
    /// The positions of the feedback that it took back, rising.
    pub excluded: Vec<u64>,
    /// The effect on the champion, where the order brought another history.
    pub champion: Option<ChampionChange>,
    /// The aliases that it moved.
    pub aliases: Vec<MovedAlias>,
}

/// The outcomes of the orders of one model.
#[derive(Debug, Default)]
pub(crate) struct OrderOutcomes {
    outcomes: Mutex<BTreeMap<u64, OrderResult>>,
    /// Held by the order that changes the limits.
    limiting: tokio::sync::Mutex<()>,
}

impl OrderOutcomes {
    /// Keeps the outcome of the order at this position.
    pub(crate) fn finish(&self, position: u64, outcome: OrderResult) {
        let mut outcomes = self.outcomes.lock().expect("nothing panics under it");
        outcomes.insert(position, outcome);
        while outcomes.len() > OUTCOMES_MAX {
            outcomes.pop_first();
        }
    }

    /// Takes the outcome of the order at this position.
    pub(crate) fn take(&self, position: u64) -> Option<OrderResult> {
        let mut outcomes = self.outcomes.lock().expect("nothing panics under it");
        outcomes.remove(&position)
    }

    /// Waits until no other order changes the limits.
    pub(crate) async fn limiting(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.limiting.lock().await
    }
}
