//! The bounds of requests, who may send them, and where learning events are posted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;

use super::access::Access;
use super::audit_log::AuditLog;
use super::webhook::Webhook;

/// Requests in flight on one connection.
pub(super) const STREAMS_MAX: u32 = 1024;
/// Calls of one connection that were taken back before they were looked at; with more it is closed. Each
/// takes a kilobyte or two, and `conduct` bounds the rate of those that were looked at.
pub(super) const PENDING_RESETS_MAX: usize = 4096;

/// The bounds of messages and batches, who may send them, and the webhook.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of one message, compressed or not.
    pub message_bytes_max: usize,
    /// Rows of one request.
    pub rows_max: usize,
    /// Bytes of all messages that are read or answered at a time: those above 64 KiB are counted at the
    /// length that they claim, and take three quarters of it at most. So it is at least one and a half
    /// times [`Config::message_bytes_max`].
    pub request_bytes_max: u64,
    /// Requests over gRPC at a time, on all connections together.
    pub requests_max: usize,
    /// Predictions that are computed, or wait for that, at a time; the others are refused at once.
    pub predictions_max: usize,
    /// Batches, of more rows than a few, of which slices are computed at a time; 0 takes one for each thread
    /// that answers, less one, and at least one.
    pub batches_max: usize,
    /// Connections at a time, on both ports together.
    pub connections_max: usize,
    /// Connections of one address at a time, but for those of this machine and of `proxies`.
    pub connections_per_peer_max: usize,
    /// Addresses that speak for many peers.
    pub proxies: Vec<IpAddr>,
    /// The age at which a connection over gRPC is asked to end by GOAWAY; none for no age.
    pub connection_age_max: Option<Duration>,
    /// The time without a call after which a connection over gRPC is asked to end; none for ever.
    pub connection_idle_max: Option<Duration>,
    /// The time for which calls of a connection that was asked to end may go on.
    pub connection_age_grace: Duration,
    /// The access of callers; by default those of this machine may do everything.
    pub access: Arc<Access>,
    /// A socket of the file system on which gRPC is served as well, to callers of this machine.
    pub socket: Option<Arc<UnixListener>>,
    /// The log of reads of rows, orders and refused callers; none for the log of the server alone.
    pub audit_log: Option<Arc<AuditLog>>,
    /// The receiver of learning events that an engine with a
    /// [`webhook_queue_max`](crate::engine::Config::webhook_queue_max) queues; none for no deliveries.
    pub webhook: Option<Webhook>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            // Clients send large batches of vectors: 4096 rows of 4096 floats.
            message_bytes_max: 64 * 1024 * 1024,
            // A batch is answered in one piece; more rows would hold up those behind it.
            rows_max: 4096,
            request_bytes_max: 96 * 1024 * 1024,
            requests_max: 16 * 1024,
            // At some ten thousand a second the last of them is answered within half a second.
            predictions_max: 4096,
            batches_max: 0,
            connections_max: 16 * 1024,
            connections_per_peer_max: 1024,
            proxies: vec![],
            connection_age_max: None,
            // Some balancers end idle connections after minutes; later clients connect anew.
            connection_idle_max: Some(Duration::from_secs(3600)),
            connection_age_grace: Duration::from_secs(30),
            access: Arc::default(),
            socket: None,
            audit_log: None,
            webhook: None,
        }
    }
}
