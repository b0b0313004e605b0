//! The client: so many predictions in flight, and feedback as fast as it is taken.
//!
//! Invariant: every count is bounded, the requests are the same for every server, and an answer
//! that is not a prediction fails the bench.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use bytes::Bytes;
use perennial::proto::inference::ModelInferRequest;
use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::inference::infer_parameter::ParameterChoice;
use perennial::proto::inference::model_infer_request::InferInputTensor;
use perennial::proto::perennial::v1::feedback_reply::Status as Fate;
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{FeedbackRequest, ModelStatus, StatusRequest, Tensor};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::child::{Kind, ServerProcess};
use crate::quantile::quantile;

/// Different rows, sent in turn.
const N_ROWS: usize = 256;
const N_PIXELS: usize = 784;
/// Feedback events that wait to be sent.
const UNSENT_MAX: usize = 64;
/// How long a server may take to have nothing left to do.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Longer than the server's interval between two syncs of its journal.
const QUIET: Duration = Duration::from_millis(200);

/// One connection, and the rows to send on it.
#[derive(Clone)]
pub(crate) struct Client {
    pub channel: Channel,
    rows: Arc<Vec<Bytes>>,
}

/// The result of a load: its latencies and its time.
pub(crate) struct LoadResult {
    /// Sorted.
    pub latencies: Vec<Duration>,
    pub took: Duration,
}

impl LoadResult {
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        quantile(&self.latencies, share).as_secs_f64() * 1e6
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

impl Client {
    pub(crate) async fn connect(server: &ServerProcess) -> anyhow::Result<Client> {
        let endpoint = server.endpoint()?.tcp_nodelay(true);
        Ok(Client {
            channel: endpoint.connect().await.context("connect")?,
            rows: Arc::new((0..N_ROWS).map(row).collect()),
        })
    }

    /// So many connections.
    pub(crate) async fn connect_all(
        server: &ServerProcess,
        n: usize,
    ) -> anyhow::Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..n {
            clients.push(Client::connect(server).await?);
        }
        Ok(clients)
    }

    /// Sends `n_requests`, `in_flight` at a time.
    pub(crate) async fn load(
        &self,
        in_flight: usize,
        n_requests: usize,
    ) -> anyhow::Result<LoadResult> {
        closed(std::slice::from_ref(self), in_flight, n_requests).await
    }

    /// The position of the state that answers now.
    pub(crate) async fn position(&self) -> anyhow::Result<u64> {
        let mut inference = GrpcInferenceServiceClient::new(self.channel.clone());
        let answer = inference.model_infer(self.request(0)).await?.into_inner();
        let position = answer.parameters.get("position");
        match position.and_then(|position| position.parameter_choice.as_ref()) {
            Some(ParameterChoice::Int64Param(position)) => Ok(*position as u64),
            Some(ParameterChoice::Uint64Param(position)) => Ok(*position),
            other => anyhow::bail!("the answer's position is {other:?}"),
        }
    }

    pub(crate) async fn status(&self) -> anyhow::Result<ModelStatus> {
        let mut registry = RegistryClient::new(self.channel.clone());
        let asked = StatusRequest {
            model: "digits".to_owned(),
            digest: false,
        };
        let mut models = registry.status(asked).await?.into_inner().models;
        models.pop().context("no status of the model")
    }

    /// Waits until the requests so far are journaled and the learner has passed it, so that
    /// its cost falls into no interval but its own.
    pub(crate) async fn settle(&self, kind: Kind) -> anyhow::Result<()> {
        if kind == Kind::Echo {
            tokio::time::sleep(QUIET).await;
            return Ok(());
        }
        let started = Instant::now();
        let mut before = None;
        loop {
            let status = self.status().await?;
            if status.lag == 0 && before == Some(status.journal_position) {
                ensure!(status.unjournaled == 0, "predictions were not journaled");
                return Ok(());
            }
            before = Some(status.journal_position);
            ensure!(started.elapsed() < SETTLE_MAX, "it never comes to rest");
            tokio::time::sleep(QUIET).await;
        }
    }

    /// Streams at most `n_events` labelled rows until stopped; the positions that they
    /// were taken at.
    pub(crate) async fn teach(
        &self,
        prefix: &'static str,
        n_events: usize,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Vec<u64>> {
        let (unsent, events) = mpsc::channel(UNSENT_MAX);
        let client = self.clone();
        tokio::spawn(async move {
            for index in 0..n_events {
                let event = client.event(prefix, index);
                if stop.load(Relaxed) || unsent.send(event).await.is_err() {
                    return;
                }
            }
        });
        let mut learning = LearningClient::new(self.channel.clone());
        let events = ReceiverStream::new(events);
        let mut replies = learning.stream_feedback(events).await?.into_inner();
        let mut positions = Vec::new();
        while let Some(reply) = replies.message().await? {
            let accepted = reply.status() == Fate::Accepted;
            ensure!(accepted, "feedback was not taken: {}", reply.message);
            positions.push(reply.position);
        }
        Ok(positions)
    }

    /// One request that was planned then and is of no use after its deadline.
    async fn ask_by(
        &self,
        index: usize,
        planned: Instant,
        deadline: Duration,
    ) -> anyhow::Result<Outcome> {
        let left = (planned + deadline).saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Outcome::Late);
        }
        let mut inference = GrpcInferenceServiceClient::new(self.channel.clone());
        let mut request = Request::new(self.request(index));
        request.set_timeout(left);
        let sent = Instant::now();
        match inference.model_infer(request).await {
            Ok(_) if planned.elapsed() <= deadline => Ok(Outcome::Good(planned.elapsed())),
            Ok(_) => Ok(Outcome::Late),
            Err(status) => match status.code() {
                Code::ResourceExhausted => Ok(Outcome::Refused(sent.elapsed())),
                Code::InvalidArgument | Code::NotFound | Code::Internal => Err(status.into()),
                // Its deadline passed, or its connection was lost.
                _ => Ok(Outcome::Late),
            },
        }
    }

    /// A message that asks for so many rows.
    pub(crate) fn batch(&self, n_rows: usize) -> Bytes {
        let mut request = self.request(0);
        request.inputs[0].shape[0] = n_rows as i64;
        let rows = (0..n_rows).flat_map(|index| &self.rows[index % N_ROWS][..]);
        request.raw_input_contents = vec![rows.copied().collect()];
        request.encode_to_vec().into()
    }

    fn request(&self, index: usize) -> ModelInferRequest {
        ModelInferRequest {
            model_name: "digits".to_owned(),
            inputs: vec![tensor()],
            raw_input_contents: vec![self.rows[index % N_ROWS].clone()],
            ..Default::default()
        }
    }

    pub(crate) fn event(&self, prefix: &str, index: usize) -> FeedbackRequest {
        FeedbackRequest {
            model: "digits".to_owned(),
            feedback_id: format!("{prefix}-{index}"),
            inputs: vec![Tensor {
                name: "pixels".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![1, N_PIXELS as i64],
                contents: self.rows[index % N_ROWS].clone(),
            }],
            source: "bench".to_owned(),
            event_time: Some(SystemTime::now().into()),
            label: Some((index % N_ROWS % 10).to_string()),
            ..Default::default()
        }
    }
}

