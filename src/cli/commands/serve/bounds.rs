//! The table `[bounds]` of perennial.toml.
//!
//! Invariant: a value that cannot be used is refused with its key before a port is opened.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::anyhow;
use perennial::model::keys::{AllowedValues, Key};
use perennial::server::Config;
use serde::Deserialize;

const CONNECTIONS: AllowedValues = AllowedValues::Count(1, 1_000_000);
const REQUESTS: AllowedValues = AllowedValues::Count(1, 1_000_000);

pub(super) const KEYS: [Key; 9] = [
    Key {
        name: "bounds.request_bytes_max",
        values: AllowedValues::Size(96),
        default: "96MiB",
        unit: "",
        meaning: "Bytes of all messages that are read or answered at a time. Those above 64 KiB are counted at \
                  the length that they claim, and leave a quarter to smaller ones; a message has 64 MiB at \
                  most.",
    },
    Key {
        name: "bounds.requests_max",
        values: REQUESTS,
        default: "16384",
        unit: "",
        meaning: "Requests over gRPC that are read or answered at a time; further ones are refused.",
    },
    Key {
        name: "bounds.predictions_max",
        values: REQUESTS,
        default: "4096",
        unit: "",
        meaning: "Predictions that are computed, or wait for that, at a time; further ones are refused \
                  before they are read.",
    },
    Key {
        name: "bounds.connections_max",
        values: CONNECTIONS,
        default: "16384",
        unit: "",
        meaning: "Connections at a time, on both ports together; further ones are closed at once.",
    },
    Key {
        name: "bounds.connections_per_peer_max",
        values: CONNECTIONS,
        default: "1024",
        unit: "",
        meaning: "The same of one address, but for those of this machine and of `proxies`.",
    },
    Key {
        name: "bounds.proxies",
        values: AllowedValues::List("addresses, as in 10.0.0.2"),
        default: "[]",
        unit: "",
        meaning: "Addresses that speak for many peers, such as load balancers.",
    },
    Key {
        name: "bounds.connection_age_max",
        values: AllowedValues::Time,
        default: "none",
        unit: "",
        meaning: "The age at which a connection over gRPC is asked to end (GOAWAY), so that its client \
                  connects anew, and a balancer may lead it elsewhere; without, never.",
    },
    Key {
        name: "bounds.connection_idle_max",
        values: AllowedValues::Time,
        default: "1h",
        unit: "",
        meaning: "How long a connection over gRPC may be without a call; then it is asked to end (GOAWAY). A \
                  stream is a call, however quiet it is.",
    },
    Key {
        name: "bounds.connection_age_grace",
        values: AllowedValues::Time,
        default: "30s",
        unit: "",
        meaning: "How long the calls of a connection that was asked to end may go on; then it is closed.",
    },
];

/// The keys of the table.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BoundsTable {
    request_bytes_max: Option<String>,
    requests_max: Option<u64>,
    predictions_max: Option<u64>,
    connections_max: Option<u64>,
    connections_per_peer_max: Option<u64>,
    proxies: Vec<String>,
    connection_age_max: Option<String>,
    connection_idle_max: Option<String>,
    connection_age_grace: Option<String>,
}

impl BoundsTable {
    /// The bounds; all else of the configuration is its default.
    pub(super) fn read(self) -> anyhow::Result<Config> {
        let [
            bytes,
            requests,
            predictions,
            connections,
            per_peer,
            proxies,
            age,
            idle,
            grace,
        ] = &KEYS;
        let mut config = Config::default();
        if let Some(written) = &self.request_bytes_max {
            let size = bytes.values.size(written);
            config.request_bytes_max =
                size.ok_or_else(|| refused(bytes, format_args!("{written:?}")))?;
        }
        for (key, written, bound) in [
            (requests, self.requests_max, &mut config.requests_max),
            (
                predictions,
                self.predictions_max,
                &mut config.predictions_max,
            ),
            (
                connections,
                self.connections_max,
                &mut config.connections_max,
            ),
            (
                per_peer,
                self.connections_per_peer_max,
                &mut config.connections_per_peer_max,
            ),
        ] {
            match written {
                Some(written) if key.values.counts(written) => *bound = written as usize,
                Some(written) => return Err(refused(key, written)),
                None => {}
            }
        }
        for written in &self.proxies {
            let address: Result<IpAddr, _> = written.parse();
            let address = address.map_err(|_| refused(proxies, format_args!("{written:?}")))?;
            config.proxies.push(address.to_canonical());
        }
        if let Some(written) = &self.connection_age_max {
            config.connection_age_max = Some(time(age, written)?);
        }
        if let Some(written) = &self.connection_idle_max {
            config.connection_idle_max = Some(time(idle, written)?);
        }
        if let Some(written) = &self.connection_age_grace {
            config.connection_age_grace = time(grace, written)?;
        }
        Ok(config)
    }
}

