//! The error of a refused request.

use anyhow::anyhow;
use tonic::Status;

/// The refusal of a port that speaks HTTP/1.
pub(super) const ANSWERS_HTTP: &str = "the address of --server answers HTTP, not gRPC: give the port that \
    `perennial serve` prints as grpc=HOST:PORT";

/// Converts a refusal into an error.
pub(crate) fn refusal(status: Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow!("the server refused: {}", status.code().description()),
        // The sentence of the client library for an answer without the trailers of gRPC.
        message if message.starts_with("grpc-status header missing") => anyhow!(ANSWERS_HTTP),
        message if is_broken_off(&status) => anyhow!(
            "the connection ended before an answer ({message}): where the server speaks TLS, write \
             --server https://HOST:PORT"
        ),
        message => anyhow!("{message}"),
    }
}

/// True if the connection was closed as it began to speak, by the sentences of the client library.
pub(super) fn is_broken_off(status: &Status) -> bool {
    let message = status.message();
    ["h2 protocol error", "transport error"]
        .iter()
        .any(|one| message.starts_with(one))
}
