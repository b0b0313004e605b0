//! A server behind a real socket, and the client that asks it.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use perennial::engine::{self, Clock, Engine};
use perennial::event::Batch;
use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::inference::infer_parameter::ParameterChoice;
use perennial::proto::inference::model_infer_request::InferRequestedOutputTensor;
use perennial::proto::inference::{InferParameter, ModelInferRequest, ModelInferResponse};
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{
    FeedbackReply, FeedbackRequest, ModelStatus, RestoreRequest, StatusRequest, VersionMade,
    feedback_reply,
};
use perennial::server::{self, Listeners};
use perennial::store::Disk;
use perennial::store::disk::{ChangeOutcome, DiskChange};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Workspace, rows};
pub(crate) use crate::support::{numbers, question};

/// Nothing here takes longer; a slower call has stopped.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(WAIT_MAX, work).await;
    done.expect("it ends within a minute")
}

/// A disk that syncs nothing from the moment of the request until the sender is dropped.
pub(super) fn stalling() -> (Disk, Arc<AtomicBool>, mpsc::Sender<()>) {
    let (release, gate) = mpsc::channel();
    let (stalls, gate) = (Arc::new(AtomicBool::new(false)), Mutex::new(gate));
    let stalled = stalls.clone();
    let disk = Disk::watched(move |change| {
        if matches!(change, DiskChange::Sync(_)) && stalled.load(Relaxed) {
            let _ = gate.lock().expect("nothing panics under it").recv();
        }
        Ok(ChangeOutcome::Make)
    });
    (disk, stalls, release)
}

/// The services of a server; a clone shares the connection.
#[derive(Clone)]
pub(super) struct Client {
    pub inference: GrpcInferenceServiceClient<Channel>,
    pub learning: LearningClient<Channel>,
    pub registry: RegistryClient<Channel>,
    pub channel: Channel,
}

/// A running server and its folders.
pub(super) struct Served {
    pub client: Client,
    pub grpc: SocketAddr,
    http: SocketAddr,
    workspace: Workspace,
    pub engine: Arc<Engine>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), server::Error>>,
}

impl Served {
    pub(super) async fn start(models: &[(&str, &str)]) -> Served {
        Served::start_on(models, Disk::default()).await
    }

    /// On a disk that the test watches.
    pub(super) async fn start_on(models: &[(&str, &str)], disk: Disk) -> Served {
        let workspace = Workspace::new(models);
        let engine = workspace.open_on(disk);
        Served::serve(workspace, engine, server::Config::default()).await
    }

    /// On a disk that the test watches, by bounds of its own.
    pub(super) async fn start_bounded(
        models: &[(&str, &str)],
        disk: Disk,
        config: server::Config,
    ) -> Served {
        let workspace = Workspace::new(models);
        let engine = workspace.open_on(disk);
        Served::serve(workspace, engine, config).await
    }

    /// By a clock that the test sets.
    pub(super) async fn start_by(models: &[(&str, &str)], clock: Clock) -> Served {
        Served::in_workspace(Workspace::new(models), clock).await
    }

    /// A server on the files of an earlier one.
    pub(super) async fn in_workspace(workspace: Workspace, clock: Clock) -> Served {
        let config = engine::Config {
            clock,
            ..workspace.config()
        };
        let engine = Engine::open(config).expect("the engine opens");
        Served::serve(workspace, engine, server::Config::default()).await
    }

    pub(super) async fn serve(
        workspace: Workspace,
        engine: Arc<Engine>,
        config: server::Config,
    ) -> Served {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let listeners = Listeners {
            grpc: bind().await.expect("a free port"),
            http: bind().await.expect("a free port"),
        };
        let grpc = listeners.grpc.local_addr().expect("an address");
        let http = listeners.http.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let running = tokio::spawn(server::run(listeners, engine.clone(), config, shutdown));
        Served {
            client: Client::connect(grpc).await,
            grpc,
            http,
            workspace,
            engine,
            stop,
            running,
        }
    }

