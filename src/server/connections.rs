//! The connections of both ports: accepted, encrypted where there are keys, and known by their peer.
//!
//! Invariant: a handshake has a deadline and holds up no other one; a connection that is served has
//! ended its own.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server;

use super::accept::Acceptor;
use super::access::{Peer, Protocol, names_of};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes under way; where one more comes, the oldest ends.
const HANDSHAKES_MAX: usize = 1024;

/// The connections of a port.
pub(super) struct Connections {
    acceptor: Acceptor,
    protocol: Protocol,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
    /// Dropping one ends its handshake; the oldest first.
    ends: VecDeque<oneshot::Sender<()>>,
}

impl Connections {
    pub(super) fn new(acceptor: Acceptor, protocol: Protocol) -> Connections {
        Connections {
            acceptor,
            protocol,
            handshakes: FuturesUnordered::new(),
            ends: VecDeque::new(),
        }
    }

    /// The next connection, once it can be served.
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                (stream, address) = self.acceptor.next() => {
                    let peer = Peer { address: Some(address), ..Peer::default() };
                    match self.acceptor.context.access().tls(self.protocol) {
                        None => return Connection { stream: Bytes::Plain(stream), peer },
                        Some(keys) => self.begin(handshake(TlsAcceptor::from(keys), stream, peer)),
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

    /// The connections as a stream that never ends.
    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Connection>> {
        stream::unfold(self, |mut all| async move {
            let connection = all.next().await;
            Some((Ok(connection), all))
        })
    }
}

/// Ends without a word where the other side speaks no TLS, or shows a certificate of nobody we trust.
async fn handshake(acceptor: TlsAcceptor, stream: TcpStream, peer: Peer) -> Option<Connection> {
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
    let stream = Bytes::Encrypted(Box::new(stream));
    Some(Connection { stream, peer })
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let connection = self.next().await;
        let address = connection.peer.address;
        (connection, address.expect("a connection of a port has one"))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.acceptor.local_addr()
    }
}

/// A connection that can be served.
pub(super) struct Connection {
    stream: Bytes,
    peer: Peer,
}

enum Bytes {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl server::Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Peer {
        stream.io().peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Bytes::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Bytes::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Bytes::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Bytes::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Bytes::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Bytes::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Bytes::Plain(stream) => stream.is_write_vectored(),
            Bytes::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Bytes::Plain(stream) => Pin::new(stream).poll_flush(context),
            Bytes::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Bytes::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Bytes::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
