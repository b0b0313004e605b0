//! `perennial demo`: the whole loop on a generated drifting stream, with nothing to prepare.
//!
//! Invariant: everything goes through a real server on a free port, over gRPC; every printed number
//! was measured in this run.

mod rotating_hyperplane;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use perennial::engine::{self, Engine};
use perennial::event::Batch;
use perennial::proto::perennial::v1::feedback_reply::Status;
use perennial::proto::perennial::v1::{CheckpointRequest, FeedbackRequest, RestoreRequest};
use perennial::server::{self, Listeners};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cli::client::{self, Client, FeedbackStream, PredictRequest, refusal};
use crate::cli::output::print;
use crate::cli::rows::ModelInput;
use crate::cli::run::latency::Latencies;
use rotating_hyperplane::{Drift, RotatingHyperplane};

/// Rows of one request, and of one line of the table.
const BATCH: usize = 50;
const LINE: usize = 750;
/// Rows of each of the three parts.
const PART: usize = 3000;
/// Rows whose answers are recorded with a version.
const PROBES: usize = 200;

/// The demo has no options.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial demo")]
pub(crate) struct Args {}

/// Runs the demonstration in a folder of its own, which it removes.
pub(crate) fn run(_: Args) -> anyhow::Result<()> {
    let folder = TemporaryFolder::new()?;
    for model in ["learning", "frozen"] {
        let path = folder.0.join("models").join(model);
        std::fs::create_dir_all(&path)?;
        std::fs::write(path.join("model.toml"), rotating_hyperplane::description())?;
    }
    let engine = Engine::open(engine::Config {
        models: folder.0.join("models"),
        data: folder.0.join("data"),
        learner_threads: 0,
        ..Default::default()
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }
        .enable_all()
        .build()
        .context("start the runtime")?;
    let shown = runtime.block_on(async {
        let (stop, stopped) = oneshot::channel::<()>();
        let listeners = Listeners {
            grpc: TcpListener::bind("127.0.0.1:0").await?,
            http: TcpListener::bind("127.0.0.1:0").await?,
        };
        let address = listeners.grpc.local_addr()?.to_string();
        let serving = engine.clone();
        let server = tokio::spawn(server::run(
            listeners,
            serving,
            server::Config::default(),
            async { drop(stopped.await) },
        ));
        let shown = show(&address, &folder.0).await;
        drop(stop);
        server.await??;
        shown
    });
    engine.close();
    shown
}

/// A temporary folder, removed at the end.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> anyhow::Result<TemporaryFolder> {
        let name = format!("perennial-demo-{}", uuid::Uuid::from_u128(rand::random()));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(TemporaryFolder(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // A failure leaves it to the system, which clears its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The accuracy of one model.
#[derive(Default)]
struct Accuracy {
    n_rows: usize,
    n_right: usize,
}

impl Accuracy {
    fn share(&self) -> f64 {
        self.n_right as f64 / self.n_rows.max(1) as f64
    }
}

/// The session with the server of the demo.
struct DemoSession {
    client: Client,
    inputs: Vec<ModelInput>,
    run: uuid::Uuid,
    n_fed: u64,
    /// The newest position of each model.
    positions: BTreeMap<String, u64>,
    predicts: Latencies,
    acknowledgements: Latencies,
}

async fn show(address: &str, folder: &Path) -> anyhow::Result<()> {
    let mut session = DemoSession::connect(address).await?;
    print::note(format_args!(
        "A server on {address} serves two models of one description. Both learn the\n\
         first {PART} rows; then one of them gets no more feedback.\n"
    ));
    print::line(format_args!(
        "{:>6}  {:<13} {:>9} {:>8}  |30 %  o frozen  # learning  100 %|",
        "rows", "stream", "learning", "frozen"
    ))?;
    let started = Instant::now();
    let mut stream = RotatingHyperplane::new(2026);
    let probes = RotatingHyperplane::new(1).rows(PROBES, Drift::Steady).0;
    let mut totals = [Accuracy::default(), Accuracy::default()];
    session
        .part(&mut stream, Drift::Steady, 0, &mut totals)
        .await?;
    let steady = session.checkpoint("before the drift").await?;
    let steady_answers = session.answers(&probes).await?;
    stream.drift_abruptly();
    let mut drifted = [Accuracy::default(), Accuracy::default()];
    session
        .part(&mut stream, Drift::Abrupt, 1, &mut drifted)
        .await?;
    session
        .part(&mut stream, Drift::Gradual, 2, &mut drifted)
        .await?;
    let seconds = started.elapsed().as_secs_f64();
    let newest = session.checkpoint("after both drifts").await?;
    let newest_answers = session.answers(&probes).await?;
    let changed = differing(&steady_answers, &newest_answers);
    let back = session.restore(steady, &probes, &steady_answers).await?;
    let forth = session.restore(newest, &probes, &newest_answers).await?;
    summary(&session, folder, &totals, &drifted, seconds)?;
    print::line(format_args!(
        "restore    versions {steady} and {newest} answer {changed} of {PROBES} recorded rows differently;\n           \
         each, restored in {:.0} ms and {:.0} ms while serving, gave its\n           \
         {PROBES} answers again, bit for bit",
        back.as_secs_f64() * 1e3,
        forth.as_secs_f64() * 1e3
    ))?;
    print::line("")?;
    print::line("next       perennial init NAME your.csv --target COLUMN, then perennial serve")
}

fn summary(
    session: &DemoSession,
    folder: &Path,
    totals: &[Accuracy; 2],
    drifted: &[Accuracy; 2],
    seconds: f64,
) -> anyhow::Result<()> {
    let percent = |counted: &Accuracy| 100.0 * counted.share();
    print::line("")?;
    print::line(format_args!(
        "before     {:.1} % right, both models (at most 95.0: 5 % of the labels are noise)",
        percent(&totals[0])
    ))?;
    print::line(format_args!(
        "after      {:.1} % right while learning, {:.1} % frozen",
        percent(&drifted[0]),
        percent(&drifted[1])
    ))?;
    print::line(format_args!(
        "feedback   {} events, each on disk when acknowledged; journal {} KiB",
        session.n_fed,
        size(&folder.join("data/learning/journal")) / 1024
    ))?;
    print::line(format_args!(
        "speed      {:.0} rows a second through both models and back",
        (3 * PART) as f64 / seconds
    ))?;
    let line = session.predicts.line("           predict");
    print::line(format_args!("{line}, {BATCH} rows a request"))?;
    print::line(session.acknowledgements.line("           acknowledge"))
}

fn size(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// The number of recorded rows that differ in any bit.
fn differing(one: &[Bytes], other: &[Bytes]) -> usize {
    one.iter()
        .zip(other)
        .filter(|(one, other)| one != other)
        .count()
}

impl DemoSession {
    async fn connect(address: &str) -> anyhow::Result<DemoSession> {
        let args = client::Args {
            server: address.to_owned(),
            json: false,
            access: client::AccessArgs::default(),
        };
        Ok(DemoSession {
            client: Client::connect(&args).await?,
            inputs: rotating_hyperplane::inputs(),
            run: uuid::Uuid::from_u128(rand::random()),
            n_fed: 0,
            positions: BTreeMap::new(),
            predicts: Latencies::new(),
            acknowledgements: Latencies::new(),
        })
    }

    /// One part of the stream: each batch is predicted by both models, then its labels are fed back.
    async fn part(
        &mut self,
        stream: &mut RotatingHyperplane,
        drift: Drift,
        index: usize,
        totals: &mut [Accuracy; 2],
    ) -> anyhow::Result<()> {
        let mut line = [Accuracy::default(), Accuracy::default()];
        for at in (0..PART).step_by(BATCH) {
            let (batch, labels) = stream.rows(BATCH, drift);
            let mut ids = Vec::new();
            for (model, counted) in ["learning", "frozen"].into_iter().zip(&mut line) {
                let answer = self.predict(model, &batch).await?;
                counted.n_rows += BATCH;
                let right = answer.labels.iter().zip(&labels).filter(|(a, b)| a == b);
                counted.n_right += right.count();
                ids.push(answer.ids);
            }
            self.feed("learning", &ids[0], &labels).await?;
            if drift == Drift::Steady {
                self.feed("frozen", &ids[1], &labels).await?;
            }
            let n_rows = index * PART + at + BATCH;
            if n_rows.is_multiple_of(LINE) {
                print::line(format_args!(
                    "{n_rows:>6}  {:<13} {:>7.1} % {:>6.1} %  {}",
                    drift.word(),
                    100.0 * line[0].share(),
                    100.0 * line[1].share(),
                    bars(line[0].share(), line[1].share())
                ))?;
                for (total, line) in totals.iter_mut().zip(&mut line) {
                    total.n_rows += line.n_rows;
                    total.n_right += line.n_right;
                    *line = Accuracy::default();
                }
            }
        }
        Ok(())
    }

    async fn predict(&mut self, model: &str, batch: &Batch) -> anyhow::Result<BatchAnswers> {
        let request = PredictRequest {
            model,
            inputs: &self.inputs,
            batch,
            version: "",
            min_position: self.positions.get(model).copied().unwrap_or(0),
            is_journaled: true,
        };
        let asked = Instant::now();
        let reply = self.client.inference.model_infer(request.message()).await;
        self.predicts.add(asked.elapsed());
        let reply = reply.map_err(refusal)?.into_inner();
        let texts = |name: &str| {
            let place = reply.outputs.iter().position(|output| output.name == name);
            let raw = place.and_then(|place| reply.raw_output_contents.get(place));
            raw.map(|raw| strings(raw)).context("an output is missing")
        };
        Ok(BatchAnswers {
            labels: texts("label")?,
            ids: texts("prediction_id")?,
        })
    }

    /// Feeds back a batch, and waits until all of it is on disk.
    async fn feed(&mut self, model: &str, ids: &[String], labels: &[&str]) -> anyhow::Result<()> {
        let fold = |last: &mut (u64, u64, Vec<Duration>),
                    sent: Instant,
                    reply: perennial::proto::perennial::v1::FeedbackReply| {
            last.0 = last.0.max(reply.position);
            last.1 += u64::from(reply.status == Status::Accepted as i32);
            last.2.push(sent.elapsed());
            Ok(())
        };
        let mut stream =
            FeedbackStream::open(self.client.learning.clone(), (0, 0, Vec::new()), fold);
        for (id, label) in ids.iter().zip(labels) {
            self.n_fed += 1;
            let event = FeedbackRequest {
                model: model.to_owned(),
                feedback_id: format!("{}-{}", self.run, self.n_fed),
                prediction_id: Some(id.clone()),
                label: Some((*label).to_owned()),
                source: "demo".to_owned(),
                ..Default::default()
            };
            stream.send(Instant::now(), event).await?;
        }
        let (position, n_accepted, durations) = stream.finish().await?;
        ensure!(
            n_accepted == ids.len() as u64,
            "the server refused feedback"
        );
        durations
            .into_iter()
            .for_each(|duration| self.acknowledgements.add(duration));
        self.positions.insert(model.to_owned(), position);
        Ok(())
    }

    async fn checkpoint(&mut self, note: &str) -> anyhow::Result<u64> {
        let request = CheckpointRequest {
            model: "learning".to_owned(),
            note: note.to_owned(),
        };
        let made = self.client.registry.checkpoint(request).await;
        let made = made.map_err(refusal)?.into_inner();
        print::line(format_args!(
            "        version {} made: {note}",
            made.version
        ))?;
        Ok(made.version)
    }

    /// The probabilities of each probe, as the bytes of the response.
    async fn answers(&mut self, probes: &Batch) -> anyhow::Result<Vec<Bytes>> {
        let request = PredictRequest {
            model: "learning",
            inputs: &self.inputs,
            batch: probes,
            version: "",
            min_position: self.positions.get("learning").copied().unwrap_or(0),
            is_journaled: false,
        };
        let reply = self.client.inference.model_infer(request.message()).await;
        let reply = reply.map_err(refusal)?.into_inner();
        let place = reply
            .outputs
            .iter()
            .position(|output| output.name == "probabilities");
        let place = place.context("no probabilities came")?;
        let raw = &reply.raw_output_contents[place];
        let width = raw.len() / PROBES;
        Ok((0..PROBES)
            .map(|row| raw.slice(row * width..(row + 1) * width))
            .collect())
    }

    /// Restores a version, and checks its answers against those recorded when it served.
    async fn restore(
        &mut self,
        version: u64,
        probes: &Batch,
        recorded: &[Bytes],
    ) -> anyhow::Result<Duration> {
        let request = RestoreRequest {
            model: "learning".to_owned(),
            version,
            note: "demo".to_owned(),
            dry_run: false,
        };
        let asked = Instant::now();
        let made = self
            .client
            .registry
            .restore(request)
            .await
            .map_err(refusal)?;
        let took = asked.elapsed();
        let position = made.into_inner().position;
        self.positions.insert("learning".to_owned(), position);
        let n_differing = differing(&self.answers(probes).await?, recorded);
        ensure!(
            n_differing == 0,
            "version {version} answers {n_differing} rows otherwise than when it served"
        );
        Ok(took)
    }
}

/// The answers to a batch.
struct BatchAnswers {
    labels: Vec<String>,
    ids: Vec<String>,
}

/// The elements of a raw BYTES tensor: a 32-bit length before each.
fn strings(mut raw: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    while let Some((length, rest)) = raw.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        strings.push(String::from_utf8_lossy(&rest[..length]).into_owned());
        raw = &rest[length..];
    }
    strings
}

/// Both accuracies as marks on one line from 30 to 100 percent.
fn bars(learning: f64, frozen: f64) -> String {
    const LAST: usize = 34;
    let place = |accuracy: f64| ((accuracy - 0.3).max(0.0) / 0.7 * LAST as f64) as usize;
    let mut marks = vec![' '; LAST + 1];
    marks[place(frozen).min(LAST)] = 'o';
    marks[place(learning).min(LAST)] = '#';
    format!("|{}|", marks.into_iter().collect::<String>())
}
