//! Addresses at which others are to reach this process.

use std::net::IpAddr;

use crate::sections::root::Config;

/// An address that is written as numbers, also with the brackets that IPv6 has before a port; nothing if it is a name.
pub fn literal(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    }
}

/// True for an address like `0.0.0.0` or `::`, which stands for all of a host when it listens, and for nobody when others
/// are to reach it.
pub fn is_unspecified(text: &str) -> bool {
    literal(text).is_some_and(|address| address.to_canonical().is_unspecified())
}

/// An address to advertise, unless it counts as not set: empty or unspecified.
pub fn advertised(text: &str) -> Option<&str> {
    (!text.is_empty() && !is_unspecified(text)).then_some(text)
}

/// What to tell of addresses to advertise that are none.
pub(crate) fn advice(config: &Config) -> impl Iterator<Item = String> {
    let keys = [
        ("ingester.lifecycler.address", &config.ingester.lifecycler.address),
        ("distributor.ring.instance_addr", &config.distributor.ring.instance_addr),
        ("compactor.ring.instance_addr", &config.compactor.ring.ring.instance_addr),
        ("metrics_generator.ring.instance_addr", &config.metrics_generator.ring.ring.instance_addr),
        ("memberlist.advertise_addr", &config.memberlist.advertise_addr),
    ];
    let unspecified = keys.into_iter().filter(|(_, address)| is_unspecified(address));
    unspecified.map(|(key, address)| {
        format!("{key}: {address} is no address that others can reach, and counts as not set")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_addresses_with_and_without_brackets() {
        let read = |text: &str| literal(text).map(|address| address.to_string());
        assert_eq!(read("10.0.0.1").as_deref(), Some("10.0.0.1"));
        for text in ["2001:db8::1", "[2001:db8::1]", "2001:DB8:0::1"] {
            assert_eq!(read(text).as_deref(), Some("2001:db8::1"), "{text}");
        }
        for name in ["", "host", "[]", "[::1", "[10.0.0.1]", "10.0.0.1:80", "fe80::1%eth0"] {
            assert_eq!(read(name), None, "{name}");
        }
    }

    #[test]
    fn every_address_of_a_host_is_none_to_advertise() {
        for text in ["", "0.0.0.0", "::", "::0", "[::]", "::ffff:0.0.0.0"] {
            assert_eq!(advertised(text), None, "{text}");
        }
        for text in ["127.0.0.1", "::1", "tempo-0.tempo"] {
            assert_eq!(advertised(text), Some(text));
        }
    }
}
