//! Access of the client: its credentials, and the certificates that it trusts.
//!
//! Invariant: a token is sent over TLS, or to an address of this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use perennial::store::regular;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// The largest part of a file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The beginning of an address that is a socket of the file system.
const UNIX: &str = "unix:";

/// The options of access.
#[derive(clap::Args, Default)]
#[group(skip)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArgs {
    /// A file with the token to send
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The roots of the server's certificate, as PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A client certificate and its private key, as PEM in one file
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

/// A connection whose requests carry the token.
pub(crate) type Requests = InterceptedService<Channel, Bearer>;

/// Adds the token to every request.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl AccessArgs {
    /// The token as it is sent.
    pub(super) fn bearer(&self, server: &Server<'_>) -> anyhow::Result<Bearer> {
        let Some(path) = &self.token_file else {
            return Ok(Bearer(None));
        };
        ensure!(
            server.is_tls || server.is_of_this_machine(),
            "--token-file: a token is sent over TLS alone; write --server https://{}",
            server.address
        );
        let of_path = || format!("--token-file {}", path.display());
        let text = String::from_utf8(read(path).with_context(of_path)?);
        let text = text.ok().filter(|text| !text.trim().is_empty());
        let value = text.and_then(|text| format!("Bearer {}", text.trim()).parse().ok());
        let value: Option<MetadataValue<Ascii>> = value;
        let mut value = value.ok_or_else(|| {
            anyhow!(
                "{}: expected a token, as `perennial token` prints it",
                of_path()
            )
        })?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }

    /// The endpoint with the keys of TLS, where that is spoken.
    pub(super) fn secured(&self, endpoint: Endpoint, is_tls: bool) -> anyhow::Result<Endpoint> {
        let files = [("--ca", &self.ca), ("--identity", &self.identity)];
        if !is_tls {
            let given = files.iter().find(|(_, file)| file.is_some());
            if let Some((flag, _)) = given {
                return Err(anyhow!(
                    "{flag}: of use with --server https://HOST:PORT alone"
                ));
            }
            return Ok(endpoint);
        }
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(path) => {
                let pem = read(path).with_context(|| format!("--ca {}", path.display()))?;
                config.ca_certificate(Certificate::from_pem(pem))
            }
            None => config.with_native_roots(),
        };
        if let Some(path) = &self.identity {
            let pem = read(path).with_context(|| format!("--identity {}", path.display()))?;
            config = config.identity(Identity::from_pem(&pem, &pem));
        }
        let wrong = "--ca or --identity: expected certificates and a key as PEM; without --ca, the system has \
                     to know roots";
        endpoint.tls_config(config).context(wrong)
    }
}

/// A person names the file, so links may lead anywhere.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    regular::read("/".as_ref(), path, FILE_BYTES_MAX)
}

/// The address of a server, which may be written as a URL.
#[derive(Debug, PartialEq)]
pub(super) struct Server<'a> {
    /// HOST:PORT, or unix:PATH
    pub address: &'a str,
    pub is_tls: bool,
}

impl<'a> Server<'a> {
    pub(super) fn read(written: &'a str) -> anyhow::Result<Server<'a>> {
        if let Some(path) = written.strip_prefix(UNIX) {
            ensure!(!path.is_empty(), "--server {written}: expected unix:PATH");
            return Ok(Server {
                address: written,
                is_tls: false,
            });
        }
        let scheme_and_rest = written.split_once("://").unwrap_or(("", written));
        let (is_tls, address) = match scheme_and_rest {
            ("https" | "grpcs", address) => (true, address),
            ("" | "http" | "grpc", address) => (false, address),
            (scheme, _) => bail!(
                "--server {written}: {scheme}:// is no scheme of gRPC; expected HOST:PORT, or \
                 https://HOST:PORT for TLS"
            ),
        };
        let address = address.trim_end_matches('/');
        let parts = address.rsplit_once(':');
        let is_whole = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
        ensure!(
            parts.is_some_and(is_whole),
            "--server {written}: expected HOST:PORT, as in 127.0.0.1:8001"
        );
        Ok(Server { address, is_tls })
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        if self.is_socket() {
            return self.address.to_owned();
        }
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// True if it is a socket of the file system.
    pub(super) fn is_socket(&self) -> bool {
        self.address.starts_with(UNIX)
    }

    fn is_of_this_machine(&self) -> bool {
        if self.is_socket() {
            return true;
        }
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_server_may_be_a_url_and_needs_a_port() {
        let read = |written| Server::read(written).map(|server| (server.address, server.is_tls));
        for written in [
            "host:8001",
            "http://host:8001",
            "http://host:8001/",
            "grpc://host:8001",
        ] {
            assert_eq!(read(written).unwrap(), ("host:8001", false));
        }
        for written in ["https://host:8001", "grpcs://host:8001"] {
            assert_eq!(read(written).unwrap(), ("host:8001", true));
        }
        let of_another = read("ftp://host:8001").unwrap_err().to_string();
        assert!(
            of_another.contains("ftp:// is no scheme of gRPC"),
            "{of_another}"
        );
        assert_eq!(read("[::1]:8001").unwrap(), ("[::1]:8001", false));
        assert_eq!(read("unix:a/b").unwrap(), ("unix:a/b", false));
        assert!(read("unix:").is_err());
        for written in [
            "host",
            "https://host",
            "host:",
            ":8001",
            "host:70000",
            "host:8001/v2",
        ] {
            let expected = format!("--server {written}: expected HOST:PORT, as in 127.0.0.1:8001");
            assert_eq!(read(written).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn p8_a_token_is_sent_over_tls_or_to_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "perennial_00\n").unwrap();
        let args = AccessArgs {
            token_file: Some(path.clone()),
            ..AccessArgs::default()
        };
        let sends = |written| {
            let bearer = args.bearer(&Server::read(written).unwrap());
            bearer.map(|_| ()).map_err(|error| error.to_string())
        };
        for written in [
            "https://host:1",
            "127.0.0.1:1",
            "localhost:1",
            "[::1]:1",
            "127.9.9.9:1",
            "unix:/run/perennial.sock",
        ] {
            assert_eq!(sends(written), Ok(()), "{written}");
        }
        for written in ["host:1", "10.0.0.1:1", "localhost.example.org:1"] {
            let expected = format!(
                "--token-file: a token is sent over TLS alone; write --server https://{written}"
            );
            assert_eq!(sends(written), Err(expected), "{written}");
        }
        std::fs::write(&path, "  \n").unwrap();
        let refused = sends("localhost:1").unwrap_err();
        assert!(
            refused.ends_with("expected a token, as `perennial token` prints it"),
            "{refused}"
        );
    }
}
