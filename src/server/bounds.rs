//! The bounds of requests, and who may send them.

use std::sync::Arc;

use super::access::Access;

/// Requests in flight on one connection.
pub(super) const STREAMS_MAX: u32 = 1024;

/// The bounds of messages and batches, and who may send them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of one message, compressed or not.
    pub message_bytes_max: usize,
    /// Rows of one request.
    pub rows_max: usize,
    /// Who may call; by default callers of this machine, and they may do everything.
    pub access: Arc<Access>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            // Clients send large batches of vectors: 4096 rows of 4096 floats.
            message_bytes_max: 64 * 1024 * 1024,
            // A batch is answered in one piece; more rows would hold up those behind it.
            rows_max: 4096,
            access: Arc::default(),
        }
    }
}
