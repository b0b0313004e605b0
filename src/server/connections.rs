//! The connections of both ports: accepted, encrypted where there are keys, and known by their peer.
//!
//! Invariant: a handshake has a deadline and holds up no other one; a connection that is served has
//! ended its own.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::Acceptor;
use super::access::{Peer, Protocol, names_of};
use super::context::ServerContext;
use super::crowd::ConnectionPlace;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes under way; where one more comes, the oldest ends.
const HANDSHAKES_MAX: usize = 1024;

/// How long a connection may be silent before its first byte.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(10);

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
        listener: TcpListener,
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
                    let Some(place) = context.crowd.enter(address.ip(), &context.config) else {
                        context.refused_connections.fetch_add(1, Relaxed);
                        continue;
                    };
                    let peer = Peer { address: Some(address), ..Peer::default() };
                    match context.access().tls(self.protocol) {
                        None => return Connection::new(Transport::Plain(stream), peer, place),
                        Some(keys) => {
                            let acceptor = TlsAcceptor::from(keys);
                            self.begin(handshake(acceptor, stream, peer, place));
                        }
                    }
                }
                Some(done) = self.handshakes.next() => if let Some(connection) = done {
                    return connection;
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

/// Ends without a word where the other side speaks no TLS, or shows a certificate of nobody we trust.
async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: Peer,
    place: ConnectionPlace,
) -> Option<Connection> {
    let stream = acceptor.accept(stream).await.ok()?;
    let certificates = stream.get_ref().1.peer_certificates();
    let names = certificates
        .and_then(|all| all.first())
        .map(names_of)
        .unwrap_or_default();
    let peer = Peer {
        is_encrypted: true,
        names: names.into(),
        ..peer
    };
    let stream = Transport::Encrypted(Box::new(stream));
    Some(Connection::new(stream, peer, place))
}

/// A connection that can be served.
pub(super) struct Connection {
    stream: Transport,
    peer: Peer,
    /// Ends a connection that has sent nothing yet; gone with its first byte.
    silence: Option<Pin<Box<Sleep>>>,
    _place: ConnectionPlace,
}

impl Connection {
    fn new(stream: Transport, peer: Peer, place: ConnectionPlace) -> Connection {
        Connection {
            stream,
            peer,
            silence: Some(Box::pin(sleep(FIRST_BYTE_MAX))),
            _place: place,
        }
    }

    /// The other side.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }
}

enum Transport {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.peer.conduct.is_bad() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let read = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if let Some(silence) = &mut self.silence {
            if read.is_ready() {
                self.silence = None;
            } else if silence.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
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
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Transport::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::bounds::Config;
    use super::super::crowd::Crowd;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p8_a_connection_says_something_at_first_and_may_be_quiet_then() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let crowd = Arc::new(Crowd::default());
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let accepted = async || {
            let (stream, peer) = listener.accept().await.expect("a connection");
            let place = crowd.enter(peer.ip(), &Config::default()).expect("room");
            Connection::new(Transport::Plain(stream), Peer::default(), place)
        };
        let mut byte = [0];
        let mut silent = accepted().await;
        let ended = silent.read(&mut byte).await.expect_err("it says nothing");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        drop((silent, client));
        client = TcpStream::connect(address).await.expect("it listens");
        let mut quiet = accepted().await;
        client.write_all(b"x").await.expect("it takes it");
        assert_eq!(quiet.read(&mut byte).await.expect("a byte"), 1);
        let hours = Duration::from_secs(36_000);
        let more = tokio::time::timeout(hours, quiet.read(&mut byte)).await;
        more.expect_err("it is open and quiet");
    }
}
