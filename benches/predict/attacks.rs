//! An honest client beside others that want too much, of the server and of the echo.
//!
//! Invariant: every attack ends with its round, and each round has a fresh server.

use std::collections::VecDeque;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt;
use http_body::{Body as HttpBody, Frame};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Interval, interval};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint};

use crate::child::{Kind, ServerProcess};
use crate::figures::Figures;
use crate::load::{self, Client, Open};
use crate::strangers::{self, Stranger};

/// Requests a second of the honest client.
const HONEST_PER_SECOND: f64 = 200.0;
/// How long it waits for an answer.
const DEADLINE: Duration = Duration::from_secs(5);
pub(crate) const N_CONNECTIONS: usize = 16;
/// Calls of one connection that are held open.
pub(crate) const N_HELD: usize = 64;
pub(crate) const MIB: usize = 1 << 20;

/// How others ask too much.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Nothing,
    /// Messages that claim 60 MiB and never come whole.
    Claims,
    /// Messages of 3 KB, a byte at a time.
    Trickle,
    /// 60 MiB of zeros in 60 KB of gzip.
    Gzip,
    /// 4,096 rows a request.
    Batches,
    /// Calls that are taken back as soon as they are made.
    Resets,
    /// Connections that say nothing.
    HalfOpen,
    /// Answers of 4,096 rows that nobody reads.
    Unread,
    /// Others, of strangers and of callers who hold what they have.
    Of(Stranger),
}

const ATTACKS: [Attack; 8] = [
    Attack::Nothing,
    Attack::Claims,
    Attack::Trickle,
    Attack::Gzip,
    Attack::Batches,
    Attack::Resets,
    Attack::HalfOpen,
    Attack::Unread,
];

/// The honest client of one kind of server under one attack.
#[derive(Default)]
struct Row {
    p50_ms: Figures,
    p99_ms: Figures,
    lost: Figures,
    memory_mib: Figures,
}

/// Both servers under each attack, in turn.
pub(crate) async fn measure(seconds: f64, n_pairs: usize) -> anyhow::Result<()> {
    println!("cargo bench --bench predict -- --attacks {seconds} --pairs {n_pairs}\n");
    ensure!(seconds >= 0.1, "--attacks {seconds}: expected >= 0.1");
    let span = Duration::from_secs_f64(seconds);
    println!("an honest client of {HONEST_PER_SECOND} requests a second; memory above rest");
    let further = Stranger::ALL.map(Attack::Of);
    for attack in ATTACKS.into_iter().chain(further) {
        let kinds = match attack {
            // The echo asks for no credentials.
            Attack::Of(stranger) if stranger.takes_keys() => vec![Kind::Guarded],
            _ => vec![Kind::Echo, Kind::Perennial],
        };
        let mut rows = [Row::default(), Row::default()];
        for _ in 0..n_pairs {
            for (&kind, row) in kinds.iter().zip(&mut rows) {
                row.measure(kind, attack, span).await?;
            }
        }
        println!("{attack:?}");
        for (kind, row) in kinds.iter().zip(&rows) {
            println!("  {}", kind.word());
            println!("    p50 ms     {}", row.p50_ms.shown(1.0, 2));
            println!("    p99 ms     {}", row.p99_ms.shown(1.0, 2));
            println!("    lost       {}", row.lost.shown(1.0, 0));
            println!("    memory MiB {}", row.memory_mib.shown(1.0, 0));
        }
    }
    Ok(())
}

impl Row {
    async fn measure(&mut self, kind: Kind, attack: Attack, span: Duration) -> anyhow::Result<()> {
        let server = ServerProcess::start(kind)?;
        let honest = [Client::connect(&server).await?];
        honest[0].load(8, 200).await?;
        let at_rest = server.memory()?;
        let attackers = begin(attack, &server, &honest[0]).await?;
        let open = Open {
            per_second: HONEST_PER_SECOND,
            span,
            deadline: DEADLINE,
        };
        let sent = load::open(&honest, open).await?;
        drop(attackers);
        self.p50_ms.0.push(sent.good_ms(0.5));
        self.p99_ms.0.push(sent.good_ms(0.99));
        self.lost.0.push((sent.n() - sent.good.len()) as f64);
        let above = server.memory_peak()?.saturating_sub(at_rest);
        self.memory_mib.0.push(above as f64 / MIB as f64);
        Ok(())
    }
}

