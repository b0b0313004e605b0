//! The error of a refused request.

use anyhow::anyhow;
use tonic::Status;

/// Converts a refusal into an error.
pub(crate) fn refusal(status: Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow!("the server refused: {}", status.code().description()),
        // The sentence of the client library for an answer without the trailers of gRPC.
        message if message.starts_with("grpc-status header missing") => anyhow!(
            "the address of --server answers HTTP, not gRPC: give the port that `perennial serve` \
             prints as grpc=HOST:PORT"
        ),
        // The same for a connection that was closed as it began to speak.
        message
            if ["h2 protocol error", "transport error"]
                .iter()
                .any(|one| message.starts_with(one)) =>
        {
            anyhow!(
                "the connection ended before an answer ({message}): where the server speaks TLS, write \
             --server https://HOST:PORT"
            )
        }
        message => anyhow!("{message}"),
    }
}
