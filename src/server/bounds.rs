//! The bounds of requests.

/// Requests in flight on one connection.
pub(super) const STREAMS_MAX: u32 = 1024;

/// The bounds of messages and batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of one message, compressed or not.
    pub message_bytes_max: usize,
    /// Rows of one request.
    pub rows_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            // Clients send large batches of vectors: 4096 rows of 4096 floats.
            message_bytes_max: 64 * 1024 * 1024,
            // A batch is answered in one piece; more rows would hold up those behind it.
            rows_max: 4096,
        }
    }
}
