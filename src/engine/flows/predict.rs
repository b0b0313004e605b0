//! PREDICT: take the snapshot, answer, hand the answer to the writer, respond.
//!
//! Invariant: nothing here waits, but for a device that is to compute; a batch lets other tasks go on between
//! its slices. A prediction that cannot be journaled at once is answered without ids, and counted. One that is
//! dropped before its last slice stands in no journal.

use std::sync::Arc;
use std::time::Instant;

use rand::RngCore;

use crate::engine::compute::clock::Clock;
use crate::engine::compute::embed::embedded_column;
use crate::engine::compute::forward::{RequestBatching, answer};
use crate::engine::compute::serving::Snapshot;
use crate::engine::error::Error;
use crate::engine::host::phases::Phase;
use crate::engine::host::served_model::ServedModel;
use crate::event::{Batch, Column, Outputs, Prediction, PredictionId, Time};
use crate::model::Choice;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The ids, one a row; none where the prediction is not journaled.
    pub ids: Vec<PredictionId>,
    /// The outputs of its rows.
    pub outputs: Outputs,
    /// The classes or actions that its rows have outputs of.
    pub names: Arc<Vec<String>>,
    /// The version of the state that answered.
    pub version: u64,
    /// The position of the state that answered.
    pub position: u64,
}

/// The options of a prediction, beside its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictOptions {
    /// True if the answer is journaled, so that it can have feedback.
    pub journal: bool,
    /// True if a bandit draws its action by its policy; it takes the best one otherwise.
    pub explore: bool,
    /// True if a single row may share a forward pass with those of other requests that are ready: worth a
    /// detour where there are any. Its answer is the same to the bit.
    pub shares_pass: bool,
}

impl Default for PredictOptions {
    fn default() -> PredictOptions {
        PredictOptions {
            journal: true,
            explore: true,
            shares_pass: false,
        }
    }
}

impl ServedModel {
    /// Notes that a prediction which came at this moment has its turn to be computed.
    pub(crate) fn end_queue(&self, came: Instant) {
        if let Ok(runtime) = self.get() {
            runtime.phases().end(Phase::Queue, came);
        }
    }

    /// True if one of the model's inputs has an encoder.
    pub(crate) fn encodes(&self) -> bool {
        let runtime = self.get().ok();
        runtime.is_some_and(|runtime| runtime.embedders().iter().any(Option::is_some))
    }

    /// Encodes a batch as the snapshot that is to answer it: each text with an encoder gets its
    /// vector beside it, each vector with one is replaced. Without an encoder it passes at once.
    ///
    /// # Errors
    /// [`Error::Full`]: too many rows wait, or the device has no room for one.
    /// [`Error::Refused`]: a row cannot be encoded, or to no finite vector.
    /// [`Error::Unavailable`]: the model, or its device, is. [`Error::Internal`]: a bug.
    pub async fn embed(&self, snapshot: &Snapshot, mut batch: Batch) -> Result<Batch, Error> {
        let runtime = self.get()?;
        if runtime.embedders().iter().all(Option::is_none) {
            return Ok(batch);
        }
        let began = Instant::now();
        let columns = batch.columns.iter_mut().zip(runtime.embedders());
        for ((column, embedder), adapters) in columns.zip(&snapshot.model.adapters) {
            let Some(embedder) = embedder.as_ref().filter(|one| one.encoder.takes(column)) else {
                continue;
            };
            let taken = std::mem::replace(column, Column::Numbers(Vec::new()));
            let embedded = embedder.embed(taken, batch.n_rows, adapters.clone());
            let (taken, vectors) = embedded
                .await
                .map_err(|error| error.of_model(self.name()))?;
            *column = embedded_column(taken, &vectors)?;
        }
        runtime.phases().end(Phase::Encode, began);
        Ok(batch)
    }

    /// Answers every row of a validated batch.
    ///
    /// # Errors
    /// [`Error::Full`]: the device that is to compute it has no room, or too many rows wait for it.
    /// [`Error::Unavailable`]: that device is not there, or fails. [`Error::Internal`]: a bug.
    pub async fn predict(
        &self,
        snapshot: &Snapshot,
        batch: Batch,
        options: PredictOptions,
    ) -> Result<Answer, Error> {
        let (runtime, began) = (self.get().ok(), Instant::now());
        let wall = || Clock::SYSTEM.read().wall;
        let now = runtime.map_or_else(wall, |runtime| runtime.clock().now());
        let ids = ids_for(snapshot, batch.n_rows, now);
        let is_canary = options.journal && snapshot.model.spec.is_canary(ids[0]);
        let canary = snapshot.canary.as_ref().filter(|_| is_canary);
        let model = canary.unwrap_or(&snapshot.model);
        let batching = runtime.map_or_else(RequestBatching::default, |runtime| RequestBatching {
            forwarder: runtime.forwarder(),
            passes: options.shares_pass.then_some(runtime.passes()),
        });
        let choice = if options.explore {
            Choice::Drawn(&ids)
        } else {
            Choice::Best
        };
        let outputs = answer(batching, model, &batch, choice).await;
        let outputs = outputs.map_err(|error| error.of_model(self.name()))?;
        let (version, state_position) = match (canary, snapshot.unserved) {
            (Some(_), Some(candidate)) => candidate,
            _ => (snapshot.version, snapshot.state_position),
        };
        let position = snapshot.position;
        let labels = model.labels(&outputs);
        let mut answer = Answer {
            ids: Vec::new(),
            outputs,
            names: model.names.clone(),
            version,
            position: state_position,
        };
        let began = match runtime {
            Some(runtime) => runtime.phases().end(Phase::Compute, began),
            None => began,
        };
        let Some(runtime) = runtime.filter(|_| options.journal && snapshot.serves) else {
            return Ok(answer);
        };
        let journaled = runtime.journal_prediction(Prediction {
            ids: ids.clone(),
            batch,
            labels,
            outputs: answer.outputs.clone(),
            version,
            position,
        });
        runtime.phases().end(Phase::Journal, began);
        if journaled {
            answer.ids = ids;
        } else {
            runtime.metrics().count_unjournaled();
        }
        Ok(answer)
    }
}

/// Fresh ids: where one side was asked for by its name, none of a request that the other one answers.
fn ids_for(snapshot: &Snapshot, n_rows: usize, now: Time) -> Vec<PredictionId> {
    loop {
        let ids = new_ids(n_rows, now);
        if snapshot.canary.is_some() || !snapshot.model.spec.is_canary(ids[0]) {
            return ids;
        }
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
