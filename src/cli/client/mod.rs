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

use anyhow::{anyhow, ensure};
use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::inference::{ModelInferRequest, ModelMetadataRequest, ServerLiveRequest};
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{ModelStatus, StatusRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

pub(crate) use access::AccessArgs;
use access::{Requests, Server};
pub(crate) use answer::{AnswerValue, ModelAnswer};
pub(crate) use feedback::{FeedbackStream, IN_FLIGHT_MAX};
pub(crate) use refusal::refusal;
use refusal::{ANSWERS_HTTP, is_broken_off};
pub(crate) use request::{PredictRequest, moment, tensors};

use crate::cli::rows::Unusable;
use crate::cli::rows::signature::ModelSignature;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of every command that sends requests to a server.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// The server's address for gRPC; https:// before it for TLS, or unix:PATH for its socket
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
        let mut client = Client {
            inference: GrpcInferenceServiceClient::new(requests.clone()),
            learning: LearningClient::new(requests.clone()),
            registry: RegistryClient::new(requests),
        };
        let live = client.inference.server_live(ServerLiveRequest {}).await;
        if let (Err(status), false) = (live, server.is_tls || server.is_socket())
            && is_broken_off(&status)
        {
            ensure!(!answers_http(server.address).await, ANSWERS_HTTP);
            return Err(refusal(status));
        }
        Ok(client)
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
    pub(super) async fn predict(
        &mut self,
        request: ModelInferRequest,
    ) -> anyhow::Result<ModelAnswer> {
        let reply = self.inference.model_infer(request).await;
        let reply = reply.map_err(|status| match status.code() {
            Code::InvalidArgument => Unusable::refused(status.message()).into(),
            _ => refusal(status),
        });
        ModelAnswer::decode(&reply?.into_inner())
    }
}

/// True if a port answers a request of HTTP/1, as the one for metrics does, which breaks off requests it
/// does not understand.
async fn answers_http(address: &str) -> bool {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    const VERSION: &[u8] = b"HTTP/1";
    let answer = async {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(REQUEST).await?;
        let mut head = [0; VERSION.len()];
        connection.read_exact(&mut head).await?;
        std::io::Result::Ok(head)
    };
    let answer = tokio::time::timeout(CONNECT_TIMEOUT, answer).await;
    matches!(answer, Ok(Ok(head)) if head == VERSION)
}

/// The reason why a server was not reached; of a handshake that failed, the innermost cause is the one that counts.
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
