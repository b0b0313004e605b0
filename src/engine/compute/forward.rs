//! FORWARD: rows through a network that a device computes, together with those of others.
//!
//! Invariant: rows share a pass only where the same snapshot answers them.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::compute::batcher::{Batcher, Bounds, Question};
use crate::engine::compute::serving::Snapshot;
use crate::engine::error::Error;
use crate::engine::host::served_model::ServedModel;
use crate::event::Batch;
use crate::model::{Device, Encoded, LearnerKind, Model, Spec};

const BOUNDS: Bounds = Bounds {
    rows_at_once: 4096,
    rows_waiting: 65_536,
    gather: Duration::from_micros(50),
};

/// Rows for a model.
#[derive(Debug)]
pub(crate) struct Rows {
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
pub(crate) fn forwarder(spec: &Spec) -> Option<Batcher<Rows>> {
    let is_network = matches!(spec.learner, LearnerKind::Gradient(_));
    (is_network && spec.device != Device::Cpu).then(|| Batcher::new("device", BOUNDS, compute))
}

fn compute(questions: &[&Rows]) -> Result<Vec<f32>, String> {
    let rows = questions.iter().flat_map(|question| &question.rows);
    let network = questions.first().and_then(|first| first.model.elsewhere());
    let network = network.ok_or("no device is to compute the network")?;
    network.forward(&rows.collect::<Vec<_>>())
}

impl ServedModel {
    /// The rows of a batch, encoded, and what the model's function gives for them.
    ///
    /// # Errors
    /// [`Error::Full`]: too many rows wait, or the device has no room for them.
    pub(crate) async fn forward(
        &self,
        snapshot: &Snapshot,
        batch: &Batch,
    ) -> Result<(Vec<Encoded>, Vec<f32>), Error> {
        let refused = |what| Error::Full {
            model: self.name().to_owned(),
            what,
        };
        let model = &snapshot.model;
        let rows = model.encode(batch);
        let runtime = self.get().ok();
        let forwarder = runtime.and_then(|runtime| runtime.forwarder.as_ref());
        let Some(forwarder) = forwarder.filter(|_| model.elsewhere().is_some()) else {
            let outputs = model.forward(&rows).map_err(refused)?;
            return Ok((rows, outputs));
        };
        let question = Rows {
            model: model.clone(),
            rows,
        };
        let answered = forwarder.ask(question).await;
        let (question, outputs) = answered.map_err(refused)?;
        Ok((question.rows, outputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_networks_that_a_device_computes_have_a_forwarder() {
        let has_one = |more: &str| {
            let toml = "task = 'regression'\n[[input]]\nname = 'x'\nkind = 'number'\n";
            let spec = Spec::parse(&format!("{toml}{more}")).unwrap();
            forwarder(&spec).is_some()
        };
        let (network, device) = (
            "[network]\nkind = 'linear'\n[learner]\nkind = 'gradient'\n",
            "[backend]\ndevice = 'candle'\n",
        );
        assert!(has_one(&format!("{network}{device}")));
        assert!(!has_one(network) && !has_one(device));
    }
}
