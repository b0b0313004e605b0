//! FORWARD: rows through a network that a device computes, together with those of others.
//!
//! Invariant: rows share a pass only where the same snapshot answers them.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::compute::batcher::{Batcher, Bounds, Request};
use crate::engine::compute::failure::ComputeError;
use crate::event::Batch;
use crate::model::{Device, Encoded, LearnerKind, Model, Spec};

const BOUNDS: Bounds = Bounds {
    batch_rows_max: 4096,
    waiting_rows_max: 65_536,
    wait_max: Duration::from_micros(50),
};

/// Rows for a model.
#[derive(Debug)]
pub(crate) struct Rows {
    model: Arc<Model>,
    rows: Vec<Encoded>,
}

impl Request for Rows {
    fn n_rows(&self) -> usize {
        self.rows.len()
    }

    fn batches_with(&self, other: &Rows) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
    }
}

/// The batcher of a model that a device computes; none where each request computes its own rows.
pub(crate) fn forwarder(spec: &Spec) -> Option<Batcher<Rows>> {
    let is_network = matches!(spec.learner, LearnerKind::Gradient(_));
    (is_network && spec.device != Device::Cpu).then(|| Batcher::new("device", BOUNDS, compute))
}

fn compute(requests: &[&Rows]) -> Result<Vec<f32>, ComputeError> {
    let rows: Vec<_> = requests.iter().flat_map(|request| &request.rows).collect();
    let Some(first) = requests.first() else {
        return Ok(Vec::new());
    };
    let network = first.model.elsewhere();
    let network = network.expect("only networks that a device computes come here");
    network
        .forward(&rows)
        .map_err(|error| ComputeError::of_network(&error))
}

/// The rows of a batch, encoded, and the outputs of the model's function for them.
///
/// # Errors
/// Those of [`Batcher::compute`]; the device fails, or has no room.
pub(crate) async fn forward(
    forwarder: Option<&Batcher<Rows>>,
    model: &Arc<Model>,
    batch: &Batch,
) -> Result<(Vec<Encoded>, Vec<f32>), ComputeError> {
    let rows = model.encode(batch);
    let Some(forwarder) = forwarder.filter(|_| model.elsewhere().is_some()) else {
        let outputs = model.forward(&rows);
        let outputs = outputs.map_err(|error| ComputeError::of_network(&error))?;
        return Ok((rows, outputs));
    };
    let request = Rows {
        model: model.clone(),
        rows,
    };
    let (request, outputs) = forwarder.compute(request).await?;
    Ok((request.rows, outputs))
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
