//! How many connections there are, in all and by the address of the other side.
//!
//! Invariant: a connection is counted from the moment that it is accepted to its end. This machine and
//! the proxies that the configuration names speak for many, and are bounded in all alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::bounds::Config;

/// How many connections there are, by the address of the other side.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<BTreeMap<IpAddr, usize>>);

/// A place among the connections, as long as this lives.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// How many there are.
    pub(super) fn n(&self) -> usize {
        let all = self.0.lock().expect("nothing panics under it");
        all.values().sum()
    }

    /// A place for a connection of this address, if it may have one more.
    pub(super) fn enter(
        self: &Arc<Crowd>,
        address: IpAddr,
        config: &Config,
    ) -> Option<ConnectionPlace> {
        let address = address.to_canonical();
        let speaks_for_many = address.is_loopback() || config.proxies.contains(&address);
        let mut all = self.0.lock().expect("nothing panics under it");
        let total: usize = all.values().sum();
        let own = all.get(&address).copied().unwrap_or(0);
        let has_own = speaks_for_many || own < config.connections_per_peer_max;
        if total >= config.connections_max || !has_own {
            return None;
        }
        all.insert(address, own + 1);
        let crowd = self.clone();
        Some(ConnectionPlace { crowd, address })
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let Ok(mut all) = self.crowd.0.lock() else {
            return;
        };
        if let Some(n) = all.get_mut(&self.address) {
            *n -= 1;
            if *n == 0 {
                all.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        drop(places);
        assert!(crowd.0.lock().expect("it is sound").is_empty());
    }
}
