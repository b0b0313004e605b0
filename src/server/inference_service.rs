//! The Open Inference Protocol's service: predictions, and the models that predict.
//!
//! Invariant: a prediction is answered on the request's own task, in its turns of the compute queue; the only
//! other things that it may wait for are a position that it asked for, and the encoder of its texts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use prost::Message;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

use super::access::{Caller, MessageCost};
use super::connection_number::ConnectionNumber;
use super::context::{self, ServerContext};
use super::deadline;
use super::wire::{self, OutputSelection, Refusal, RequestParameters, RequestTensors};
use crate::engine::{PredictOptions, ServedModel};
use crate::model::PublishPolicy;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::inference::*;

/// The time for which a request without a deadline waits for its position.
const WAIT_UNASKED: Duration = Duration::from_secs(30);
/// However late its deadline is, a request waits no longer.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Our answer is to come so long before the caller gives up, or a fifth of the deadline.
const MARGIN_MAX: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct InferenceService(pub Arc<ServerContext>);

#[tonic::async_trait]
impl GrpcInferenceService for InferenceService {
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
        let caller = Caller::of(&request);
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = match self.0.model(&caller, &name) {
            Ok(model) => model.snapshot_of(&version).await.is_ok(),
            Err(_) => false,
        };
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
        let caller = Caller::of(&request);
        let ModelMetadataRequest { name, version } = request.into_inner();
        let model = self.0.model(&caller, &name)?;
        let snapshot = model.snapshot_of(&version).await.map_err(Refusal::from)?;
        let metadata = wire::model_metadata(&name, &snapshot.model, snapshot.version);
        Ok(Response::new(metadata))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let caller = Caller::of(&request);
        let (metadata, _, message) = request.into_parts();
        let message = self.infer(&caller, metadata.as_ref(), message).await?;
        Ok(Response::new(message))
    }
}

/// The terms on which a request waits for a position.
struct PositionWait {
    time_left: Duration,
    /// The connection that it came on.
    connection: ConnectionNumber,
}

impl InferenceService {
    /// The answer to a call for predictions; a refusal is counted.
    pub(super) async fn infer(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        message: ModelInferRequest,
    ) -> Result<ModelInferResponse, Status> {
        let wait = PositionWait {
            time_left: time_left(headers),
            connection: caller.connection(),
        };
        let answered = self.predict(caller, message, wait).await;
        if let Err(refusal) = &answered {
            self.0.refused_predictions.add(refusal);
        }
        Ok(answered?)
    }

    async fn predict(
        &self,
        caller: &Caller,
        request: ModelInferRequest,
        wait: PositionWait,
    ) -> Result<ModelInferResponse, Refusal> {
        let model = self.0.model(caller, &request.model_name)?;
        let parameters = RequestParameters::read(&request.parameters)?;
        if let Some(position) = parameters.min_position {
            check_waits(model, &request.model_version)?;
            self.wait_for_position(model, position, &wait).await?;
        }
        // As many as its shape has; where it lies it is refused in its first turn.
        let shape = request.inputs.first().and_then(|input| input.shape.first());
        let n_rows = shape.map_or(0, |n| usize::try_from(*n).unwrap_or(0));
        let came = Instant::now();
        if parameters.options.journal && caller.has_quota() {
            caller.spend(MessageCost {
                predictions: n_rows.max(1) as u64,
                bytes: request.encoded_len() as u64,
                events: 0,
            })?;
        }
        let answer = async {
            model.end_queue(came);
            self.answer(model, request, &parameters).await
        };
        let queue = &self.0.compute_queue;
        queue.compute(wait.connection, n_rows, answer).await
    }

    /// The answer to a request, computed now.
    async fn answer(
        &self,
        model: &ServedModel,
        request: ModelInferRequest,
        parameters: &RequestParameters,
    ) -> Result<ModelInferResponse, Refusal> {
        let snapshot = model.snapshot_of(&request.model_version).await?;
        let spec = &snapshot.model.spec;
        let selection = OutputSelection::read(&spec.task, &request.outputs)?;
        let tensors = RequestTensors {
            inputs: request.inputs,
            raw: request.raw_input_contents,
        };
        let batch = wire::batch(spec, tensors, self.0.config.rows_max)?;
        let batch = model.embed(&snapshot, batch).await?;
        let options = PredictOptions {
            shares_pass: self.0.requests.n_requests() > 1,
            ..parameters.options
        };
        let answer = model.predict(&snapshot, batch, options).await?;
        let form = (&answer.names[..], spec.datatype);
        Ok(ModelInferResponse {
            model_name: request.model_name,
            id: request.id,
            ..wire::response(form, &selection, &answer)
        })
    }

    /// Waits until the position is served, which may not be in the journal yet.
    async fn wait_for_position(
        &self,
        model: &ServedModel,
        position: u64,
        wait: &PositionWait,
    ) -> Result<(), Refusal> {
        if model.snapshot("")?.position >= position {
            return Ok(());
        }
        let _waiter = self.0.waiters.enter(wait.connection)?;
        let ended = tokio::select! {
            ended = timeout(wait.time_left, model.wait_for_position(position)) => ended,
            () = context::drained(self.0.draining.clone()) => {
                return Err(Refusal::new(Code::Unavailable, "", "the server is stopping"));
            }
        };
        let Ok(reached) = ended else {
            let reached = model.snapshot("")?.position;
            let what = format!(
                "min_position: {position} was not reached within the deadline; {reached} was"
            );
            return Err(Refusal::new(Code::DeadlineExceeded, "parameters", what));
        };
        Ok(reached?)
    }
}

/// Refuses to wait for a position where the answering state does not learn: the champion.
fn check_waits(model: &ServedModel, version: &str) -> Result<(), Refusal> {
    let is_live = model.spec()?.publish.policy == PublishPolicy::Live;
    let asks_candidate = version == "candidate" || (is_live && version != "champion");
    if asks_candidate {
        return Ok(());
    }
    let what = "min_position: the champion answers, which learns nothing of later entries; ask for the \
                model_version candidate, or leave min_position out";
    Err(Refusal::new(Code::FailedPrecondition, "parameters", what))
}

/// The time for which a request may wait, so that its answer comes before the caller gives up.
fn time_left(headers: &HeaderMap) -> Duration {
    let within = |deadline: Duration| deadline - (deadline / 5).min(MARGIN_MAX);
    let time_left = deadline::timeout_of(headers).map(within);
    time_left.unwrap_or(WAIT_UNASKED).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_within_its_deadline() {
        let check = |text: &str, expected_ms: u64| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header"));
            let expected = Duration::from_millis(expected_ms);
            assert_eq!(time_left(&headers), expected, "{text}");
        };
        check("100m", 80);
        check("1S", 800);
        check("10000u", 8);
        check("10000000n", 8);
        check("10S", 9_000);
        check("60S", 59_000);
        check("99999999H", 3_600_000);
        check("1", 30_000);
        check("x", 30_000);
        check("", 30_000);
        assert_eq!(time_left(&HeaderMap::new()), WAIT_UNASKED);
    }
}