    /// The answer of its HTTP server to a request for this path, with its headers.
    pub(super) fn get(&self, path: &str) -> String {
        let mut http = TcpStream::connect(self.http).expect("it listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        http.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        http.read_to_string(&mut answer).expect("UTF-8");
        answer
    }

    /// Stops it, finds every journal sound, and keeps its files.
    pub(super) async fn stop(self) -> Workspace {
        drop(self.client);
        self.stop.send(()).expect("it still runs");
        let ended = within(self.running).await;
        ended.expect("no panic").expect("a clean end");
        self.engine.close();
        let served = self.engine.models().filter(|model| model.spec().is_ok());
        let models: Vec<String> = served.map(|model| model.name().to_owned()).collect();
        drop(self.engine);
        for model in models {
            let journal = self.workspace.data().join(&model).join("journal");
            let report = perennial::store::verify(&journal).expect("a sound journal");
            assert!(report.torn_tail.is_none(), "{model}");
        }
        self.workspace
    }

    /// The server predicts and learns as if nothing had been asked of it, and stops soundly.
    pub(super) async fn goes_on_and_stops(mut self, model: &str) {
        let before = self.client.status(model).await;
        let (batch, truth) = rows(1, 0.0).next().expect("a row");
        let reply = self.client.teach(model, &batch, truth, "afterwards").await;
        assert_eq!(reply.ids.len(), 1);
        let after = self.client.status(model).await;
        let applied = |status: &ModelStatus| status.fates.get("applied").copied().unwrap_or(0);
        assert_eq!(applied(&after), applied(&before) + 1);
        assert_eq!(after.state, "READY");
        self.stop().await;
    }
}

impl Client {
    /// On a connection of its own.
    pub(super) async fn connect(server: SocketAddr) -> Client {
        Client::connect_to(format!("http://{server}")).await
    }

    pub(super) async fn connect_to(url: String) -> Client {
        let endpoint = Endpoint::from_shared(url).expect("an address");
        let channel = within(endpoint.connect()).await.expect("it listens");
        Client {
            inference: GrpcInferenceServiceClient::new(channel.clone()),
            learning: LearningClient::new(channel.clone()),
            registry: RegistryClient::new(channel.clone()),
            channel,
        }
    }

    pub(super) async fn ask(&mut self, request: ModelInferRequest) -> Result<PredictReply, Status> {
        let reply = within(self.inference.model_infer(request)).await?;
        Ok(PredictReply::read(reply.into_inner()))
    }

    pub(super) async fn submit(&mut self, event: FeedbackRequest) -> Result<FeedbackReply, Status> {
        let reply = within(self.learning.submit_feedback(event)).await?;
        Ok(reply.into_inner())
    }

    /// Replies to a stream of these events, in their order.
    pub(super) async fn stream(&mut self, events: Vec<FeedbackRequest>) -> Vec<FeedbackReply> {
        let events = tokio_stream::iter(events);
        let replies = within(self.learning.stream_feedback(events)).await;
        let mut replies = replies.expect("a stream").into_inner();
        let mut all = Vec::new();
        while let Some(reply) = within(replies.message()).await.expect("it goes on") {
            all.push(reply);
        }
        all
    }

    /// Predicts a row, feeds back its label, and waits until it is learned.
    pub(super) async fn teach(
        &mut self,
        model: &str,
        batch: &Batch,
        truth: &str,
        id: &str,
    ) -> PredictReply {
        let answer = self.ask(question(model, batch)).await.expect("an answer");
        let event = label(model, &answer.ids[0], id, truth);
        let reply = self.submit(event).await.expect("it is taken");
        assert_eq!(reply.status(), feedback_reply::Status::Accepted);
        self.reach(model, reply.position).await;
        answer
    }

    pub(super) async fn teach_rows(&mut self, model: &str, n_rows: usize, turn: f64, prefix: &str) {
        for (index, (batch, truth)) in rows(n_rows, turn).enumerate() {
            let id = format!("{prefix}-{index}");
            self.teach(model, &batch, truth, &id).await;
        }
    }

