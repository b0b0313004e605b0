//! The servers under measurement, each in a process of its own.
//!
//! Invariant: a child ends when its standard input closes, so none outlives the bench.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, future};

use anyhow::{Context, bail, ensure};
use perennial::engine::{self, Engine};
use perennial::proto::inference::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use perennial::proto::inference::model_infer_response::InferOutputTensor;
use perennial::proto::inference::*;
use perennial::server::{self, Access, AccessFiles, Listeners};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server};
use tonic::{Request, Response, Status};

const DESCRIPTION: &str = include_str!("../../models/digits/model.toml");

/// The kind of server.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Answers every prediction at once with the same bytes.
    Echo,
    /// Predicts, journals and learns.
    Perennial,
    /// Predicts over TLS for clients that show the certificate of its folder.
    Guarded,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Echo => "echo",
            Kind::Perennial => "perennial",
            Kind::Guarded => "guarded",
        }
    }
}

/// A server that runs; dropping it ends it.
pub(crate) struct ServerProcess {
    pub port: u16,
    /// 0 of the echo, which has none.
    pub http_port: u16,
    kind: Kind,
    child: Child,
    folder: TempDir,
}

impl ServerProcess {
    /// Starts a server on a fresh folder and waits until it listens.
    pub(crate) fn start(kind: Kind) -> anyhow::Result<ServerProcess> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", kind.word()])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("its stdout is piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ports = line.trim().split_once(' ');
        let (port, http_port) = ports.context("the server told no ports")?;
        Ok(ServerProcess {
            port: port.parse()?,
            http_port: http_port.parse()?,
            kind,
            child,
            folder,
        })
    }

    /// Where its clients connect.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let port = self.port;
        if self.kind != Kind::Guarded {
            return Ok(Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?);
        }
        let identity = self.key_file("honest.pem")?;
        let config = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(self.key_file("ca.pem")?))
            .identity(Identity::from_pem(&identity, &identity));
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))?;
        Ok(endpoint.tls_config(config)?)
    }

    /// A file of keys that a guarded server has made.
    pub(crate) fn key_file(&self, name: &str) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.folder.path().join(name))?)
    }

    /// CPU time of all its threads, in user and in system mode.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program may hold spaces; the fields after it are numbered from 3.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        ensure!(fields.len() > 12, "stat has {} fields", fields.len());
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // SAFETY: asks for a constant.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }
}

impl ServerProcess {
    /// Bytes of memory that it holds now.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most that it has held.
    pub(crate) fn memory_peak(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kib.context("no size in status")?.trim().parse::<u64>()? * 1024)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves in this process until standard input closes.
pub(crate) fn serve(kind: &str, folder: &Path) -> anyhow::Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        // Journaled entries need not be learned: the folder goes with the measurement.
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match kind {
        "echo" => runtime.block_on(echo()),
        "perennial" => perennial(&runtime, folder, Access::default()),
        "guarded" => perennial(&runtime, folder, guarded(folder)?),
        other => bail!("--serve {other}: expected echo, perennial or guarded"),
    }
}

/// Access for the holder of a certificate, whose keys are left in the folder.
fn guarded(folder: &Path) -> anyhow::Result<Access> {
    let (authority, key) = (rcgen::KeyPair::generate()?, rcgen::KeyPair::generate()?);
    let mut params = CertificateParams::new(vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&authority)?.pem();
    let issuer = Issuer::new(params, authority);
    let server = CertificateParams::new(vec!["localhost".to_owned()])?;
    let server = server.signed_by(&key, &issuer)?.pem();
    let mut honest = CertificateParams::new(vec!["honest.internal".to_owned()])?;
    honest.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let honest = honest.signed_by(&key, &issuer)?.pem() + &key.serialize_pem();
    fs::write(folder.join("honest.pem"), honest)?;
    fs::write(folder.join("ca.pem"), &ca)?;
    let credentials = "[[credential]]\nname = \"honest\"\ncertificate = \"honest.internal\"\n\
                       scopes = [\"predict\", \"feedback\", \"observe\", \"operate\", \"read\"]\n";
    Ok(Access::new(&AccessFiles {
        credentials: Some(credentials.to_owned()),
        certificate: Some(server.into_bytes()),
        key: Some(key.serialize_pem().into_bytes()),
        client_ca: Some(ca.into_bytes()),
    })?)
}

fn perennial(
    runtime: &tokio::runtime::Runtime,
    folder: &Path,
    access: Access,
) -> anyhow::Result<()> {
    let models: PathBuf = folder.join("models");
    fs::create_dir_all(models.join("digits"))?;
    fs::write(models.join("digits/model.toml"), DESCRIPTION)?;
    let engine = Engine::open(engine::Config {
        models,
        data: folder.join("data"),
        learner_threads: 0,
        ..Default::default()
    })?;
    runtime.block_on(async {
        let listeners = Listeners {
            grpc: TcpListener::bind("127.0.0.1:0").await?,
            http: TcpListener::bind("127.0.0.1:0").await?,
        };
        let http_port = listeners.http.local_addr()?.port();
        tell(listeners.grpc.local_addr()?.port(), http_port)?;
        let config = server::Config {
            access: Arc::new(access),
            ..server::Config::default()
        };
        server::run(listeners, engine, config, future::pending()).await?;
        Ok(())
    })
}

async fn echo() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    tell(listener.local_addr()?.port(), 0)?;
    // The settings of the server's own transport.
    Server::builder()
        .max_concurrent_streams(1024)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(32 * 1024 * 1024)
        .max_frame_size(256 * 1024)
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .http2_max_pending_accept_reset_streams(Some(4096))
        .add_service(
            GrpcInferenceServiceServer::new(Echo)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(64 * 1024 * 1024),
        )
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

fn tell(port: u16, http_port: u16) -> anyhow::Result<()> {
    println!("{port} {http_port}");
    Ok(std::io::stdout().flush()?)
}

struct Echo;

/// Ten probabilities, whatever was asked.
fn constant() -> ModelInferResponse {
    ModelInferResponse {
        model_name: "digits".to_owned(),
        outputs: vec![InferOutputTensor {
            name: "probabilities".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 10],
            ..Default::default()
        }],
        raw_output_contents: vec![bytes::Bytes::from_static(&[0; 40])],
        ..Default::default()
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Echo {
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
        Ok(Response::new(ServerReadyResponse { ready: true }))
    }

    async fn model_ready(
        &self,
        _: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        Ok(Response::new(ModelReadyResponse { ready: true }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn model_metadata(
        &self,
        _: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn model_infer(
        &self,
        _: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        Ok(Response::new(constant()))
    }
}
