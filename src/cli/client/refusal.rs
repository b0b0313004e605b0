//! The error of a refused request.

use anyhow::anyhow;
use tonic::Status;

/// Converts a refusal into an error.
pub(crate) fn refusal(status: Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow!("the server refused: {}", status.code().description()),
        message => anyhow!("{message}"),
    }
}