/// The attackers, which end when they are dropped.
async fn begin(
    attack: Attack,
    server: &ServerProcess,
    client: &Client,
) -> anyhow::Result<JoinSet<()>> {
    let mut attackers = JoinSet::new();
    if let Attack::Of(stranger) = attack {
        strangers::begin(stranger, server, client, &mut attackers).await?;
        return Ok(attackers);
    }
    let gzip = Bytes::from(gzipped()?);
    let batch = client.batch(4096);
    for connection in 0..N_CONNECTIONS {
        if let Attack::HalfOpen = attack {
            attackers.spawn(half_open(server.port));
            continue;
        }
        let channel = connect(server.port).await?;
        let repeated = |bytes: &Bytes, flag: u8, encoding: &'static str| {
            let (channel, bytes) = (channel.clone(), bytes.clone());
            async move {
                loop {
                    let body = Parts::whole(flag, &bytes);
                    let _ = read(call(channel.clone(), infer(encoding), body).await).await;
                }
            }
        };
        let held = |body: Parts| {
            let channel = channel.clone();
            async move {
                let _answer = call(channel, infer("identity"), body).await;
                std::future::pending::<()>().await;
            }
        };
        match attack {
            Attack::Nothing | Attack::HalfOpen | Attack::Of(_) => {}
            Attack::Claims => {
                let piece = Bytes::from(vec![0; MIB]);
                let body = Parts::new(claim(0, 60 * MIB), vec![piece; 50], None);
                attackers.spawn(held(body));
            }
            Attack::Trickle => (0..N_HELD).for_each(|_| {
                let byte = Bytes::from_static(&[0]);
                let body = Parts::new(claim(0, 3000), vec![byte; 3000], Some(100));
                attackers.spawn(held(body));
            }),
            Attack::Gzip => drop(attackers.spawn(repeated(&gzip, 1, "gzip"))),
            Attack::Batches => drop(attackers.spawn(repeated(&batch, 0, "identity"))),
            Attack::Resets if connection < 4 => drop(attackers.spawn(take_back(channel))),
            Attack::Resets => {}
            Attack::Unread => (0..N_HELD).for_each(|_| {
                attackers.spawn(held(Parts::whole(0, &batch)));
            }),
        }
    }
    Ok(attackers)
}

/// Makes calls and takes each back at once.
async fn take_back(channel: Channel) {
    loop {
        let body = Parts::new(claim(0, 3000), vec![], None);
        let calling = call(channel.clone(), infer("identity"), body);
        let _ = calling.now_or_never();
        tokio::task::yield_now().await;
    }
}

async fn connect(port: u16) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    // Little of an answer is taken unasked.
    let endpoint = endpoint.tcp_nodelay(true).initial_stream_window_size(1024);
    Ok(endpoint.connect().await?)
}

/// Connections that are opened again when they are closed.
async fn half_open(port: u16) {
    let mut open = VecDeque::new();
    loop {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
            open.push_back(stream);
        }
        if open.len() > N_HELD {
            open.pop_front();
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn read(answer: Option<http::Response<Body>>) -> Option<()> {
    let mut body = answer?.into_body();
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        frame.ok()?;
    }
    Some(())
}

/// The head of a call: its headers before the body.
pub(crate) struct Call<'a> {
    pub path: &'a str,
    pub encoding: &'static str,
    /// The value of the header that shows a token.
    pub token: Option<&'static str>,
}

fn infer(encoding: &'static str) -> Call<'static> {
    Call {
        path: "/inference.GRPCInferenceService/ModelInfer",
        encoding,
        token: None,
    }
}

pub(crate) async fn call(
    mut channel: Channel,
    of: Call<'_>,
    body: Parts,
) -> Option<http::Response<Body>> {
    let mut request = http::Request::post(of.path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", of.encoding);
    if let Some(token) = of.token {
        request = request.header("authorization", token);
    }
    let request = request.body(Body::new(body)).ok()?;
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .ok()?;
    channel.call(request).await.ok()
}

/// A prefix that claims so many bytes.
pub(crate) fn claim(flag: u8, length: usize) -> Bytes {
    Bytes::from([&[flag][..], &(length as u32).to_be_bytes()].concat())
}

fn gzipped() -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    for _ in 0..60 {
        encoder.write_all(&vec![0; MIB])?;
    }
    Ok(encoder.finish()?)
}

/// A body in parts, which come at once or at times, and then ends or stays open.
pub(crate) struct Parts {
    parts: VecDeque<Bytes>,
    each: Option<Interval>,
    ends: bool,
}

impl Parts {
    pub(crate) fn new(first: Bytes, others: Vec<Bytes>, every_ms: Option<u64>) -> Parts {
        Parts {
            parts: std::iter::once(first).chain(others).collect(),
            each: every_ms.map(|ms| interval(Duration::from_millis(ms))),
            ends: false,
        }
    }

    /// Nothing, and no end.
    pub(crate) fn never() -> Parts {
        Parts {
            parts: VecDeque::new(),
            each: None,
            ends: false,
        }
    }

    /// A message that is sent whole.
    pub(crate) fn whole(flag: u8, bytes: &Bytes) -> Parts {
        Parts {
            ends: true,
            ..Parts::new(claim(flag, bytes.len()), vec![bytes.clone()], None)
        }
    }
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(each) = &mut self.each {
            std::task::ready!(each.poll_tick(context));
        }
        match self.parts.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
