//! The connections of both ports: accepted, encrypted where there are keys, and known by their peer.
//!
//! Invariant: a handshake has a deadline and holds up no other one; a connection that is served has
//! ended its own.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::{AcceptedStream, Acceptor, Listener};
use super::access::{Peer, Protocol, names_of};
use super::conduct::ConductFault;
use super::connection_counts::{CloseReason, ConnectionPlace};
use super::context::ServerContext;

/// The longest time of a handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes under way; where one more comes, the oldest ends.
const HANDSHAKES_MAX: usize = 1024;

/// The longest time from the accept of a connection to its first byte.
const BEGINNING_MAX: Duration = Duration::from_secs(10);
/// The bytes by which HTTP/2 begins.
const PREFACE_BYTES: usize = 24;
/// The time for which a connection may take no written byte.
const UNREAD_MAX: Duration = Duration::from_secs(60);

/// The connections of a port.
pub(super) struct Connections {
    acceptor: Acceptor,
    protocol: Protocol,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
    /// Dropping one ends its handshake; the oldest first.
    ends: VecDeque<oneshot::Sender<()>>,
}

impl Connections {
    pub(super) fn new(
        listener: Listener,
        context: &Arc<ServerContext>,
        protocol: Protocol,
    ) -> Connections {
        Connections {
            acceptor: Acceptor::new(listener, context.clone()),
            protocol,
            handshakes: FuturesUnordered::new(),
            ends: VecDeque::new(),
        }
    }

    /// The next connection, once it can be served.
    pub(super) async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                (stream, address) = self.acceptor.next() => {
                    let context = &self.acceptor.context;
                    // A process that opened a socket of the file system is of this machine.
                    let host = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |one| one.ip());
                    let Some(place) = context.connections.enter(host, &context.config) else {
                        continue;
                    };
                    let peer = Peer {
                        address,
                        number: place.number(),
                        shares: place.shares().clone(),
                        ..Peer::default()
                    };
                    let protocol = self.protocol;
                    let bytes = match (stream, context.access().tls(protocol)) {
                        (AcceptedStream::Local(stream), _) => Transport::Local(stream),
                        (AcceptedStream::Tcp(stream), None) => Transport::Plain(stream),
                        (AcceptedStream::Tcp(stream), Some(keys)) => {
                            let acceptor = TlsAcceptor::from(keys);
                            self.begin(handshake(acceptor, stream, protocol, (peer, place)));
                            continue;
                        }
                    };
                    return Connection::new(bytes, protocol, peer, place);
                }
                Some(done) = self.handshakes.next() => match done {
                    Some(connection) => return connection,
                    None => self.acceptor.context.connections.close(CloseReason::Handshake),
                }
            }
        }
    }

    fn begin(&mut self, handshake: impl Future<Output = Option<Connection>> + Send + 'static) {
        while self.ends.front().is_some_and(oneshot::Sender::is_closed) {
            self.ends.pop_front();
        }
        if self.ends.len() >= HANDSHAKES_MAX {
            // Dropping it ends the oldest.
            self.ends.pop_front();
        }
        let (end, ended) = oneshot::channel::<()>();
        self.ends.push_back(end);
        let bounded = async move {
            tokio::select! {
                done = timeout(HANDSHAKE_MAX, handshake) => done.ok().flatten(),
                _ = ended => None,
            }
        };
        self.handshakes.push(bounded.boxed());
    }
}

/// Ends silently where the peer speaks no TLS, or shows a certificate that is not trusted.
async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    protocol: Protocol,
    (peer, place): (Peer, ConnectionPlace),
) -> Option<Connection> {
    let stream = acceptor.accept(stream).await.ok()?;
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|all| all.first());
    let (names, not_after) = certificate.and_then(names_of).unzip();
    let peer = Peer {
        is_encrypted: true,
        names: names.unwrap_or_default().into(),
        not_after,
        ..peer
    };
    let stream = Transport::Encrypted(Box::new(stream));
    Some(Connection::new(stream, protocol, peer, place))
}

/// A connection that can be served.
pub(super) struct Connection {
    stream: Transport,
    peer: Peer,
    /// Ends a connection whose first bytes do not come; gone once they have.
    silence: Option<Pin<Box<Sleep>>>,
    /// Bytes of the beginning that are still to come.
    n_to_begin: usize,
    /// Ends one that takes nothing; gone while it takes something.
    stall: Option<Pin<Box<Sleep>>>,
    place: ConnectionPlace,
}

