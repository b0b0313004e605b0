//! A client of a running server.
//!
//! Invariant: a refusal becomes an error with the server's own sentence.

mod answer;
mod feedback;
mod refusal;
mod request;
mod signature;

use std::time::Duration;

use anyhow::{anyhow, ensure};
use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::inference::{ModelInferRequest, ModelMetadataRequest};
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{ModelStatus, StatusRequest};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

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
    /// The server's address for gRPC
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8001")]
    pub server: String,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// The services of a server; a clone shares the connection.
#[derive(Clone)]
pub(super) struct Client {
    pub inference: GrpcInferenceServiceClient<Channel>,
    pub learning: LearningClient<Channel>,
    pub registry: RegistryClient<Channel>,
}

impl Client {
    /// Connects to the server.
    ///
    /// # Errors
    /// The address is malformed, or no server listens there.
    pub(super) async fn connect(args: &Args) -> anyhow::Result<Client> {
        let server = address(&args.server)?;
        let endpoint = Endpoint::from_shared(format!("http://{server}"))
            .map_err(|_| anyhow!("--server {server}: expected HOST:PORT"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        let channel = endpoint.connect().await;
        let channel =
            channel.map_err(|_| anyhow!("cannot reach {server}: is `perennial serve` running?"))?;
        Ok(Client {
            inference: GrpcInferenceServiceClient::new(channel.clone()),
            learning: LearningClient::new(channel.clone()),
            registry: RegistryClient::new(channel),
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

/// The host and port of a server, which may be written as a URL.
fn address(written: &str) -> anyhow::Result<&str> {
    ensure!(
        !written.starts_with("https://"),
        "--server {written}: this program speaks no TLS; expected HOST:PORT of plain gRPC"
    );
    let address = written.strip_prefix("http://").unwrap_or(written);
    let address = address.trim_end_matches('/');
    let port = address
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    ensure!(
        matches!(port, Some(Ok(_))),
        "--server {written}: expected HOST:PORT, as in 127.0.0.1:8001"
    );
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_server_may_be_a_url_and_needs_a_port() {
        let refusal = |written| address(written).unwrap_err().to_string();
        for written in ["host:8001", "http://host:8001", "http://host:8001/"] {
            assert_eq!(address(written).unwrap(), "host:8001");
        }
        assert_eq!(address("[::1]:8001").unwrap(), "[::1]:8001");
        for written in ["host", "http://host", "host:", "host:70000", "host:8001/v2"] {
            let expected = format!("--server {written}: expected HOST:PORT, as in 127.0.0.1:8001");
            assert_eq!(refusal(written), expected);
        }
        assert!(refusal("https://host:8001").contains("speaks no TLS"));
    }
}
