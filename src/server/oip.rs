//! The Open Inference Protocol's service: predictions and what can be predicted.
//!
//! Invariant: a prediction is answered in place, on the request's own task; the only things that
//! it may wait for are a position that it asked for, and the encoder of its texts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use super::door::{self, Door};
use super::wire::{self, Parameters, Refusal, Selection, Tensors};
use crate::engine::Hosted;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::inference::*;

/// How long a request without a deadline waits for its position.
const REACH_MAX: Duration = Duration::from_secs(30);

pub(super) struct Oip(pub Arc<Door>);

#[tonic::async_trait]
impl GrpcInferenceService for Oip {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        let ready = self.0.ready();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let snapshot = self
            .0
            .engine
            .model(&name)
            .and_then(|model| model.snapshot(&version));
        let ready = snapshot.is_ok();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(wire::server_metadata()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let model = self.0.model(&name)?;
        let snapshot = model.snapshot(&version).map_err(Refusal::from)?;
        let metadata = wire::model_metadata(&name, &snapshot.model, snapshot.version);
        Ok(Response::new(metadata))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let patience = patience(request.metadata());
        let answered = self.predict(request.into_inner(), patience).await;
        if answered.is_err() {
            door::count(&self.0.refused_predictions);
        }
        Ok(Response::new(answered?))
    }
}

impl Oip {
    async fn predict(
        &self,
        request: ModelInferRequest,
        patience: Duration,
    ) -> Result<ModelInferResponse, Refusal> {
        let model = self.0.model(&request.model_name)?;
        let parameters = Parameters::read(&request.parameters)?;
        if let Some(position) = parameters.min_position {
            reach(model, position, patience).await?;
        }
        let snapshot = model.snapshot(&request.model_version)?;
        let spec = &snapshot.model.spec;
        let selection = Selection::read(&spec.task, &request.outputs)?;
        let tensors = Tensors {
            inputs: request.inputs,
            raw: request.raw_input_contents,
        };
        let batch = wire::batch(spec, tensors, self.0.config.rows_max)?;
        let batch = model.embed(batch).await?;
        let answer = model.predict(&snapshot, batch, parameters.manner).await?;
        Ok(ModelInferResponse {
            model_name: request.model_name,
            id: request.id,
            ..wire::response(&snapshot.model.names, &selection, &answer)
        })
    }
}

async fn reach(model: &Hosted, position: u64, patience: Duration) -> Result<(), Refusal> {
    match timeout(patience, model.reach(position)).await {
        Ok(reached) => Ok(reached?),
        Err(_) => Err(Refusal::new(
            Code::DeadlineExceeded,
            "parameters",
            format!("min_position {position} was not reached within the deadline"),
        )),
    }
}

/// Nine tenths of the request's deadline, so that our answer comes before the caller gives up.
fn patience(metadata: &MetadataMap) -> Duration {
    let deadline = metadata
        .get("grpc-timeout")
        .and_then(|text| text.to_str().ok());
    let deadline = deadline
        .and_then(deadline_of)
        .map(|deadline| deadline / 10 * 9);
    deadline.unwrap_or(REACH_MAX).min(REACH_MAX)
}

/// gRPC's form of a duration: up to eight digits and a unit.
fn deadline_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    match unit {
        "n" => Some(Duration::from_nanos(n)),
        "u" => Some(Duration::from_micros(n)),
        "m" => Some(Duration::from_millis(n)),
        "S" => Some(Duration::from_secs(n)),
        "M" => Some(Duration::from_secs(n.checked_mul(60)?)),
        "H" => Some(Duration::from_secs(n.checked_mul(3600)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_within_its_deadline() {
        let check = |text: &str, expected_ms: u64| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("a header"));
            let expected = Duration::from_millis(expected_ms);
            assert_eq!(patience(&metadata), expected, "{text}");
        };
        check("100m", 90);
        check("1S", 900);
        check("10000u", 9);
        check("10000000n", 9);
        check("99999999H", 30_000);
        check("1", 30_000);
        check("x", 30_000);
        check("", 30_000);
        assert_eq!(patience(&MetadataMap::new()), REACH_MAX);
    }
}
