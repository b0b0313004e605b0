//! Further attacks: of strangers who show no credential, and of callers who hold what they have.
//!
//! Invariant: each attacker is a task that goes on until it is dropped.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use perennial::proto::inference::infer_parameter::ParameterChoice;
use perennial::proto::inference::{InferParameter, ModelInferRequest};
use perennial::proto::perennial::v1::{FeedbackRequest, RetractRequest, StatusRequest};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::attacks::{Call, MIB, N_CONNECTIONS, N_HELD, Parts, call, claim, read};
use crate::child::ServerProcess;
use crate::load::Client;

const HEALTH: &str = "/grpc.health.v1.Health/";
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const REGISTRY: &str = "/perennial.v1.Registry/";
const STREAM_FEEDBACK: &str = "/perennial.v1.Learning/StreamFeedback";

/// How strangers ask too much.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stranger {
    /// 1,024 health checks of each connection, which never come.
    ParkedChecks,
    /// 1,536 health checks of just under 64 KiB, which never end.
    LongChecks,
    /// Feedback with ids of 60 MiB in gzip, whose replies nobody reads.
    LongIds,
    /// Answers of one row that nobody reads.
    UnreadRows,
    /// Requests for the side that does not serve, and for their metadata.
    OtherSide,
    /// Connections that send one byte.
    OneByte,
    /// 10,000 calls that wait for a position which never comes.
    ParkedPositions,
    /// Watches of events and of health that nobody reads.
    UnreadWatches,
    /// Pages of metrics that nobody reads.
    UnreadPages,
    /// Digests and dry runs, one after the other.
    Inquiries,
    /// Frames of PING.
    Pings,
    /// Frames of SETTINGS.
    Settings,
    /// Handshakes of TLS that end in the middle.
    HalfHandshakes,
    /// Calls with tokens of nobody, over TLS.
    WrongTokens,
}

impl Stranger {
    pub(crate) const ALL: [Stranger; 14] = [
        Stranger::ParkedChecks,
        Stranger::LongChecks,
        Stranger::LongIds,
        Stranger::UnreadRows,
        Stranger::OtherSide,
        Stranger::OneByte,
        Stranger::ParkedPositions,
        Stranger::UnreadWatches,
        Stranger::UnreadPages,
        Stranger::Inquiries,
        Stranger::Pings,
        Stranger::Settings,
        Stranger::HalfHandshakes,
        Stranger::WrongTokens,
    ];

    /// True if the server has to ask for credentials over TLS.
    pub(crate) fn takes_keys(self) -> bool {
        matches!(self, Stranger::HalfHandshakes | Stranger::WrongTokens)
    }
}

/// Begins the attack over its connections.
pub(crate) async fn begin(
    stranger: Stranger,
    server: &ServerProcess,
    client: &Client,
    attackers: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    for _ in 0..N_CONNECTIONS {
        match stranger {
            Stranger::OneByte => drop(attackers.spawn(half_open(server.port, b"P"))),
            Stranger::HalfHandshakes => {
                // The head of a record, and some of a greeting.
                let greeting = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
                attackers.spawn(half_open(server.port, greeting));
            }
            Stranger::UnreadPages => drop(attackers.spawn(half_open(server.http_port, PAGE))),
            Stranger::Pings => drop(attackers.spawn(frames(server.port, 6, &[7; 8]))),
            Stranger::Settings => drop(attackers.spawn(frames(server.port, 4, &[]))),
            Stranger::WrongTokens => {
                let channel = secured(server).await?;
                for _ in 0..N_HELD {
                    let body = || Parts::whole(0, &Bytes::new());
                    let path = "/inference.GRPCInferenceService/ServerLive";
                    attackers.spawn(repeated(channel.clone(), path, body));
                }
            }
            _ => calls(stranger, client, attackers, connect(server.port).await?)?,
        }
    }
    Ok(())
}

