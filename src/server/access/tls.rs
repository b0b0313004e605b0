//! The keys of TLS: the certificate of the server, and the roots of those of clients.
//!
//! Invariant: keys are read whole and checked against each other before they are used; a client
//! certificate is one that a root here vouches for, or there is none.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};

use x509_cert::der::Decode;

use super::files::{AccessError, AccessFiles};

/// Certificates of one file.
const CERTIFICATES_MAX: usize = 100;
/// Names of one client certificate that are looked at.
const NAMES_MAX: usize = 16;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Protocol {
    Grpc,
    Http,
}

/// The keys of both ports.
#[derive(Debug)]
pub(super) struct ServerKeys {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

impl ServerKeys {
    pub(super) fn of(&self, protocol: Protocol) -> Arc<ServerConfig> {
        match protocol {
            Protocol::Grpc => self.grpc.clone(),
            Protocol::Http => self.http.clone(),
        }
    }
}

/// Reads the keys; `None` where there is no certificate.
pub(super) fn server_keys(files: &AccessFiles) -> Result<Option<ServerKeys>, AccessError> {
    let (certificate, key) = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) if files.client_ca.is_none() => return Ok(None),
        (None, None) => return fault("client_ca: it takes a certificate and a key of the server"),
        (Some(_), None) => {
            return fault("key: missing; a certificate is of no use without its key");
        }
        (None, Some(_)) => {
            return fault("certificate: missing; a key is of no use without its certificate");
        }
    };
    let chain = certificates("certificate", certificate)?;
    check_time(&chain[0], SystemTime::now())?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .or_else(|error| fault(format!("key: {error}, expected a private key as PEM")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(CertificateClock))
        .with_safe_default_protocol_versions()
        .or_else(|error| fault(error.to_string()))?;
    let builder = match &files.client_ca {
        Some(roots) => {
            let roots = Arc::new(root_store("client_ca", roots)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                // Health is answered without one, and a token does as well.
                .allow_unauthenticated()
                .build()
                .or_else(|error| fault(format!("client_ca: {error}")))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut grpc = builder
        .with_single_cert(chain, key)
        .or_else(|error| fault(format!("certificate and key: {error}")))?;
    let mut http = grpc.clone();
    grpc.alpn_protocols = vec![b"h2".to_vec()];
    http.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(ServerKeys {
        grpc: Arc::new(grpc),
        http: Arc::new(http),
    }))
}

fn certificates(key: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let mut all = vec![];
    for certificate in CertificateDer::pem_slice_iter(pem) {
        all.push(certificate.or_else(|error| fault(format!("{key}: {error}")))?);
    }
    match all.len() {
        0 => fault(format!("{key}: no certificate in it, expected PEM")),
        1..=CERTIFICATES_MAX => Ok(all),
        n => fault(format!(
            "{key}: {n} certificates, expected at most {CERTIFICATES_MAX}"
        )),
    }
}

/// Refuses a certificate that no client would take any more, or yet.
fn check_time(certificate: &CertificateDer<'_>, now: SystemTime) -> Result<(), AccessError> {
    let read = x509_cert::Certificate::from_der(certificate);
    let read = read.or_else(|error| fault(format!("certificate: {error}")))?;
    let validity = read.tbs_certificate.validity;
    let (begin, end) = (validity.not_before, validity.not_after);
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    if end.to_unix_duration() <= now {
        return fault(format!("certificate: it expired at {end}"));
    }
    if begin.to_unix_duration() > now {
        return fault(format!(
            "certificate: it holds from {begin} on; see to the clock of this machine, or to its issuer's"
        ));
    }
    Ok(())
}

/// The time of this machine; none before 1970, where no certificate holds.
#[derive(Debug)]
struct CertificateClock;

impl TimeProvider for CertificateClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.ok().map(UnixTime::since_unix_epoch)
    }
}

fn root_store(key: &str, pem: &[u8]) -> Result<RootCertStore, AccessError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, pem)? {
        roots
            .add(certificate)
            .or_else(|error| fault(format!("{key}: {error}")))?;
    }
    Ok(roots)
}

fn fault<T>(what: impl Into<String>) -> Result<T, AccessError> {
    Err(AccessError::Tls(what.into()))
}

/// The DNS names and URIs of a certificate that was verified, and when it ends.
pub(in crate::server) fn names_of(
    certificate: &CertificateDer<'_>,
) -> Option<(Vec<String>, SystemTime)> {
    let read = x509_cert::Certificate::from_der(certificate).ok()?;
    let end = read.tbs_certificate.validity.not_after.to_unix_duration();
    let end = SystemTime::UNIX_EPOCH.checked_add(end)?;
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let names = certificate.valid_dns_names();
    let names = names.chain(certificate.valid_uri_names());
    Some((names.take(NAMES_MAX).map(str::to_owned).collect(), end))
}
