//! PREDICT: take the snapshot, answer, hand the answer to the writer, respond.
//!
//! Invariant: nothing here waits, but for a device that is to compute. A prediction that cannot be
//! journaled at once is answered without ids, and counted.

use std::sync::atomic::Ordering::Relaxed;

use rand::RngCore;

use crate::engine::compute::clock::Clock;
use crate::engine::compute::serving::Snapshot;
use crate::engine::error::Error;
use crate::engine::host::served_model::ServedModel;
use crate::event::{Batch, Outputs, Prediction, PredictionId, Time};
use crate::model::Choice;

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// One id a row; none where the prediction is not journaled.
    pub ids: Vec<PredictionId>,
    /// What the model says.
    pub outputs: Outputs,
    /// The version and position that said it.
    pub version: u64,
    /// The position that said it.
    pub position: u64,
}

/// How a request is answered, beside its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Whether the answer is journaled, so that it can have feedback.
    pub journal: bool,
    /// Whether a bandit draws its action by its policy, or takes the best.
    pub explore: bool,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            journal: true,
            explore: true,
        }
    }
}

impl ServedModel {
    /// Answers every row of a validated batch.
    ///
    /// # Errors
    /// [`Error::Full`]: the device that is to compute it has no room, or too many rows wait for it.
    pub async fn predict(
        &self,
        snapshot: &Snapshot,
        batch: Batch,
        manner: Manner,
    ) -> Result<Answer, Error> {
        let (rows, outputs) = self.forward(snapshot, &batch).await?;
        let now = match self.get() {
            Ok(runtime) => runtime.clock.now(),
            Err(_) => Clock::SYSTEM.read().wall,
        };
        let ids = new_ids(batch.n_rows, now);
        let choice = match manner.explore {
            true => Choice::Drawn(&ids),
            false => Choice::Best,
        };
        let outputs = snapshot.model.answer(&rows, outputs, choice);
        let (version, position) = (snapshot.version, snapshot.position);
        let mut answer = Answer {
            ids: Vec::new(),
            outputs,
            version,
            position,
        };
        let Some(runtime) = self.get().ok().filter(|_| manner.journal) else {
            return Ok(answer);
        };
        let journaled = runtime.journal_prediction(Prediction {
            ids: ids.clone(),
            batch,
            labels: snapshot.model.labels(&answer.outputs),
            outputs: answer.outputs.clone(),
            version,
            position,
        });
        match journaled {
            true => answer.ids = ids,
            false => drop(runtime.unjournaled.fetch_add(1, Relaxed)),
        }
        Ok(answer)
    }
}

/// Fresh UUIDv7s (RFC 9562, section 5.7): milliseconds, then random bits.
fn new_ids(n_rows: usize, now: Time) -> Vec<PredictionId> {
    let millis = now.0.max(0) as u64 / 1000;
    let mut rng = rand::rng();
    let id = |_| {
        let mut random = [0; 10];
        rng.fill_bytes(&mut random);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        PredictionId(id.as_u128())
    };
    (0..n_rows).map(id).collect()
}