    /// Waits until everything up to the position has been learned.
    pub(super) async fn reach(&mut self, model: &str, position: u64) -> PredictReply {
        let (batch, _) = rows(1, 0.0).next().expect("a row");
        let request = ModelInferRequest {
            // Of what serves only that can be waited for which learns.
            model_version: "candidate".to_owned(),
            ..unjournaled(question(model, &batch))
        };
        let request = with(
            request,
            "min_position",
            ParameterChoice::Uint64Param(position),
        );
        let reply = self.ask(request).await.expect("it is reached");
        assert!(
            reply.position >= position,
            "{} after {position}",
            reply.position
        );
        reply
    }

    pub(super) async fn status(&mut self, model: &str) -> ModelStatus {
        let request = StatusRequest {
            model: model.to_owned(),
            digest: false,
        };
        let reply = within(self.registry.status(request)).await;
        let mut models = reply.expect("a status").into_inner().models;
        assert_eq!(models.len(), 1);
        models.remove(0)
    }

    pub(super) async fn restore(
        &mut self,
        model: &str,
        version: u64,
    ) -> Result<VersionMade, Status> {
        let request = RestoreRequest {
            model: model.to_owned(),
            version,
            note: "a test asks".to_owned(),
            dry_run: false,
        };
        let made = within(self.registry.restore(request)).await?;
        Ok(made.into_inner())
    }
}

/// An answer as a client reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PredictReply {
    pub version: String,
    pub position: u64,
    /// Names and raw bytes, in order.
    pub outputs: Vec<(String, Bytes)>,
    pub ids: Vec<String>,
}

impl PredictReply {
    fn read(reply: ModelInferResponse) -> PredictReply {
        let position = &reply.parameters["position"].parameter_choice;
        let Some(ParameterChoice::Int64Param(position)) = position else {
            panic!("position is {position:?}");
        };
        let names = reply.outputs.into_iter().map(|output| output.name);
        let outputs: Vec<_> = names.zip(reply.raw_output_contents).collect();
        let ids = outputs.iter().find(|(name, _)| name == "prediction_id");
        PredictReply {
            version: reply.model_version,
            position: *position as u64,
            ids: ids.map_or_else(Vec::new, |(_, raw)| strings(raw)),
            outputs,
        }
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let names = self.outputs.iter().map(|(name, _)| name.as_str());
        names.collect()
    }

    pub(super) fn raw(&self, output: &str) -> &Bytes {
        let found = self.outputs.iter().find(|(name, _)| name == output);
        &found.expect("it was asked for").1
    }
}

/// The elements of a raw BYTES tensor.
pub(super) fn strings(mut raw: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while let Some((length, rest)) = raw.split_first_chunk() {
        let (text, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        all.push(String::from_utf8(text.to_vec()).expect("UTF-8"));
        raw = rest;
    }
    all
}

pub(super) fn with(
    mut request: ModelInferRequest,
    name: &str,
    choice: ParameterChoice,
) -> ModelInferRequest {
    let parameter = InferParameter {
        parameter_choice: Some(choice),
    };
    request.parameters.insert(name.to_owned(), parameter);
    request
}

/// The question, of which nothing will be learned.
pub(super) fn unjournaled(request: ModelInferRequest) -> ModelInferRequest {
    with(request, "log", ParameterChoice::BoolParam(false))
}

/// The question, answered by these outputs.
pub(super) fn asking_for(mut request: ModelInferRequest, outputs: &[&str]) -> ModelInferRequest {
    let named = outputs.iter().map(|name| InferRequestedOutputTensor {
        name: (*name).to_owned(),
        ..Default::default()
    });
    request.outputs = named.collect();
    request
}

pub(super) fn label(model: &str, id: &str, feedback_id: &str, label: &str) -> FeedbackRequest {
    FeedbackRequest {
        model: model.to_owned(),
        feedback_id: feedback_id.to_owned(),
        prediction_id: Some(id.to_owned()),
        source: "test".to_owned(),
        label: Some(label.to_owned()),
        ..Default::default()
    }
}