const PAGE: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The calls of one connection.
fn calls(
    stranger: Stranger,
    client: &Client,
    attackers: &mut JoinSet<()>,
    channel: Channel,
) -> anyhow::Result<()> {
    let row = client.batch(1);
    let mut hold = |n: usize, path: &str, body: &dyn Fn() -> Parts| {
        for _ in 0..n {
            attackers.spawn(held(channel.clone(), path.to_owned(), body()));
        }
    };
    match stranger {
        Stranger::ParkedChecks => hold(1024, &format!("{HEALTH}Check"), &Parts::never),
        Stranger::LongChecks => {
            let long = Bytes::from(vec![0; 65_000]);
            let body = || Parts::new(claim(0, 65_535), vec![long.clone()], None);
            hold(96, &format!("{HEALTH}Check"), &body);
        }
        Stranger::LongIds => {
            let event = gzipped_id()?;
            let whole = Bytes::from([&claim(1, event.len()), &event[..]].concat());
            let body = || Parts::new(whole.clone(), vec![whole.clone(); 2000], None);
            hold(1, STREAM_FEEDBACK, &body);
        }
        Stranger::UnreadRows => hold(1024, INFER, &|| Parts::whole(0, &row)),
        Stranger::ParkedPositions => {
            let waiting = Bytes::from(waiting(&row)?);
            hold(640, INFER, &|| Parts::whole(0, &waiting));
        }
        Stranger::UnreadWatches => {
            let nothing = || Parts::whole(0, &Bytes::new());
            hold(8, &format!("{REGISTRY}Watch"), &nothing);
            hold(N_HELD, &format!("{HEALTH}Watch"), &nothing);
        }
        Stranger::OtherSide => {
            let asked = Bytes::from(of_other_side(&row)?);
            for _ in 0..N_HELD {
                let asked = asked.clone();
                let body = move || Parts::whole(0, &asked);
                attackers.spawn(repeated(channel.clone(), INFER, body));
            }
        }
        Stranger::Inquiries => inquiries(&channel, attackers),
        other => unreachable!("{other:?} makes no calls"),
    }
    Ok(())
}

/// Digests and dry runs of retractions, one after the other.
fn inquiries(channel: &Channel, attackers: &mut JoinSet<()>) {
    let digest = StatusRequest {
        model: "digits".to_owned(),
        digest: true,
    };
    let dry_run = RetractRequest {
        model: "digits".to_owned(),
        source: Some("nobody".to_owned()),
        dry_run: true,
        ..Default::default()
    };
    for (path, asked) in [
        ("/perennial.v1.Registry/Status", digest.encode_to_vec()),
        ("/perennial.v1.Registry/Retract", dry_run.encode_to_vec()),
    ] {
        let asked = Bytes::from(asked);
        let body = move || Parts::whole(0, &asked);
        attackers.spawn(repeated(channel.clone(), path, body));
    }
}

/// A connection that takes a byte of each answer.
async fn connect(port: u16) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    let endpoint = endpoint.tcp_nodelay(true).initial_stream_window_size(1);
    Ok(endpoint.connect().await?)
}

async fn secured(server: &ServerProcess) -> anyhow::Result<Channel> {
    let ca = Certificate::from_pem(server.key_file("ca.pem")?);
    let config = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(ca);
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", server.port))?;
    Ok(endpoint.tls_config(config)?.connect().await?)
}

async fn held(channel: Channel, path: String, body: Parts) {
    let token = None;
    let _answer = call(
        channel,
        Call {
            path: &path,
            encoding: "gzip",
            token,
        },
        body,
    )
    .await;
    std::future::pending::<()>().await;
}

async fn repeated(channel: Channel, path: &'static str, body: impl Fn() -> Parts) {
    loop {
        let call_of = Call {
            path,
            encoding: "identity",
            token: Some("Bearer perennial_00"),
        };
        let _ = read(call(channel.clone(), call_of, body()).await).await;
    }
}

/// Connections that say the beginning of something and read nothing.
async fn half_open(port: u16, beginning: &'static [u8]) {
    let mut open = VecDeque::new();
    loop {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await
            && stream.write_all(beginning).await.is_ok()
        {
            open.push_back(stream);
        }
        if open.len() > N_HELD {
            open.pop_front();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Frames of one kind, one behind the other.
async fn frames(port: u16, kind: u8, payload: &'static [u8]) {
    let head = [0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0];
    let many = [&head, payload].concat().repeat(1000);
    loop {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else {
            continue;
        };
        let (mut reads, mut writes) = stream.into_split();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        if writes.write_all(preface).await.is_err() {
            continue;
        }
        let flood = async {
            while writes.write_all(&many).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let mut read = vec![0; 64 * 1024];
        let reading = async { while reads.read(&mut read).await.is_ok_and(|n| n > 0) {} };
        tokio::join!(flood, reading);
    }
}

fn gzipped_id() -> anyhow::Result<Vec<u8>> {
    let event = FeedbackRequest {
        feedback_id: "a".repeat(60 * MIB),
        ..Default::default()
    };
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(&event.encode_to_vec())?;
    Ok(encoder.finish()?)
}

fn waiting(row: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut request = ModelInferRequest::decode(row)?;
    let never = InferParameter {
        parameter_choice: Some(ParameterChoice::Uint64Param(u64::MAX >> 1)),
    };
    request.parameters.insert("min_position".to_owned(), never);
    Ok(request.encode_to_vec())
}

fn of_other_side(row: &[u8]) -> anyhow::Result<Vec<u8>> {
    let request = ModelInferRequest {
        model_version: "champion".to_owned(),
        ..ModelInferRequest::decode(row)?
    };
    Ok(request.encode_to_vec())
}
