//! Accepting connections while descriptors are free.
//!
//! Invariant: no connection has one of the highest descriptors of the process: these are left to the
//! engine's files, whatever clients do. The system gives the lowest one that is free, so nothing has
//! to be counted.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::connection_counts::ConnectionRefusal;
use super::context::ServerContext;
use super::log_rate::LogRate;

/// Descriptors that connections leave to files: a model takes some seventy at most, and an audit or
/// a retraction as many.
const RESERVE_MAX: u64 = 1024;
/// The pause after the system could not give a connection.
const PAUSE: Duration = Duration::from_millis(100);

const TAKEN: &str = "connections have taken all descriptors but those for files: new ones are \
                     closed; raise the limit of open files, or see who connects";

/// A socket that listens.
pub(super) enum Listener {
    Tcp(TcpListener),
    /// A socket of the file system: a user that may open the file connects.
    Local(Arc<UnixListener>),
}

/// A connection that was accepted.
pub(super) enum AcceptedStream {
    Tcp(TcpStream),
    Local(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<(AcceptedStream, Option<SocketAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // A small answer is sent at once; where that cannot be set, it is only later.
                let _ = stream.set_nodelay(true);
                Ok((AcceptedStream::Tcp(stream), Some(address)))
            }
            Listener::Local(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((AcceptedStream::Local(stream), None))
            }
        }
    }

    fn as_raw_fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Local(listener) => listener.as_raw_fd(),
        }
    }
}

impl AcceptedStream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            AcceptedStream::Tcp(stream) => stream.as_raw_fd(),
            AcceptedStream::Local(stream) => stream.as_raw_fd(),
        }
    }
}

/// The acceptor of connections.
pub(super) struct Acceptor {
    listener: Listener,
    log_rate: LogRate,
    pub context: Arc<ServerContext>,
}

impl Acceptor {
    pub(super) fn new(listener: Listener, context: Arc<ServerContext>) -> Acceptor {
        Acceptor {
            listener,
            log_rate: LogRate::default(),
            context,
        }
    }

    /// The next connection. One that would take the last file handles is closed at once, and counted.
    pub(super) async fn next(&self) -> (AcceptedStream, Option<SocketAddr>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) if stream.as_raw_fd() < connection_end() => {
                    return (stream, address);
                }
                Ok(_) => {
                    self.context
                        .connections
                        .refuse(ConnectionRefusal::Descriptors);
                    if self.log_rate.is_time() {
                        let n_descriptors = descriptors_max();
                        tracing::warn!(n_descriptors, "{TAKEN}");
                    }
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    if self.log_rate.is_time() {
                        tracing::warn!(%error, "no connection can be accepted now");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // A process that is being started may have the socket open: closing ours would leave it
        // listening. Elsewhere than on Linux this does nothing.
        // SAFETY: the descriptor is open as long as the listener lives.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
    }
}

/// The first descriptor that is left to files.
fn connection_end() -> RawFd {
    let n = descriptors_max();
    RawFd::try_from(n - reserve(n)).unwrap_or(RawFd::MAX)
}

fn reserve(n_descriptors: u64) -> u64 {
    RESERVE_MAX.min(n_descriptors / 2)
}

/// The number of descriptors that this process may have now.
fn descriptors_max() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live value of the type that is asked for.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => limit.rlim_cur,
        _ => u64::MAX,
    }
}

/// True if this connection alone went wrong, and not the accepting of connections.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_half_of_the_descriptors_are_left_to_files_and_at_most_a_thousand() {
        let check = |n: u64, left: u64| assert_eq!(reserve(n), left, "{n}");
        check(64, 32);
        check(256, 128);
        check(20_000, 1024);
        check(u64::MAX, 1024);
    }
}
