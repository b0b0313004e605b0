//! The table `[webhook]` of perennial.toml.
//!
//! Invariant: a value that cannot be used is refused with its key before a port is opened.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use perennial::model::keys::{AllowedValues, Key};
use perennial::server::{Webhook, WebhookConfig};
use perennial::store::regular;
use serde::Deserialize;

/// The largest part of a file of certificates that is read.
const CA_BYTES_MAX: u64 = 4 << 20;
const TIMEOUT_S: (f64, f64) = (0.1, 60.0);
const ATTEMPTS_MAX: (u64, u64) = (1, 100);
const QUEUE_MAX: (u64, u64) = (1, 10_000);

pub(super) const KEYS: [Key; 7] = [
    Key {
        name: "webhook.url",
        values: AllowedValues::Text("https://HOST[:PORT]/PATH"),
        default: "",
        unit: "",
        meaning: "Where learning events are posted; without the table nowhere. http:// is for loopback \
                  addresses alone, and redirects are not followed.",
    },
    Key {
        name: "webhook.secret",
        values: AllowedValues::Text("whsec_ and 24 to 64 bytes in Base64"),
        default: "",
        unit: "",
        meaning: "The key of the signature, which the receiver checks: keep the file to its owner.",
    },
    Key {
        name: "webhook.private_addresses",
        values: AllowedValues::List("addresses and networks, as in 10.1.0.0/16"),
        default: "[]",
        unit: "",
        meaning: "Addresses that are not public and may be connected to all the same.",
    },
    Key {
        name: "webhook.ca_file",
        values: AllowedValues::Text("a file of certificates in PEM"),
        default: "Mozilla's roots",
        unit: "",
        meaning: "The certificates that are trusted in place of Mozilla's roots.",
    },
    Key {
        name: "webhook.timeout_s",
        values: AllowedValues::Between(TIMEOUT_S.0, TIMEOUT_S.1),
        default: "10",
        unit: "seconds",
        meaning: "How long one attempt may take, from the look-up of the host to the answer.",
    },
    Key {
        name: "webhook.attempts_max",
        values: AllowedValues::Count(ATTEMPTS_MAX.0, ATTEMPTS_MAX.1),
        default: "20",
        unit: "",
        meaning: "Attempts of one event, before it is given up: the first wait is 1 s, each further one twice \
                  as long, up to 10 minutes, so that 20 take about two hours.",
    },
    Key {
        name: "webhook.queue_max",
        values: AllowedValues::Count(QUEUE_MAX.0, QUEUE_MAX.1),
        default: "1000",
        unit: "events",
        meaning: "Events that may wait, on disk; an event that comes while so many wait is dropped and counted.",
    },
];

/// The keys of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookTable {
    url: String,
    secret: String,
    #[serde(default)]
    private_addresses: Vec<String>,
    ca_file: Option<PathBuf>,
    timeout_s: Option<f64>,
    attempts_max: Option<u64>,
    queue_max: Option<u64>,
}

impl WebhookTable {
    /// The webhook, and the events that may wait for it.
    pub(super) fn read(self) -> anyhow::Result<(Webhook, usize)> {
        let defaults = WebhookConfig::default();
        let timeout_s = self.timeout_s.unwrap_or(defaults.timeout.as_secs_f64());
        let attempts_max = self.attempts_max.unwrap_or(defaults.attempts_max.into());
        let queue_max = self.queue_max.unwrap_or(1000);
        check("timeout_s", timeout_s, TIMEOUT_S)?;
        check("attempts_max", attempts_max, ATTEMPTS_MAX)?;
        check("queue_max", queue_max, QUEUE_MAX)?;
        let ca = self.ca_file.map(|path| {
            // A person names the file, so links may lead anywhere.
            let read = regular::read("/".as_ref(), &path, CA_BYTES_MAX);
            read.with_context(|| format!("webhook.ca_file: {}", path.display()))
        });
        let webhook = Webhook::new(&WebhookConfig {
            url: self.url,
            secret: self.secret,
            private_addresses: self.private_addresses,
            ca: ca.transpose()?,
            timeout: Duration::from_secs_f64(timeout_s),
            attempts_max: attempts_max as u32,
            ..defaults
        })?;
        Ok((webhook, queue_max as usize))
    }
}

fn check<T: PartialOrd + std::fmt::Display>(
    key: &str,
    value: T,
    (min, max): (T, T),
) -> anyhow::Result<()> {
    ensure!(
        (&min..=&max).contains(&&value),
        "webhook.{key}: {value}, expected {min} to {max}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'";

    fn read(keys: &str) -> Result<usize, String> {
        let toml = format!("url = 'https://hooks.example.com/a'\n{SECRET}\n{keys}");
        let table: WebhookTable = toml::from_str(&toml).map_err(|error| error.to_string())?;
        let read = table.read().map_err(|error| format!("{error:#}"))?;
        Ok(read.1)
    }

    #[test]
    fn p9_a_value_out_of_range_is_refused_with_its_key() {
        let check = |keys: &str, expected: &str| {
            let error = read(keys).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        assert_eq!(read(""), Ok(1000));
        assert_eq!(
            read("queue_max = 7\ntimeout_s = 2\nattempts_max = 1"),
            Ok(7)
        );
        check("queue_max = 0", "webhook.queue_max: 0, expected 1 to 10000");
        check(
            "attempts_max = 101",
            "webhook.attempts_max: 101, expected 1 to 100",
        );
        check("timeout_s = 0", "webhook.timeout_s: 0, expected 0.1 to 60");
        check(
            "timeout_s = nan",
            "webhook.timeout_s: NaN, expected 0.1 to 60",
        );
        check(
            "ca_file = '/nowhere.pem'",
            "webhook.ca_file: /nowhere.pem: No such file",
        );
        check(
            "ca_file = '/dev/zero'",
            "webhook.ca_file: /dev/zero: a device, expected a regular file",
        );
        check("port = 1", "unknown field `port`");
    }
}
