//! FORWARD: rows through a network that a device computes, together with those of others.

use std::sync::Arc;
use std::time::Duration;

use super::batcher::{Batcher, Bounds, Question};
use super::error::Error;
use super::hosted::Hosted;
use super::registry::Snapshot;
use crate::event::Batch;
use crate::model::{Device, Encoded, LearnerKind, Model, Spec};

const BOUNDS: Bounds = Bounds {
    rows_at_once: 4096,
    rows_waiting: 65_536,
    gather: Duration::from_micros(50),
};

/// Rows for a model.
#[derive(Debug)]
pub(super) struct Rows {
    model: Arc<Model>,
    rows: Vec<Encoded>,
}

impl Question for Rows {
    fn n_rows(&self) -> usize {
        self.rows.len()
    }

    fn is_like(&self, other: &Rows) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
    }
}

/// What forwards the rows of a model's requests; none where each request computes its own.
pub(super) fn forwarder(spec: &Spec) -> Option<Batcher<Rows>> {
    let is_network = matches!(spec.learner, LearnerKind::Gradient(_));
    (is_network && spec.device != Device::Cpu).then(|| Batcher::new("device", BOUNDS, compute))
}

fn compute(questions: &[&Rows]) -> Result<Vec<f32>, String> {
    let rows = questions.iter().flat_map(|question| &question.rows);
    let network = questions.first().and_then(|first| first.model.elsewhere());
    let network = network.ok_or("no device is to compute the network")?;
    network.try_forward(&rows.collect::<Vec<_>>())
}

impl Hosted {
    /// The rows of a batch, encoded, and what the model's function gives for them.
    ///
    /// # Errors
    /// [`Error::Full`]: too many rows wait, or the device has no room for them.
    pub(super) async fn forward(
        &self,
        snapshot: &Snapshot,
        batch: &Batch,
    ) -> Result<(Vec<Encoded>, Vec<f32>), Error> {
        let model = &snapshot.model;
        let rows = model.encode(batch);
        let running = self.get().ok();
        let forwarder = running.and_then(|running| running.forwarder.as_ref());
        let Some(forwarder) = forwarder.filter(|_| model.elsewhere().is_some()) else {
            let outputs = model.forward(&rows);
            return Ok((rows, outputs));
        };
        let question = Rows {
            model: model.clone(),
            rows,
        };
        let answered = forwarder.ask(question).await;
        let (question, outputs) = answered.map_err(|what| Error::Full {
            model: self.name().to_owned(),
            what,
        })?;
        Ok((question.rows, outputs))
    }
}
