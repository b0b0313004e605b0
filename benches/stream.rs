//! Small events from Python: how many a second one unmodified grpcio stream gets acknowledged, beside
//! the same client against a server that replies to each at once and keeps nothing.
//!
//! Invariant: both servers are processes of their own, and every sync of ours is real.
//!
//! `cargo bench --bench stream`, or shorter: `cargo bench --bench stream -- 100000`. It takes python3
//! with venv, and the package index for grpcio and grpcio-tools.

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use futures_util::{Stream, StreamExt};
use perennial::proto::perennial::v1::learning_server::{Learning, LearningServer};
use perennial::proto::perennial::v1::{FeedbackReply, FeedbackRequest, feedback_reply};
use support::{AUTO, Workspace};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::support::server::Server;

const N_EVENTS: usize = 1_000_000;
const N_ROUNDS: usize = 3;
/// The share of the echo's rate to reach.
const SHARE: f64 = 0.8;
const PACKAGES: [&str; 2] = ["grpcio", "grpcio-tools"];

fn main() -> anyhow::Result<()> {
    if std::env::args().any(|argument| argument == "--echo") {
        return tokio::runtime::Runtime::new()?.block_on(echo());
    }
    let n_events = std::env::args().find_map(|argument| argument.parse().ok());
    let n_events = n_events.unwrap_or(N_EVENTS);
    let Ok(found) = Command::new("python3").arg("--version").output() else {
        println!("skipped: there is no python3");
        return Ok(());
    };
    println!("cargo bench --bench stream -- {n_events}");
    println!("{}", String::from_utf8_lossy(&found.stdout).trim());
    let python = environment()?;
    let ids = n_events.max(1_000_000) + 1;
    let description = format!("{AUTO}[journal]\nids_max = {ids}\n");
    let mut shares = Vec::new();
    for round in 1..=N_ROUNDS {
        let echo = Echoing::start()?;
        let echoed = feed(&python, &format!("127.0.0.1:{}", echo.port), n_events)?;
        drop(echo);
        let workspace = Workspace::new(&[("m", &description)]);
        let server = Server::of(&workspace);
        let acknowledged = feed(&python, &server.address, n_events)?;
        server.stop();
        println!("round {round}: {acknowledged:.0} events/s acknowledged, {echoed:.0} echoed");
        shares.push(acknowledged / echoed);
    }
    shares.sort_unstable_by(f64::total_cmp);
    let median = shares[N_ROUNDS / 2];
    println!(
        "all {n_events} were acknowledged in each round; median {median:.2} of the echo's rate"
    );
    ensure!(
        median >= SHARE,
        "{SHARE} of the rate of the echo is to be reached"
    );
    Ok(())
}

/// A Python with grpcio and the stubs of this project; it is made once.
fn environment() -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stream-python");
    let python = folder.join("bin/python");
    let run = |command: &mut Command| -> anyhow::Result<()> {
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    };
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let install = ["-m", "pip", "install", "--quiet"];
    run(Command::new(&python).args(install).args(PACKAGES))?;
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let stubs = Command::new(&python)
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(&proto)
        .arg(format!("--python_out={}", folder.display()))
        .arg(format!("--grpc_python_out={}", folder.display()))
        .arg(proto.join("perennial.proto"))
        .status()?;
    ensure!(stubs.success(), "no stubs: {stubs}");
    Ok(python)
}

/// Events a second that the client got acknowledged, all of them.
fn feed(python: &Path, server: &str, n_events: usize) -> anyhow::Result<f64> {
    let folder = python
        .parent()
        .and_then(Path::parent)
        .context("its folder")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/stream.py");
    let fed = Command::new(python)
        .arg(script)
        .args([server, "m", &n_events.to_string()])
        .env("PYTHONPATH", folder)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(fed.status.success(), "the stream broke: {}", fed.status);
    let output = String::from_utf8(fed.stdout)?;
    let last = output.lines().last().context("it says nothing")?;
    let (n, seconds) = last.split_once(' ').context("two numbers")?;
    Ok(n.parse::<f64>()? / seconds.parse::<f64>()?)
}

/// The echo in a process of its own, which ends when its standard input closes.
struct Echoing {
    port: u16,
    child: Child,
}

impl Echoing {
    fn start() -> anyhow::Result<Echoing> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--echo")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().context("the echo told no port")?;
        Ok(Echoing { port, child })
    }
}

impl Drop for Echoing {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

struct Echo;

#[tonic::async_trait]
impl Learning for Echo {
    type StreamFeedbackStream = Pin<Box<dyn Stream<Item = Result<FeedbackReply, Status>> + Send>>;

    async fn stream_feedback(
        &self,
        request: Request<Streaming<FeedbackRequest>>,
    ) -> Result<Response<Self::StreamFeedbackStream>, Status> {
        let replies = request.into_inner().map(|event| event.map(reply));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn submit_feedback(
        &self,
        request: Request<FeedbackRequest>,
    ) -> Result<Response<FeedbackReply>, Status> {
        Ok(Response::new(reply(request.into_inner())))
    }
}

fn reply(event: FeedbackRequest) -> FeedbackReply {
    FeedbackReply {
        feedback_id: event.feedback_id,
        status: feedback_reply::Status::Accepted as i32,
        position: 1,
        ..Default::default()
    }
}

/// Replies until standard input closes.
async fn echo() -> anyhow::Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    // The windows of the server's own transport: without them it, too, ends the connection.
    tonic::transport::Server::builder()
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(32 * 1024 * 1024)
        .add_service(LearningServer::new(Echo))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}