impl Connection {
    fn new(
        stream: Transport,
        protocol: Protocol,
        peer: Peer,
        place: ConnectionPlace,
    ) -> Connection {
        Connection {
            stream,
            peer,
            silence: Some(Box::pin(sleep(BEGINNING_MAX))),
            n_to_begin: match protocol {
                Protocol::Grpc => PREFACE_BYTES,
                // Of the headers as a whole there is a deadline.
                Protocol::Http => 1,
            },
            stall: None,
            place,
        }
    }

    /// Fails a connection that took nothing for too long.
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self
            .stall
            .get_or_insert_with(|| Box::pin(sleep(UNREAD_MAX)));
        if stall.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.place.close(CloseReason::Unread);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The other side.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }
}

enum Transport {
    Plain(TcpStream),
    Local(UnixStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(fault) = self.peer.conduct.fault() {
            self.place.close(match fault {
                ConductFault::Flood => CloseReason::Resets,
                ConductFault::Unread => CloseReason::Unread,
            });
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let n_before = buffer.filled().len();
        let read = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Local(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if self.silence.is_some() {
            let n = buffer.filled().len() - n_before;
            self.n_to_begin = self.n_to_begin.saturating_sub(n);
        }
        if self.n_to_begin == 0 {
            self.silence = None;
        } else if read.is_pending()
            && let Some(silence) = &mut self.silence
            && silence.as_mut().poll(context).is_ready()
        {
            self.place.close(CloseReason::Silent);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Local(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.unless_stalled(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Transport::Local(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Transport::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        };
        self.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Local(stream) => stream.is_write_vectored(),
            Transport::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            // They hold nothing back.
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Local(stream) => Pin::new(stream).poll_flush(context),
            Transport::Encrypted(stream) => {
                let flushed = Pin::new(stream).poll_flush(context);
                self.unless_stalled(context, flushed)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Local(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::bounds::Config;
    use super::super::connection_counts::ConnectionCounts;
    use super::*;

    /// A connection of a protocol, and its client.
    async fn accepted(protocol: Protocol) -> (Connection, TcpStream, Arc<ConnectionCounts>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("it listens");
        let (stream, peer) = listener.accept().await.expect("a connection");
        let connections = Arc::new(ConnectionCounts::default());
        let place = connections
            .enter(peer.ip(), &Config::default())
            .expect("room");
        let stream = Transport::Plain(stream);
        let connection = Connection::new(stream, protocol, Peer::default(), place);
        (connection, client, connections)
    }

    fn closed(connections: &ConnectionCounts, why: &str) -> u64 {
        let (_, n) = connections
            .closed()
            .find(|(word, _)| *word == why)
            .expect("it");
        n
    }

    #[tokio::test(start_paused = true)]
    async fn p8_a_connection_begins_to_speak_and_may_be_quiet_then() {
        for (protocol, begins) in [(Protocol::Grpc, PREFACE_BYTES), (Protocol::Http, 1)] {
            for sent in 0..=begins {
                let (mut connection, mut client, connections) = accepted(protocol).await;
                client
                    .write_all(&vec![b'x'; sent])
                    .await
                    .expect("it takes it");
                let mut bytes = vec![0; sent];
                connection
                    .read_exact(&mut bytes)
                    .await
                    .expect("what was sent");
                let hours = Duration::from_secs(36_000);
                let mut byte = [0];
                let more = timeout(hours, connection.read(&mut byte)).await;
                if sent == begins {
                    more.expect_err("it is open and quiet");
                    continue;
                }
                let ended = more.expect("it ends").expect_err("it does not go on");
                assert_eq!(ended.kind(), io::ErrorKind::TimedOut, "{sent}");
                assert_eq!(closed(&connections, "silent"), 1);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p8_a_connection_that_takes_nothing_for_a_minute_ends() {
        let (mut connection, mut client, connections) = accepted(Protocol::Grpc).await;
        let piece = vec![0; 1 << 20];
        let start = tokio::time::Instant::now();
        let ended = loop {
            if let Err(error) = connection.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= UNREAD_MAX);
        assert_eq!(closed(&connections, "unread"), 1);
        drop(connection);
        client.read_exact(&mut [0]).await.expect("what was written");
    }
}
