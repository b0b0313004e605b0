//! A client of a running server.
//!
//! Invariant: a refusal becomes an error with the server's own sentence.

mod access;
mod answer;
mod feedback;
mod refusal;
mod request;
mod signature;

use std::time::Duration;

use anyhow::anyhow;
use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::inference::{ModelInferRequest, ModelMetadataRequest};
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{ModelStatus, StatusRequest};
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

pub(crate) use access::AccessArgs;
use access::{Requests, Server};
pub(crate) use answer::{Answer, AnswerValue};
pub(crate) use feedback::{FeedbackStream, IN_FLIGHT_MAX};
pub(crate) use refusal::refusal;
pub(crate) use request::{PredictRequest, tensors};

use crate::cli::rows::Unusable;
use crate::cli::rows::signature::ModelSignature;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of every command that sends requests to a server.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// The server's address for gRPC; https:// before it for TLS
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8001")]
    pub server: String,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub access: AccessArgs,
}

/// The services of a server; a clone shares the connection.
#[derive(Clone)]
pub(super) struct Client {
    pub inference: GrpcInferenceServiceClient<Requests>,
    pub learning: LearningClient<Requests>,
    pub registry: RegistryClient<Requests>,
}

impl Client {
    /// Connects to the server.
    ///
    /// # Errors
    /// The address is malformed, or no server listens there.
    pub(super) async fn connect(args: &Args) -> anyhow::Result<Client> {
        let server = Server::read(&args.server)?;
        let bearer = args.access.bearer(&server)?;
        let endpoint = Endpoint::from_shared(server.url())
            .map_err(|_| anyhow!("--server {}: expected HOST:PORT", args.server))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        let endpoint = args.access.secured(endpoint, server.is_tls)?;
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| unreached(&server, &error))?;
        let requests = InterceptedService::new(channel, bearer);
        Ok(Client {
            inference: GrpcInferenceServiceClient::new(requests.clone()),
            learning: LearningClient::new(requests.clone()),
            registry: RegistryClient::new(requests),
        })
    }

    /// The signature of a model.
    pub(super) async fn describe(&mut self, model: &str) -> anyhow::Result<ModelSignature> {
        let request = ModelMetadataRequest {
            name: model.to_owned(),
            version: String::new(),
        };
        let reply = self.inference.model_metadata(request).await;
        signature::signature(reply.map_err(refusal)?.into_inner())
    }

    /// The status of a model, or of every model for an empty name.
    pub(super) async fn status(&mut self, model: &str) -> anyhow::Result<Vec<ModelStatus>> {
        let request = StatusRequest {
            model: model.to_owned(),
            digest: false,
        };
        let reply = self.registry.status(request).await;
        Ok(reply.map_err(refusal)?.into_inner().models)
    }

    /// Requests a prediction for one row.
    ///
    /// # Errors
    /// [`Unusable`] for a row that the model refuses; whatever keeps the server from answering.
    pub(super) async fn predict(&mut self, request: ModelInferRequest) -> anyhow::Result<Answer> {
        let reply = self.inference.model_infer(request).await;
        let reply = reply.map_err(|status| match status.code() {
            Code::InvalidArgument => Unusable::refused(status.message()).into(),
            _ => refusal(status),
        });
        Answer::decode(&reply?.into_inner())
    }
}

/// Why a server was not reached; of a handshake that failed, the innermost cause says what was wrong.
fn unreached(server: &Server<'_>, error: &tonic::transport::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let address = server.address;
    if server.is_tls && !cause.to_string().contains("refused") {
        anyhow!("cannot reach {address} over TLS: {cause}")
    } else {
        anyhow!("cannot reach {address}: is `perennial serve` running?")
    }
}
