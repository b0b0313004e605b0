//! Serving gRPC: its connections over HTTP/2.
//!
//! Invariant: the bytes of a connection that lie unread are bounded, and so are its calls and, where the
//! configuration has one, its age.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::answers::PIECE;
use super::bounds::{PENDING_RESETS_MAX, STREAMS_MAX};
use super::call_tasks::CallTasks;
use super::conduct::Conduct;
use super::connection_counts::CloseReason;
use super::connections::{Connection, Connections};
use super::context::{ServerContext, drained};
use super::guard::GuardedServices;
use super::services::Services;

/// Bytes of one stream that may lie unread: a sender that is faster than its reader is stopped
/// here. It holds some thousand small events, and 64 KiB a round trip of a large request.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes of one connection that may lie unread. h2 counts an unread frame of fewer than 256 bytes
/// as the difference, and ends a connection where the sum reaches half of its window. So one
/// stream, whose frames lack at most 255 bytes each, can never end it, nor can 64 streams of events
/// of 60 bytes. The unread bytes of a connection take at most this and half as much again.
const CONNECTION_WINDOW_BYTES: u32 = 512 * STREAM_WINDOW_BYTES;
/// Bytes of one HTTP/2 frame.
const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Bytes of the headers of one request.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of the answers of one stream that the connection takes over and has not written.
const SEND_BUFFER_BYTES_MAX: usize = PIECE;
/// So often within its time a connection is looked at that may be idle.
const IDLE_LOOKS: u32 = 4;
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
        let guarded = GuardedServices::new(context.clone(), services.clone(), peer);
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
        // No client reads it, and it knows no time before 1970.
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
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
    guarded: GuardedServices,
    context: Arc<ServerContext>,
) {
    let conduct = connection.peer().conduct.clone();
    let serving = server.serve_connection(TokioIo::new(connection), guarded);
    let mut serving = pin!(serving);
    let config = &context.config;
    let mut old = pin!(after(config.connection_age_max));
    let mut is_idle = pin!(idle(&conduct, config.connection_idle_max));
    let mut drained = pin!(drained(context.draining.clone()));
    let ends = tokio::select! {
        // A client that broke off is no fault of ours.
        _ = &mut serving => return,
        () = &mut old => Some(CloseReason::Age),
        () = &mut is_idle => Some(CloseReason::Idle),
        () = &mut drained => None,
    };
    if let Some(why) = ends {
        context.connections.close(why);
    }
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        _ = &mut serving => {}
        () = after(ends.map(|_| config.connection_age_grace)) => {}
    }
}

/// Waits until a connection has had no call for so long.
async fn idle(conduct: &Conduct, max: Option<Duration>) {
    let mut n_idle = 0;
    while n_idle < IDLE_LOOKS {
        after(max.map(|max| max / IDLE_LOOKS)).await;
        n_idle = if conduct.is_idle() { n_idle + 1 } else { 0 };
    }
}

/// Waits so long, or for ever.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p8_a_connection_with_a_quiet_stream_is_not_idle_and_one_without_calls_is() {
        let hour = Duration::from_secs(3600);
        let conduct = Conduct::default();
        conduct.begin_call();
        let quiet = timeout(10 * hour, idle(&conduct, Some(hour))).await;
        quiet.expect_err("it has a call");
        conduct.end_call(None);
        let start = Instant::now();
        idle(&conduct, Some(hour)).await;
        let took = start.elapsed();
        assert!((hour..=hour * 5 / 4).contains(&took), "{took:?}");
        let never = timeout(100 * hour, idle(&conduct, None)).await;
        never.expect_err("there is no bound");
    }
}
