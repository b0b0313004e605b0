//! The files of access as they were read, and their errors.

use std::net::SocketAddr;

use super::credentials::CredentialsError;

/// The files of the callers, as they were read; a part that is absent is not asked for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AccessFiles {
    /// The credentials, as TOML.
    pub credentials: Option<String>,
    /// The certificate of the server and those that lead to its root, as PEM.
    pub certificate: Option<Vec<u8>>,
    /// Its private key, as PEM.
    pub key: Option<Vec<u8>>,
    /// The roots of client certificates, as PEM.
    pub client_ca: Option<Vec<u8>>,
}

/// The reason why the files of access cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file of credentials is wrong.
    #[error("credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// A certificate or key is wrong, or one of a pair is missing.
    #[error("{0}")]
    Tls(String),
    /// Strangers could reach an address without a credential.
    #[error(
        "{0} is not of this machine alone, and nothing says who may call: make a token with `perennial \
         token NAME --scope predict` and serve with --credentials FILE, --certificate FILE and --key \
         FILE; or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
}