fn time(key: &Key, written: &str) -> anyhow::Result<Duration> {
    let seconds = key.values.seconds(written).filter(|seconds| *seconds > 0);
    let seconds = seconds.ok_or_else(|| refused(key, format_args!("{written:?}")))?;
    Ok(Duration::from_secs(seconds))
}

fn refused(key: &Key, written: impl Display) -> anyhow::Error {
    anyhow!("{}: {written}, expected {}", key.name, key.expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let table: BoundsTable = toml::from_str(text).map_err(|error| error.to_string())?;
        table.read().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_server() {
        let config = Config::default();
        let counts = [
            config.requests_max,
            config.predictions_max,
            config.connections_max,
            config.connections_per_peer_max,
        ];
        let [
            bytes,
            requests,
            predictions,
            connections,
            per_peer,
            _,
            _,
            idle,
            grace,
        ] = &KEYS;
        assert_eq!(
            bytes.values.size(bytes.default),
            Some(config.request_bytes_max)
        );
        let keys = [requests, predictions, connections, per_peer];
        for (key, count) in keys.into_iter().zip(counts) {
            assert_eq!(key.default, count.to_string(), "{}", key.name);
        }
        assert_eq!(
            grace.values.seconds(grace.default),
            Some(config.connection_age_grace.as_secs())
        );
        assert_eq!(config.connection_age_max, None);
        let idle_max = config.connection_idle_max.map(|max| max.as_secs());
        assert_eq!(idle.values.seconds(idle.default), idle_max);
    }

    #[test]
    fn p8_bounds_are_read_and_a_value_out_of_range_is_refused_with_its_key() {
        let config = read(
            "request_bytes_max = '1GiB'\nrequests_max = 7\npredictions_max = 6\nconnections_max = 8\n\
             connections_per_peer_max = 9\nproxies = ['10.0.0.2', '::ffff:10.0.0.3']\n\
             connection_age_max = '1h'\nconnection_idle_max = '2h'\nconnection_age_grace = '5s'",
        );
        let config = config.expect("all are allowed");
        let counts = [
            config.requests_max,
            config.predictions_max,
            config.connections_max,
            config.connections_per_peer_max,
        ];
        assert_eq!((config.request_bytes_max, counts), (1 << 30, [7, 6, 8, 9]));
        let proxies: Vec<String> = config.proxies.iter().map(ToString::to_string).collect();
        assert_eq!(proxies, ["10.0.0.2", "10.0.0.3"]);
        let times = (config.connection_age_max, config.connection_age_grace);
        assert_eq!(
            times,
            (Some(Duration::from_secs(3600)), Duration::from_secs(5))
        );
        let idle_max = config.connection_idle_max;
        assert_eq!(idle_max, Some(Duration::from_secs(7200)));
        let check = |text: &str, expected: &str| {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        };
        check(
            "request_bytes_max = '95MiB'",
            "bounds.request_bytes_max: \"95MiB\", expected a size of at least 96MiB",
        );
        check(
            "requests_max = 0",
            "bounds.requests_max: 0, expected a whole number from 1 to 1000000",
        );
        check("connections_max = 0", "bounds.connections_max: 0");
        check(
            "connections_per_peer_max = 1000001",
            "bounds.connections_per_peer_max: 1000001",
        );
        check(
            "proxies = ['proxy']",
            "bounds.proxies: \"proxy\", expected a list: addresses",
        );
        check(
            "connection_age_max = '0s'",
            "bounds.connection_age_max: \"0s\", expected a time",
        );
        check(
            "connection_age_grace = 'soon'",
            "bounds.connection_age_grace: \"soon\"",
        );
        check("connections = 1", "unknown field `connections`");
    }
}
