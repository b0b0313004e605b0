//! The bounds of requests, and where learning events are posted.

use super::webhook::Webhook;

/// Requests in flight on one connection.
pub(super) const STREAMS_MAX: u32 = 1024;

/// The bounds of messages and batches, and the webhook.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of one message, compressed or not.
    pub message_bytes_max: usize,
    /// Rows of one request.
    pub rows_max: usize,
    /// Where learning events are posted that an engine with a
    /// [`webhook_queue_max`](crate::engine::Config::webhook_queue_max) queues; none for nowhere.
    pub webhook: Option<Webhook>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            // Clients send large batches of vectors: 4096 rows of 4096 floats.
            message_bytes_max: 64 * 1024 * 1024,
            // A batch is answered in one piece; more rows would hold up those behind it.
            rows_max: 4096,
            webhook: None,
        }
    }
}
