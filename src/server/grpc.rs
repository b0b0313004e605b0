//! Serving gRPC: its connections over HTTP/2.
//!
//! Invariant: the bytes of a connection that lie unread are bounded, and so are its calls and, where the
//! configuration says so, its age.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::bounds::{PENDING_RESETS_MAX, STREAMS_MAX};
use super::call_tasks::CallTasks;
use super::connections::{Connection, Connections};
use super::context::{ServerContext, drained};
use super::guard::Guarded;
use super::services::Services;

/// Bytes of one stream that may lie unread: a sender that is faster than its reader is stopped
/// here. It holds some thousand small events, and 64 KiB a round trip of a large request.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes of one connection that may lie unread. h2 counts an unread frame of fewer than 256 bytes
/// as the difference, and ends a connection where the sum comes to half of its window. So one
/// stream, whose frames lack at most 255 bytes each, can never end it, nor can 64 streams of events
/// of 60 bytes. The unread bytes of a connection take at most this and half as much again.
const CONNECTION_WINDOW_BYTES: u32 = 512 * STREAM_WINDOW_BYTES;
/// Bytes of one HTTP/2 frame.
const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Bytes of the headers of one request.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// A silent connection is asked this often whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Serves every connection until `stop`; calls under way are then answered, and connections end.
pub(super) async fn serve(
    mut connections: Connections,
    context: Arc<ServerContext>,
    services: Services,
    stop: impl Future<Output = ()>,
) {
    let server = server();
    // Each connection holds one, and they end with the last.
    let (alive, mut ended) = mpsc::channel::<()>(1);
    tokio::pin!(stop);
    loop {
        let connection = tokio::select! {
            connection = connections.next() => connection,
            () = &mut stop => break,
        };
        let peer = connection.peer().clone();
        let guarded = Guarded::new(context.clone(), services.clone(), peer);
        let serving = serve_connection(server.clone(), connection, guarded, context.clone());
        let alive = alive.clone();
        tokio::spawn(async move {
            serving.await;
            drop(alive);
        });
    }
    drop((connections, alive));
    let _ = ended.recv().await;
}

fn server() -> http2::Builder<CallTasks> {
    let mut server = http2::Builder::new(CallTasks);
    server
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .keep_alive_interval(KEEPALIVE);
    server
}

/// Serves a connection to its end. From its age on, and while the server drains, it is asked to end, and takes
/// no more calls; a grace after its age it is closed.
async fn serve_connection(
    server: http2::Builder<CallTasks>,
    connection: Connection,
    guarded: Guarded,
    context: Arc<ServerContext>,
) {
    let serving = server.serve_connection(TokioIo::new(connection), guarded);
    let mut serving = pin!(serving);
    let (age, grace) = (
        context.config.connection_age_max,
        context.config.connection_age_grace,
    );
    let (mut old, mut drained) = (pin!(after(age)), pin!(drained(context.draining.clone())));
    let is_old = tokio::select! {
        // A client that broke off is no fault of ours.
        _ = &mut serving => return,
        () = &mut old => true,
        () = &mut drained => false,
    };
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        _ = &mut serving => {}
        () = after(is_old.then_some(grace)) => {}
    }
}

/// Waits so long, or for ever.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}
