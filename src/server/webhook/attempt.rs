//! One attempt to post an event: look up, check, connect, send, and read the status of the answer.
//!
//! Invariant: the address that was checked is the one that is connected to; of the answer nothing but its
//! status counts, and its body is not read.

use std::io;
use std::net::{IpAddr, SocketAddr};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

use super::{Webhook, address};
use crate::engine::Delivery;

const AGENT: &str = concat!("perennial/", env!("CARGO_PKG_VERSION"));

/// The reason why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Failure {
    #[error("it gave no answer within {seconds} s")]
    TimedOut { seconds: f64 },
    #[error("{host} has no address: {error}")]
    NotFound { host: String, error: io::Error },
    #[error(
        "{host} is at {address}, which is not a public address; list it in webhook.private_addresses if the \
         webhook is there"
    )]
    NotPublic { host: String, address: IpAddr },
    #[error("{host} is at {address}, expected a loopback address")]
    NotLoopback { host: String, address: IpAddr },
    #[error("cannot connect to {address}: {error}")]
    NotConnected {
        address: SocketAddr,
        error: io::Error,
    },
    #[error("TLS with {host} failed: {error}")]
    Tls { host: String, error: io::Error },
    #[error("HTTP with {host} failed: {error}")]
    Http { host: String, error: hyper::Error },
    #[error("it answered {0}, and redirects are not followed; set webhook.url to where it is")]
    Redirected(StatusCode),
    #[error("it answered {0}, expected 200 to 299")]
    Answered(StatusCode),
}

impl Webhook {
    /// Posts an event.
    pub(super) async fn post(&self, delivery: &Delivery, now_s: u64) -> Result<(), Failure> {
        let stream = self.connect().await?;
        let status = match &self.tls {
            None => self.exchange(stream, delivery, now_s).await?,
            Some((connector, name)) => {
                let secured = connector.connect(name.clone(), stream).await;
                let secured = secured.map_err(|error| Failure::Tls {
                    host: self.host.clone(),
                    error,
                })?;
                self.exchange(secured, delivery, now_s).await?
            }
        };
        match status {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(Failure::Redirected(status)),
            status => Err(Failure::Answered(status)),
        }
    }

    /// Refuses an address that the configuration does not allow.
    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), Failure> {
        let (host, address) = (self.host.clone(), address.to_canonical());
        let names_loopback = address::names_loopback(&self.host);
        if names_loopback && !address.is_loopback() {
            return Err(Failure::NotLoopback { host, address });
        }
        let is_listed = || {
            self.private_addresses
                .iter()
                .any(|one| one.contains(address))
        };
        if names_loopback || address::is_public(address) || is_listed() {
            Ok(())
        } else {
            Err(Failure::NotPublic { host, address })
        }
    }

    /// A connection to the first address of the host that is allowed and takes one.
    async fn connect(&self) -> Result<TcpStream, Failure> {
        let not_found = |error| Failure::NotFound {
            host: self.host.clone(),
            error,
        };
        let found = lookup_host((&self.host[..], self.port)).await;
        let mut last = not_found(io::ErrorKind::NotFound.into());
        for address in found.map_err(not_found)? {
            if let Err(failure) = self.check_address(address.ip()) {
                last = failure;
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Failure::NotConnected { address, error },
            }
        }
        Err(last)
    }

    /// Sends the request, and waits for the head of the answer.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        delivery: &Delivery,
        now_s: u64,
    ) -> Result<StatusCode, Failure> {
        let failed = |error| Failure::Http {
            host: self.host.clone(),
            error,
        };
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(failed)?;
        let signature = self.secret.sign(&delivery.id, now_s, &delivery.body);
        let request = Request::post(&self.target)
            .header("host", &self.authority)
            .header("connection", "close")
            .header("content-type", "application/json")
            .header("user-agent", AGENT)
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", now_s)
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(delivery.body.clone())));
        let request = request.expect("each header is of plain characters");
        let answer = sender.send_request(request);
        // Both end here: the body of the answer is not read.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                // The answer came with the end of the connection.
                Ok(()) => answer.await,
                Err(error) => Err(error),
            },
        };
        Ok(answer.map_err(failed)?.status())
    }
}

#[cfg(test)]
mod tests {
    use super::super::WebhookConfig;
    use super::*;

    fn webhook(url: &str) -> Webhook {
        let config = WebhookConfig {
            url: url.to_owned(),
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            private_addresses: vec!["10.1.0.0/16".to_owned()],
            ..WebhookConfig::default()
        };
        Webhook::new(&config).unwrap()
    }

    /// A name may lead to any address by the time of an attempt.
    #[test]
    fn p9_an_address_is_checked_after_the_look_up() {
        let check = |url: &str, address: &str, expected: &str| {
            let checked = webhook(url).check_address(address.parse().unwrap());
            let shown = checked.map_or_else(|failure| failure.to_string(), |()| String::new());
            assert!(shown.starts_with(expected), "{url} {address}: {shown:?}");
            assert_eq!(
                shown.is_empty(),
                expected.is_empty(),
                "{url} {address}: {shown:?}"
            );
        };
        let (name, local) = ("https://hooks.example.com", "http://localhost");
        check(name, "8.8.8.8", "");
        check(name, "10.1.9.9", "");
        check(name, "::ffff:10.1.9.9", "");
        check(
            name,
            "127.0.0.1",
            "hooks.example.com is at 127.0.0.1, which is not",
        );
        check(name, "::1", "hooks.example.com is at ::1, which is not");
        check(
            name,
            "::ffff:169.254.169.254",
            "hooks.example.com is at 169.254.169.254, which",
        );
        check(
            name,
            "10.2.0.1",
            "hooks.example.com is at 10.2.0.1, which is not a public address; list",
        );
        check(local, "127.0.0.1", "");
        check(local, "::1", "");
        check(
            local,
            "8.8.8.8",
            "localhost is at 8.8.8.8, expected a loopback address",
        );
        check("https://localhost", "10.1.0.1", "localhost is at 10.1.0.1");
    }
}
