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
        message => anyhow!("{message}"),
    }
}
