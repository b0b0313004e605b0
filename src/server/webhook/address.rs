//! Addresses: which are public, and which networks a configuration lists besides.
//!
//! Invariant: an address is judged as the one that it leads to: an IPv4 address within an IPv6 one is that
//! IPv4 address, or is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A stretch of addresses, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressRange {
    address: IpAddr,
    prefix: u32,
}

impl AddressRange {
    /// Reads `10.0.0.5`, `10.1.0.0/16` or `fd00::/8`.
    pub(super) fn parse(text: &str) -> Option<AddressRange> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let n_bits = bits(address).1;
        let prefix = prefix.unwrap_or(n_bits);
        (prefix <= n_bits).then_some(AddressRange { address, prefix })
    }

    /// True if an address lies in it.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let ((own, n_bits), (other, n_other)) = (bits(self.address), bits(address.to_canonical()));
        let differ = own ^ other;
        n_bits == n_other && differ.checked_shr(n_bits - self.prefix).unwrap_or(0) == 0
    }
}

/// The address as a number, and of how many bits.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// True of `localhost` and of a loopback address in a URL.
pub(super) fn names_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |address| {
        address.to_canonical().is_loopback()
    })
}

/// True of an address of the open internet: none of the special ones that IANA lists.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    );
    !is_special
}

/// True of 2000::/3 without the range for documentation, and without those that lead to an IPv4 address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_special = match a {
        0x2001 => b < 0x200 || b == 0xdb8,
        0x2002 => true,
        0x3fff => b < 0x1000,
        _ => false,
    };
    (0x2000..0x4000).contains(&a) && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_only_addresses_of_the_open_internet_are_public() {
        let check = |text: &str, expected: bool| {
            let address = text.parse().unwrap();
            assert_eq!(is_public(address), expected, "{text}");
        };
        for public in [
            "8.8.8.8",
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "::ffff:8.8.8.8",
        ] {
            check(public, true);
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2001:db8::1",
            "2001::1",
            "2002:a00:1::",
            "3fff::1",
            "::10.0.0.1",
        ] {
            check(special, false);
        }
    }

    #[test]
    fn a_network_holds_the_addresses_of_its_prefix() {
        let check = |network: &str, address: &str, expected: bool| {
            let network = AddressRange::parse(network).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        };
        check("10.1.0.0/16", "10.1.255.255", true);
        check("10.1.0.0/16", "10.2.0.0", false);
        check("10.0.0.5", "10.0.0.5", true);
        check("10.0.0.5", "10.0.0.6", false);
        check("10.0.0.5", "::ffff:10.0.0.5", true);
        check("0.0.0.0/0", "10.0.0.6", true);
        check("0.0.0.0/0", "fd00::1", false);
        check("fd00::/8", "fdff::1", true);
        check("::/0", "fd00::1", true);
        for malformed in [
            "",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0",
            "host",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            assert_eq!(AddressRange::parse(malformed), None, "{malformed}");
        }
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(names_loopback(host), "{host}");
        }
        assert!(!names_loopback("localhost.example.com"));
    }
}
