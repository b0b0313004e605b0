//! The webhook: where learning events are posted, how they are signed, and one attempt to post one.
//!
//! Invariant: it connects to no address that the configuration does not allow, follows no redirect, and an
//! attempt has an end.
//!
//! The request is that of Standard Webhooks (standardwebhooks.com, version 1.0.0): the headers `webhook-id`,
//! `webhook-timestamp` and `webhook-signature`, so that their libraries check it.

mod address;
mod attempt;
mod error;
mod signature;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Uri;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use self::address::AddressRange;
pub(super) use self::attempt::Failure;
pub use self::error::WebhookError;
use self::error::refused;
use self::signature::Secret;
use crate::engine::Delivery;

/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// The receiver of learning events, and the terms of delivery.
#[derive(Clone)]
pub struct WebhookConfig {
    /// `https://HOST[:PORT]/PATH`; `http://` of a loopback address alone.
    pub url: String,
    /// `whsec_` and 24 to 64 random bytes in Base64, which the receiver knows too.
    pub secret: String,
    /// Addresses that are not public and may be connected to: `10.0.0.5`, `10.1.0.0/16`, `fd00::/8`.
    pub private_addresses: Vec<String>,
    /// Certificates in PEM that are trusted in place of Mozilla's roots.
    pub ca: Option<Vec<u8>>,
    /// The time for one attempt, from the look-up of the host to the status of the answer.
    pub timeout: Duration,
    /// Attempts of one event, at least 1.
    pub attempts_max: u32,
    /// The wait before the second attempt of an event; before each further one twice as long, up to ten minutes.
    pub retry_wait: Duration,
}

impl Default for WebhookConfig {
    fn default() -> WebhookConfig {
        WebhookConfig {
            url: String::new(),
            secret: String::new(),
            private_addresses: Vec::new(),
            ca: None,
            timeout: Duration::from_secs(10),
            // About two hours with the waits between them: a receiver that is deployed anew is waited for.
            attempts_max: 20,
            retry_wait: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for WebhookConfig {
    /// The configuration without the secret, and without the path, which may be one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig").finish_non_exhaustive()
    }
}

/// A webhook whose configuration has been checked.
#[derive(Clone)]
pub struct Webhook {
    pub(super) host: String,
    port: u16,
    /// The target of the request: path and query.
    target: String,
    /// The value of the header `host`.
    authority: String,
    /// The connector of TLS; none of plain HTTP, for loopback alone.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    secret: Secret,
    private_addresses: Vec<AddressRange>,
    timeout: Duration,
    pub(super) attempts_max: u32,
    retry_wait: Duration,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Webhook");
        shown.field("host", &self.host).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`WebhookError`] names the key, its value and the values that are allowed.
    pub fn new(config: &WebhookConfig) -> Result<Webhook, WebhookError> {
        let uri: Uri = config
            .url
            .parse()
            .map_err(|_| refused("url", "expected https://HOST[:PORT]/PATH"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused("url", "expected https://HOST[:PORT]/PATH"));
        };
        if authority.as_str().contains('@') {
            return Err(refused(
                "url",
                "it holds a user name, which is never sent; expected https://HOST[:PORT]/PATH",
            ));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_plain = match scheme {
            "https" => false,
            "http" if address::names_loopback(&host) => true,
            "http" => {
                let what = format!(
                    "http://{host} is not encrypted; expected https://, or http:// with localhost or a \
                     loopback address"
                );
                return Err(refused("url", what));
            }
            other => {
                let what = format!("the scheme {other:?}, expected https");
                return Err(refused("url", what));
            }
        };
        let mut webhook = Webhook {
            port: authority
                .port_u16()
                .unwrap_or(if is_plain { 80 } else { 443 }),
            target: uri
                .path_and_query()
                .map_or("/", |one| one.as_str())
                .to_owned(),
            authority: authority.as_str().to_owned(),
            tls: None,
            secret: Secret::parse(&config.secret)?,
            private_addresses: networks(&config.private_addresses)?,
            timeout: config.timeout,
            attempts_max: config.attempts_max.max(1),
            retry_wait: config.retry_wait,
            host,
        };
        if let Ok(literal) = webhook.host.parse() {
            // No look-up will change it.
            webhook
                .check_address(literal)
                .map_err(|failure| refused("url", failure.to_string()))?;
        }
        if !is_plain {
            let name = ServerName::try_from(webhook.host.clone());
            let name = name.map_err(|_| refused("url", "its host is no name of a host"))?;
            webhook.tls = Some((connector(config.ca.as_deref())?, name));
        }
        Ok(webhook)
    }

    /// The wait after an attempt, the first being 1.
    pub(super) fn wait(&self, attempt: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX);
        self.retry_wait.saturating_mul(doubled).min(WAIT_MAX)
    }

    /// One attempt, bounded in time.
    pub(super) async fn attempt(&self, delivery: &Delivery) -> Result<(), Failure> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = since.map_or(0, |since| since.as_secs());
        match timeout(self.timeout, self.post(delivery, now_s)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::TimedOut {
                seconds: self.timeout.as_secs_f64(),
            }),
        }
    }
}

