//! The program as a process, and a client of it.
//!
//! Invariant: no process outlives the test that started it, and no wait is without end.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::inference::infer_parameter::ParameterChoice;
use perennial::proto::inference::*;
use perennial::proto::perennial::v1::learning_client::LearningClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::*;
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Workspace, question, rows};

/// Nothing here takes longer; a slower call has stopped.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(120);

pub(crate) fn kill(process: u32, signal: libc::c_int) {
    // SAFETY: it sends a signal to a child of ours that has not been waited for.
    let sent = unsafe { libc::kill(process as libc::pid_t, signal) };
    assert_eq!(sent, 0, "the process is there");
}

pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
    command.args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn ended(child: Child) -> Output {
    let process = child.id();
    let (sender, done) = channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let output = done.recv_timeout(WAIT_MAX);
    output
        .unwrap_or_else(|_| {
            kill(process, libc::SIGKILL);
            panic!("it does not end")
        })
        .expect("its output")
}

/// Runs a command to its end; its stdout and stderr.
pub(crate) fn run(args: &[&str], code: i32) -> (String, String) {
    let output = ended(program(args).spawn().expect("the program starts"));
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    (stdout, stderr)
}

/// Runs a command that fails, and expects these words on stderr.
pub(crate) fn refused(args: &[&str], expected: &str) {
    let (stdout, stderr) = run(args, 1);
    assert_eq!(stdout, "", "{args:?}");
    assert!(stderr.contains("error: "), "{stderr}");
    assert!(stderr.contains(expected), "{stderr}");
}

/// The last line of stdout as an object.
pub(crate) fn json(args: &[&str]) -> Value {
    let (stdout, _) = run(args, 0);
    let last = stdout.lines().last().expect("a line");
    serde_json::from_str(last).expect("an object")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A serving process; it does not outlive this.
pub(crate) struct Server {
    pub child: Child,
    lines: Receiver<String>,
    pub address: String,
    pub http: String,
}

impl Server {
    pub(crate) fn start(models: &Path, data: &Path) -> Server {
        Server::start_with(models, data, |_| {})
    }

    /// Its log goes there.
    pub(crate) fn logging(models: &Path, data: &Path, log: Stdio) -> Server {
        Server::start_with(models, data, |command| {
            command.stderr(log);
        })
    }

    /// As a process that is set up like this.
    pub(crate) fn start_with(
        models: &Path,
        data: &Path,
        set_up: impl FnOnce(&mut Command),
    ) -> Server {
        let mut command = program(&serve_args(models, data));
        command.stderr(Stdio::null());
        set_up(&mut command);
        let mut child = command.spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let mut server = Server {
            child,
            lines,
            address: String::new(),
            http: String::new(),
        };
        let line = server.lines.recv_timeout(WAIT_MAX).expect("it listens");
        let rest = line.strip_prefix("listening grpc=").expect("its address");
        let (grpc, http) = rest.split_once(" http=").expect("both addresses");
        (server.address, server.http) = (grpc.to_owned(), http.to_owned());
        server
    }

    pub(crate) fn of(workspace: &Workspace) -> Server {
        Server::start(&workspace.models(), &workspace.data())
    }

    /// Starts it, and kills it after this long, whatever it has come to.
    pub(crate) fn kill_early(workspace: &Workspace, after: Duration) {
        let (models, data) = (workspace.models(), workspace.data());
        let mut command = program(&serve_args(&models, &data));
        let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
        let (_never, wait) = channel::<()>();
        assert_eq!(wait.recv_timeout(after), Err(RecvTimeoutError::Timeout));
        child.kill().expect("it is ours");
        child.wait().expect("its status");
    }

    /// Tells it to stop, and expects that it did well.
    pub(crate) fn stop(mut self) {
        kill(self.child.id(), libc::SIGTERM);
        let line = self.lines.recv_timeout(WAIT_MAX);
        assert_eq!(line, Err(RecvTimeoutError::Disconnected), "one line only");
        assert_eq!(self.child.wait().expect("its status").code(), Some(0));
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        json(&[args, &["--json", "--server", &self.address]].concat())
    }

    pub(crate) fn ask(&self, args: &[&str]) -> String {
        run(&[args, &["--server", &self.address]].concat(), 0).0
    }

    pub(crate) fn refuses(&self, args: &[&str], expected: &str) {
        refused(&[args, &["--server", &self.address]].concat(), expected);
    }

    /// The page for Prometheus.
    pub(crate) fn metrics(&self) -> String {
        let mut http = TcpStream::connect(&self.http).expect("it listens");
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        http.write_all(request.as_bytes()).expect("it reads");
        let mut page = String::new();
        http.read_to_string(&mut page).expect("UTF-8");
        assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
        page
    }

    /// The status with the digest, once everything that is on disk was learned.
    pub(crate) async fn status(&self, model: &str) -> ModelStatus {
        let (batch, _) = rows(1, 0.0).next().expect("a row");
        self.status_of(question(model, &batch)).await
    }

    /// The status of a model that another question suits.
    pub(crate) async fn status_of(&self, question: ModelInferRequest) -> ModelStatus {
        let model = question.model_name.clone();
        let mut client = Client::connect(&self.address).await;
        let behind = client.status(&model, false).await;
        client.reach(question, behind.journal_position).await;
        client.status(&model, true).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn serve_args<'a>(models: &'a Path, data: &'a Path) -> [&'a str; 9] {
    let any = "127.0.0.1:0";
    let (models, data) = (text(models), text(data));
    [
        "serve", "--models", models, "--data", data, "--listen", any, "--http", any,
    ]
}

pub(crate) struct Client {
    pub inference: GrpcInferenceServiceClient<Channel>,
    pub learning: LearningClient<Channel>,
    pub registry: RegistryClient<Channel>,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.expect("an address").timeout(WAIT_MAX);
        let channel = endpoint.connect().await.expect("it listens");
        Client {
            inference: GrpcInferenceServiceClient::new(channel.clone()),
            learning: LearningClient::new(channel.clone()),
            registry: RegistryClient::new(channel),
        }
    }

    pub(crate) async fn status(&mut self, model: &str, digest: bool) -> ModelStatus {
        let model = model.to_owned();
        let reply = self.registry.status(StatusRequest { model, digest }).await;
        reply.expect("a status").into_inner().models.remove(0)
    }

    pub(crate) async fn predict(&mut self, request: ModelInferRequest) -> ModelInferResponse {
        let reply = self.inference.model_infer(request).await;
        reply.expect("an answer").into_inner()
    }

    /// Waits until everything up to the position was learned; the question is not journaled.
    pub(crate) async fn reach(&mut self, mut request: ModelInferRequest, position: u64) {
        let parameters = [
            ("log", ParameterChoice::BoolParam(false)),
            ("min_position", ParameterChoice::Uint64Param(position)),
        ];
        request.parameters = parameters
            .map(|(name, choice)| {
                let parameter_choice = Some(choice);
                (name.to_owned(), InferParameter { parameter_choice })
            })
            .into();
        self.predict(request).await;
    }
}
