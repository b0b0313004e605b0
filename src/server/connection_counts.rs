//! The counts of connections, in all and by the address of the peer.
//!
//! Invariant: a connection is counted from the moment that it is accepted to its end. This machine and
//! the proxies that the configuration names speak for many, and are bounded in all alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::bounds::Config;
use super::budget::Shares;
use super::connection_number::ConnectionNumber;

/// The counts of open, refused and closed connections; the open ones by the address of the peer.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    all: Mutex<BTreeMap<IpAddr, Group>>,
    newest: AtomicU64,
    refused: [AtomicU64; ConnectionRefusal::ALL.len()],
    closed: [AtomicU64; CloseReason::ALL.len()],
}

/// The connections of one address, and their usage of the budgets.
#[derive(Debug, Default)]
struct Group {
    n: usize,
    shares: Arc<Shares>,
}

/// The reason why a new connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionRefusal {
    /// The process has too few file descriptors left.
    Descriptors,
    /// All connections together reach their bound.
    All,
    /// The connections of the peer reach their bound.
    OfPeer,
}

impl ConnectionRefusal {
    const ALL: [ConnectionRefusal; 3] = [
        ConnectionRefusal::Descriptors,
        ConnectionRefusal::All,
        ConnectionRefusal::OfPeer,
    ];

    fn word(self) -> &'static str {
        match self {
            ConnectionRefusal::Descriptors => "descriptors",
            ConnectionRefusal::All => "connections",
            ConnectionRefusal::OfPeer => "connections_of_peer",
        }
    }
}

/// The reason why the server closes an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The TLS handshake timed out.
    Handshake,
    /// No byte arrived in time.
    Silent,
    /// The client cancelled one call after the other.
    Resets,
    /// The client did not read its answers.
    Unread,
    /// The connection had no calls for long.
    Idle,
    /// The connection reached the age limit.
    Age,
}

impl CloseReason {
    const ALL: [CloseReason; 6] = [
        CloseReason::Handshake,
        CloseReason::Silent,
        CloseReason::Resets,
        CloseReason::Unread,
        CloseReason::Idle,
        CloseReason::Age,
    ];

    fn word(self) -> &'static str {
        match self {
            CloseReason::Handshake => "handshake",
            CloseReason::Silent => "silent",
            CloseReason::Resets => "resets",
            CloseReason::Unread => "unread",
            CloseReason::Idle => "idle",
            CloseReason::Age => "age",
        }
    }
}

/// A place among the connections, as long as this lives.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    connections: Arc<ConnectionCounts>,
    address: IpAddr,
    shares: Arc<Shares>,
    number: ConnectionNumber,
}

impl ConnectionPlace {
    /// The number of its connection.
    pub(super) fn number(&self) -> ConnectionNumber {
        self.number
    }

    /// The usage of the budgets by the address.
    pub(super) fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// Counts the connection as closed for this reason.
    pub(super) fn close(&self, why: CloseReason) {
        self.connections.close(why);
    }
}

impl ConnectionCounts {
    /// The number of open connections.
    pub(super) fn n(&self) -> usize {
        let all = self.all.lock().expect("nothing panics under it");
        all.values().map(|group| group.n).sum()
    }

    /// Counts a refused connection.
    pub(super) fn refuse(&self, why: ConnectionRefusal) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    /// Counts a closed connection.
    pub(super) fn close(&self, why: CloseReason) {
        self.closed[why as usize].fetch_add(1, Relaxed);
    }

    /// The counts of refused connections, by the reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Relaxed));
        ConnectionRefusal::ALL
            .map(ConnectionRefusal::word)
            .into_iter()
            .zip(counts)
    }

    /// The counts of closed connections, by the reason.
    pub(super) fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.closed.iter().map(|count| count.load(Relaxed));
        CloseReason::ALL
            .map(CloseReason::word)
            .into_iter()
            .zip(counts)
    }

    /// A place for a connection of this address, if it may have one more; one that has none is counted.
    pub(super) fn enter(
        self: &Arc<ConnectionCounts>,
        address: IpAddr,
        config: &Config,
    ) -> Option<ConnectionPlace> {
        let address = address.to_canonical();
        let speaks_for_many = address.is_loopback() || config.proxies.contains(&address);
        let mut all = self.all.lock().expect("nothing panics under it");
        let total: usize = all.values().map(|group| group.n).sum();
        let own = all.get(&address).map_or(0, |group| group.n);
        if total >= config.connections_max {
            self.refuse(ConnectionRefusal::All);
            return None;
        }
        if !speaks_for_many && own >= config.connections_per_peer_max {
            self.refuse(ConnectionRefusal::OfPeer);
            return None;
        }
        let group = all.entry(address).or_default();
        group.n += 1;
        let (connections, shares) = (self.clone(), group.shares.clone());
        let number = ConnectionNumber(self.newest.fetch_add(1, Relaxed) + 1);
        Some(ConnectionPlace {
            connections,
            address,
            shares,
            number,
        })
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let Ok(mut all) = self.connections.all.lock() else {
            return;
        };
        if let Some(group) = all.get_mut(&self.address) {
            group.n -= 1;
            if group.n == 0 {
                all.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn p8_five_hundred_clients_behind_one_address_all_have_a_place() {
        let address = "10.0.0.1".parse().expect("an address");
        let (connections, config) = (Arc::new(ConnectionCounts::default()), Config::default());
        let places = (0..500).map_while(|_| connections.enter(address, &config));
        assert_eq!(places.collect::<Vec<_>>().len(), 500);
    }

    #[test]
    fn p8_one_address_leaves_room_for_others_and_proxies_speak_for_many() {
        let [own, other, proxy]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.9"].map(|one| one.parse().expect("an address"));
        let here = "::ffff:127.0.0.1".parse().expect("an address");
        let config = Config {
            connections_max: 10,
            connections_per_peer_max: 2,
            proxies: vec![proxy],
            ..Config::default()
        };
        let connections = Arc::new(ConnectionCounts::default());
        let mut places: Vec<ConnectionPlace> =
            [own, own, other, proxy, proxy, proxy, here, here, here]
                .map(|address| connections.enter(address, &config).expect("there is room"))
                .into();
        assert!(connections.enter(own, &config).is_none(), "it has its two");
        places.push(connections.enter(other, &config).expect("there is room"));
        assert!(connections.enter(proxy, &config).is_none(), "all are taken");
        places.remove(0);
        places.push(connections.enter(own, &config).expect("one has gone"));
        let refused: Vec<u64> = connections.refused().map(|(_, n)| n).collect();
        assert_eq!(refused, [0, 1, 1]);
        let numbers: BTreeSet<_> = places.iter().map(ConnectionPlace::number).collect();
        assert_eq!(numbers.len(), places.len(), "each has one of its own");
        drop(places);
        assert!(connections.all.lock().expect("it is sound").is_empty());
    }
}
