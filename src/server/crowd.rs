//! How many connections there are, in all and by the address of the other side.
//!
//! Invariant: a connection is counted from the moment that it is accepted to its end. This machine and
//! the proxies that the configuration names speak for many, and are bounded in all alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::bounds::Config;
use super::budget::Shares;

/// The number of a connection: no two of a server have the same, also where they have no address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionNumber(pub u64);

/// How many connections there are, by the address of the other side.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    all: Mutex<BTreeMap<IpAddr, Group>>,
    newest: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
    closed: [AtomicU64; Closed::ALL.len()],
}

/// The connections of one address, and what they share of the budgets.
#[derive(Debug, Default)]
struct Group {
    n: usize,
    shares: Arc<Shares>,
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Descriptors are short.
    Descriptors,
    /// There are as many as may be.
    All,
    /// There are as many of its address as may be.
    OfPeer,
}

impl Refused {
    const ALL: [Refused; 3] = [Refused::Descriptors, Refused::All, Refused::OfPeer];

    fn word(self) -> &'static str {
        match self {
            Refused::Descriptors => "descriptors",
            Refused::All => "connections",
            Refused::OfPeer => "connections_of_peer",
        }
    }
}

/// Why a connection is closed that was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It did not end its handshake.
    Handshake,
    /// It did not begin to speak.
    Silent,
    /// It took back one call after the other.
    Resets,
    /// It did not read what it was sent.
    Unread,
    /// It had no calls for long.
    Idle,
    /// It was as old as one may be.
    Age,
}

impl Closed {
    const ALL: [Closed; 6] = [
        Closed::Handshake,
        Closed::Silent,
        Closed::Resets,
        Closed::Unread,
        Closed::Idle,
        Closed::Age,
    ];

    fn word(self) -> &'static str {
        match self {
            Closed::Handshake => "handshake",
            Closed::Silent => "silent",
            Closed::Resets => "resets",
            Closed::Unread => "unread",
            Closed::Idle => "idle",
            Closed::Age => "age",
        }
    }
}

/// A place among the connections, as long as this lives.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    crowd: Arc<Crowd>,
    address: IpAddr,
    shares: Arc<Shares>,
    number: ConnectionNumber,
}

impl ConnectionPlace {
    /// The number of its connection.
    pub(super) fn number(&self) -> ConnectionNumber {
        self.number
    }

    /// What its address has of the budgets.
    pub(super) fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// Its connection is closed, for this reason.
    pub(super) fn close(&self, why: Closed) {
        self.crowd.close(why);
    }
}

impl Crowd {
    /// How many there are.
    pub(super) fn n(&self) -> usize {
        let all = self.all.lock().expect("nothing panics under it");
        all.values().map(|group| group.n).sum()
    }

    /// One more is closed at once.
    pub(super) fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    /// One more is closed that was open.
    pub(super) fn close(&self, why: Closed) {
        self.closed[why as usize].fetch_add(1, Relaxed);
    }

    /// How many were closed at once, by the reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Relaxed));
        Refused::ALL.map(Refused::word).into_iter().zip(counts)
    }

    /// How many were closed that were open, by the reason.
    pub(super) fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.closed.iter().map(|count| count.load(Relaxed));
        Closed::ALL.map(Closed::word).into_iter().zip(counts)
    }

    /// A place for a connection of this address, if it may have one more; one that has none is counted.
    pub(super) fn enter(
        self: &Arc<Crowd>,
        address: IpAddr,
        config: &Config,
    ) -> Option<ConnectionPlace> {
        let address = address.to_canonical();
        let speaks_for_many = address.is_loopback() || config.proxies.contains(&address);
        let mut all = self.all.lock().expect("nothing panics under it");
        let total: usize = all.values().map(|group| group.n).sum();
        let own = all.get(&address).map_or(0, |group| group.n);
        if total >= config.connections_max {
            self.refuse(Refused::All);
            return None;
        }
        if !speaks_for_many && own >= config.connections_per_peer_max {
            self.refuse(Refused::OfPeer);
            return None;
        }
        let group = all.entry(address).or_default();
        group.n += 1;
        let (crowd, shares) = (self.clone(), group.shares.clone());
        let number = ConnectionNumber(self.newest.fetch_add(1, Relaxed) + 1);
        Some(ConnectionPlace {
            crowd,
            address,
            shares,
            number,
        })
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let Ok(mut all) = self.crowd.all.lock() else {
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
        let (crowd, config) = (Arc::new(Crowd::default()), Config::default());
        let places = (0..500).map_while(|_| crowd.enter(address, &config));
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
        let crowd = Arc::new(Crowd::default());
        let mut places: Vec<ConnectionPlace> =
            [own, own, other, proxy, proxy, proxy, here, here, here]
                .map(|address| crowd.enter(address, &config).expect("there is room"))
                .into();
        assert!(crowd.enter(own, &config).is_none(), "it has its two");
        places.push(crowd.enter(other, &config).expect("there is room"));
        assert!(crowd.enter(proxy, &config).is_none(), "all are taken");
        places.remove(0);
        places.push(crowd.enter(own, &config).expect("one has gone"));
        let refused: Vec<u64> = crowd.refused().map(|(_, n)| n).collect();
        assert_eq!(refused, [0, 1, 1]);
        let numbers: BTreeSet<_> = places.iter().map(ConnectionPlace::number).collect();
        assert_eq!(numbers.len(), places.len(), "each has one of its own");
        drop(places);
        assert!(crowd.all.lock().expect("it is sound").is_empty());
    }
}