/// Sends `n_requests`, `in_flight` at a time, over these connections in turn.
pub(crate) async fn closed(
    clients: &[Client],
    in_flight: usize,
    n_requests: usize,
) -> anyhow::Result<LoadResult> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..in_flight {
        let share = n_requests / in_flight + usize::from(task < n_requests % in_flight);
        let client = clients[task % clients.len()].clone();
        tasks.spawn(async move {
            let mut inference = GrpcInferenceServiceClient::new(client.channel.clone());
            let mut latencies = Vec::with_capacity(share);
            for index in 0..share {
                let request = client.request(task * 31 + index);
                let sent = Instant::now();
                let answer = inference.model_infer(request).await?.into_inner();
                latencies.push(sent.elapsed());
                ensure!(!answer.raw_output_contents.is_empty(), "an empty answer");
            }
            Ok(latencies)
        });
    }
    let mut latencies = Vec::with_capacity(n_requests);
    while let Some(task) = tasks.join_next().await {
        latencies.extend(task??);
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    ensure!(!latencies.is_empty(), "no requests");
    Ok(LoadResult { latencies, took })
}

/// A load at a fixed rate.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    pub per_second: f64,
    pub span: Duration,
    /// Counted from the time of the plan.
    pub deadline: Duration,
}

/// The outcome of a request.
enum Outcome {
    /// Answered within the deadline, so long after the time of the plan.
    Good(Duration),
    /// Refused so long after it was sent.
    Refused(Duration),
    /// Neither answered nor refused within the deadline.
    Late,
}

/// The outcomes of the requests of a load at a fixed rate.
#[derive(Default)]
pub(crate) struct Sent {
    /// Sorted.
    pub good: Vec<Duration>,
    /// Sorted.
    pub refused: Vec<Duration>,
    pub late: usize,
}

impl Sent {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Good(after) => self.good.push(after),
            Outcome::Refused(after) => self.refused.push(after),
            Outcome::Late => self.late += 1,
        }
    }

    pub(crate) fn n(&self) -> usize {
        self.good.len() + self.refused.len() + self.late
    }

    pub(crate) fn good_ms(&self, share: f64) -> f64 {
        ms(&self.good, share)
    }

    pub(crate) fn refused_ms(&self, share: f64) -> f64 {
        ms(&self.refused, share)
    }
}

/// A quantile in milliseconds; zero of none.
pub(crate) fn ms(sorted: &[Duration], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    quantile(sorted, share).as_secs_f64() * 1e3
}

/// Sends requests at the times of the plan, over these connections in turn.
pub(crate) async fn open(clients: &[Client], open: Open) -> anyhow::Result<Sent> {
    let n = (open.per_second * open.span.as_secs_f64()) as usize;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    let mut sent = Sent::default();
    for index in 0..n {
        let planned = began + Duration::from_secs_f64(index as f64 / open.per_second);
        if planned > Instant::now() {
            tokio::time::sleep_until(planned.into()).await;
        }
        let client = clients[index % clients.len()].clone();
        tasks.spawn(async move { client.ask_by(index, planned, open.deadline).await });
        while let Some(done) = tasks.try_join_next() {
            sent.add(done??);
        }
    }
    while let Some(done) = tasks.join_next().await {
        sent.add(done??);
    }
    sent.good.sort_unstable();
    sent.refused.sort_unstable();
    Ok(sent)
}

fn tensor() -> InferInputTensor {
    InferInputTensor {
        name: "pixels".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, N_PIXELS as i64],
        ..Default::default()
    }
}

/// A row of class `index % 10`: a bar of ink at the place of its class, and a tenth of noise.
fn row(index: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ (index as u64 + 1);
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let bar = index % 10 * 70..index % 10 * 70 + 120;
    let pixel = |at: usize| match (bar.contains(&at), uniform()) {
        (true, ink) => ink,
        (false, noise) if noise < 0.1 => noise * 10.0,
        (false, _) => 0.0,
    };
    (0..N_PIXELS)
        .map(pixel)
        .flat_map(f32::to_le_bytes)
        .collect()
}
