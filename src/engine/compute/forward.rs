//! FORWARD: rows through a model's function: in slices here, or together with those of others.
//!
//! Invariant: rows share a pass only where the same snapshot answers them. A batch is as good as if it were
//! computed at once: its outputs are the same to the bit.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;

use crate::engine::compute::batcher::{BatchBounds, BatchRequest, Batcher};
use crate::engine::compute::failure::ComputeError;
use crate::engine::compute::shared_pass::SharedPasses;
use crate::event::{Batch, Outputs};
use crate::model::{Choice, Device, Encoded, LearnerKind, Model, Spec};

const BOUNDS: BatchBounds = BatchBounds {
    batch_rows_max: 4096,
    waiting_rows_max: 65_536,
    wait_max: Duration::from_micros(50),
};

/// Rows for a model.
#[derive(Debug)]
pub(crate) struct ForwardRows {
    model: Arc<Model>,
    rows: Vec<Encoded>,
}

impl BatchRequest for ForwardRows {
    fn n_rows(&self) -> usize {
        self.rows.len()
    }

    fn batches_with(&self, other: &ForwardRows) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
    }
}

/// The batching of the rows of several requests: by a batcher, or by passes that they share.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestBatching<'a> {
    /// The batcher of a model that a device computes.
    pub forwarder: Option<&'a Batcher<ForwardRows>>,
    /// The passes of a model that the processor computes; none where no other request is there.
    pub passes: Option<&'a SharedPasses>,
}

/// The batcher of a model that a device computes; none where each request computes its own rows.
pub(crate) fn forwarder(spec: &Spec) -> Option<Batcher<ForwardRows>> {
    let is_network = matches!(spec.learner, LearnerKind::Gradient(_));
    (is_network && spec.device != Device::Cpu).then(|| Batcher::new("device", BOUNDS, compute))
}

fn compute(requests: &[&ForwardRows]) -> Result<Vec<f32>, ComputeError> {
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

/// The answer to every row of a batch. Between two slices other tasks of the thread go on.
///
/// # Errors
/// Those of [`Batcher::compute`]; the device fails, or has no room.
pub(crate) async fn answer(
    batching: RequestBatching<'_>,
    model: &Arc<Model>,
    batch: &Batch,
    choice: Choice<'_>,
) -> Result<Outputs, ComputeError> {
    let (forwarder, passes) = (batching.forwarder, batching.passes);
    if let Some(passes) = passes.filter(|_| batch.n_rows == 1 && model.shares_passes()) {
        let row = model.encode(batch).pop().expect("there is one row");
        let (row, outputs) = passes.forward(model, row).await?;
        return Ok(model.answer(&[row], outputs, choice));
    }
    if let Some(forwarder) = forwarder.filter(|_| model.elsewhere().is_some()) {
        let request = ForwardRows {
            model: model.clone(),
            rows: model.encode(batch),
        };
        let (request, outputs) = forwarder.compute(request).await?;
        return Ok(model.answer(&request.rows, outputs, choice));
    }
    let mut slices = model.slices(batch.n_rows);
    let compute = |rows| {
        let outputs = model.predict_rows(batch, rows, choice);
        outputs.map_err(|error| ComputeError::of_network(&error))
    };
    let mut outputs = compute(slices.next().unwrap_or_default())?;
    for rows in slices {
        yield_now().await;
        outputs.append(compute(rows)?);
    }
    Ok(outputs)
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