fn networks(written: &[String]) -> Result<Vec<AddressRange>, WebhookError> {
    let parse = |text: &String| {
        let what =
            || format!("{text:?}, expected an address or a network, as in 10.0.0.5 or 10.1.0.0/16");
        AddressRange::parse(text).ok_or_else(|| refused("private_addresses", what()))
    };
    written.iter().map(parse).collect()
}

/// The client's side of TLS, with Mozilla's roots or those of a PEM text.
fn connector(ca: Option<&[u8]>) -> Result<TlsConnector, WebhookError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| refused("ca_file", error.to_string()))?;
                let added = roots.add(certificate);
                added.map_err(|error| refused("ca_file", error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(refused("ca_file", "it holds no certificate in PEM"));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn config(url: &str) -> WebhookConfig {
        WebhookConfig {
            url: url.to_owned(),
            secret: SECRET.to_owned(),
            ..WebhookConfig::default()
        }
    }

    fn refusal(config: &WebhookConfig) -> String {
        Webhook::new(config).unwrap_err().to_string()
    }

    #[test]
    fn p9_each_key_is_refused_with_its_name_and_what_is_allowed() {
        let check = |url: &str, expected: &str| {
            let refused = refusal(&config(url));
            assert!(refused.starts_with("webhook.url: "), "{refused}");
            assert!(refused.contains(expected), "{refused}");
        };
        check("hooks.example.com/a", "expected https://");
        check("", "expected https://");
        check("ftp://hooks.example.com", "the scheme \"ftp\"");
        check("http://hooks.example.com", "not encrypted");
        check("http://8.8.8.8/", "not encrypted");
        check("https://ann:pass@hooks.example.com", "a user name");
        check(
            "https://10.0.0.5/hook",
            "10.0.0.5, which is not a public address",
        );
        check(
            "https://[fd00::1]/hook",
            "fd00::1, which is not a public address",
        );
        check(
            "https://169.254.169.254/latest",
            "which is not a public address",
        );
        let mut bad = config("https://hooks.example.com");
        bad.private_addresses = vec!["10.0.0.0/33".to_owned()];
        assert!(refusal(&bad).starts_with("webhook.private_addresses: \"10.0.0.0/33\""));
        bad = config("https://hooks.example.com");
        bad.ca = Some(b"nothing".to_vec());
        assert_eq!(
            refusal(&bad),
            "webhook.ca_file: it holds no certificate in PEM"
        );
        bad = config("https://hooks.example.com");
        bad.secret = "hunter2".to_owned();
        let refused = refusal(&bad);
        assert!(
            refused.starts_with("webhook.secret: expected whsec_"),
            "{refused}"
        );
        assert!(
            !refused.contains("hunter2"),
            "a secret is not shown: {refused}"
        );
    }

    #[test]
    fn what_may_be_reached_is_taken_and_nothing_secret_is_shown() {
        for url in [
            "https://hooks.example.com/services/T0/B0?x=y",
            "http://127.0.0.1:9000",
            "http://[::1]:9000/hook",
            "http://localhost/hook",
            "https://8.8.8.8/",
        ] {
            let webhook = Webhook::new(&config(url)).unwrap();
            let shown = format!("{webhook:?} {:?}", config(url));
            assert!(!shown.contains("whsec") && !shown.contains("T0"), "{shown}");
        }
        let mut listed = config("https://10.1.2.3:8443/hook");
        listed.private_addresses = vec!["10.1.0.0/16".to_owned()];
        let webhook = Webhook::new(&listed).unwrap();
        assert_eq!((webhook.port, &webhook.target[..]), (8443, "/hook"));
    }

    #[test]
    fn waits_double_up_to_ten_minutes() {
        let webhook = Webhook::new(&config("https://hooks.example.com")).unwrap();
        let waits = [1, 2, 3, 10, 11, 100].map(|attempt| webhook.wait(attempt).as_secs());
        assert_eq!(waits, [1, 2, 4, 512, 600, 600]);
    }
}
