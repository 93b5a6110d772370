//! Finds the address by which others reach this process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The address to advertise when none is configured.
///
/// The interfaces named are looked at first, in their order. Then follows the address of the default
/// route, because a host may have bridges of its own that nobody else reaches, then all other
/// interfaces: of these a private IPv4 address is best, then IPv6, then a public IPv4 one. With
/// `inet6` IPv6 goes before IPv4. Link-local and unspecified addresses never count, and loopback only
/// where its interface is named first. Last is loopback, with a warning: a process alone works with it.
pub fn detect_address(interfaces: &[String], inet6: bool) -> IpAddr {
    let found = interface_addresses();
    if let Some((name, address)) = choose(&found, interfaces, || default_route(inet6), inet6) {
        tracing::info!(%address, interface = %name, "address to advertise found");
        return address;
    }
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    tracing::warn!(%address, "no address found that others could reach, advertising loopback");
    address
}

/// The best of `found` (interface and address), or that of the default route.
fn choose<'found>(
    found: &'found [(String, IpAddr)],
    interfaces: &[String],
    default_route: impl FnOnce() -> Option<IpAddr>,
    inet6: bool,
) -> Option<(&'found str, IpAddr)> {
    for (place, wanted) in interfaces.iter().enumerate() {
        let counts = |address| is_usable(address) || place == 0 && may_be_named(address);
        let of_interface = found.iter().filter(|(name, address)| name == wanted && counts(address));
        // IPv6 of a named interface only if it is asked for, as Tempo has it.
        let best = of_interface
            .filter(|(_, address)| inet6 || address.is_ipv4())
            .min_by_key(|(_, address)| rank(address, inet6));
        if let Some((name, address)) = best {
            return Some((name, *address));
        }
    }
    if let Some(address) = default_route().filter(|address| inet6 || address.is_ipv4()) {
        return Some(("of the default route", address));
    }
    let usable = found.iter().filter(|(_, address)| is_usable(address));
    let best = usable.min_by_key(|(_, address)| rank(address, inet6));
    best.map(|(name, address)| (name.as_str(), *address))
}

fn rank(address: &IpAddr, inet6: bool) -> u8 {
    match address {
        IpAddr::V6(_) if inet6 => 0,
        IpAddr::V4(address) if address.is_private() => 1,
        IpAddr::V6(_) => 2,
        IpAddr::V4(_) => 3,
    }
}

/// Whether the address counts where nobody named its interface.
fn is_usable(address: &IpAddr) -> bool {
    !address.is_loopback() && may_be_named(address)
}

/// Whether the address of the interface that is named first can be advertised: loopback too, for a cluster on one host.
fn may_be_named(address: &IpAddr) -> bool {
    if address.is_unspecified() || address.is_multicast() {
        return false;
    }
    match address {
        IpAddr::V4(address) => !address.is_link_local() && !address.is_broadcast(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

/// Nothing is sent: connecting a datagram socket only looks up the route.
fn default_route(inet6: bool) -> Option<IpAddr> {
    let mut routes: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    if inet6 {
        routes.reverse();
    }
    routes.into_iter().find_map(|(local, remote)| {
        let socket = UdpSocket::bind((local, 0)).ok()?;
        socket.connect((remote, 9)).ok()?;
        let address = socket.local_addr().ok()?.ip();
        is_usable(&address).then_some(address)
    })
}

#[cfg(unix)]
fn interface_addresses() -> Vec<(String, IpAddr)> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut found = Vec::new();
    for interface in interfaces {
        let Some(address) = interface.address else { continue };
        if let Some(address) = address.as_sockaddr_in() {
            found.push((interface.interface_name, IpAddr::V4(address.ip())));
        } else if let Some(address) = address.as_sockaddr_in6() {
            found.push((interface.interface_name, IpAddr::V6(address.ip())));
        }
    }
    found
}

#[cfg(not(unix))]
fn interface_addresses() -> Vec<(String, IpAddr)> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &[(&str, &str)], interfaces: &[&str], inet6: bool, expected: Option<&str>) {
        let found: Vec<(String, IpAddr)> =
            found.iter().map(|(name, at)| ((*name).to_owned(), at.parse().unwrap())).collect();
        let interfaces: Vec<String> = interfaces.iter().map(|name| (*name).to_owned()).collect();
        let chosen =
            choose(&found, &interfaces, || None, inet6).map(|(_, address)| address.to_string());
        assert_eq!(chosen.as_deref(), expected);
    }

    #[test]
    fn named_interface_goes_first() {
        check(
            &[("lo", "127.0.0.1"), ("wlan0", "10.0.0.1"), ("eth0", "203.0.113.9")],
            &["eth0", "en0"],
            false,
            Some("203.0.113.9"),
        );
    }

    #[test]
    fn default_route_goes_before_interfaces_that_nobody_named() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let found = [("docker0", "172.17.0.1"), ("ens5", "2001:db8::1"), ("ens5", "10.0.0.4")]
            .map(|(name, address)| (name.to_owned(), at(address)));
        let route = || Some(at("10.0.0.4"));
        let chosen = |interfaces: &[&str]| {
            let names: Vec<_> = interfaces.iter().map(|&name| name.to_owned()).collect();
            choose(&found, &names, route, false).map(|(_, address)| address)
        };
        assert_eq!(chosen(&["eth0", "en0"]), Some(at("10.0.0.4")));
        assert_eq!(chosen(&["docker0"]), Some(at("172.17.0.1")));
    }

    #[test]
    fn without_a_named_interface_private_then_six_then_public_is_taken() {
        let all = [("a", "203.0.113.9"), ("b", "2001:db8::1"), ("c", "192.168.1.4")];
        check(&all, &["eth0"], false, Some("192.168.1.4"));
        check(&all[..2], &["eth0"], false, Some("2001:db8::1"));
        check(&all[..1], &["eth0"], false, Some("203.0.113.9"));
        check(&all, &[], true, Some("2001:db8::1"));
    }

    #[test]
    fn loopback_counts_only_where_it_is_named_first() {
        let all = [("lo", "127.0.0.1"), ("lo", "::1"), ("eth0", "10.0.0.4")];
        check(&all, &["lo", "eth0"], false, Some("127.0.0.1"));
        check(&all, &["lo"], true, Some("::1"));
        check(&all, &["en0"], false, Some("10.0.0.4"));
        check(&all, &["en0", "lo"], false, Some("10.0.0.4"));
        check(&all[..2], &["en0"], false, None);
        check(&[("lo", "169.254.7.7"), ("eth0", "10.0.0.4")], &["lo"], false, Some("10.0.0.4"));
    }

    #[test]
    fn loopback_and_link_local_do_not_count() {
        check(
            &[("lo", "127.0.0.1"), ("eth0", "169.254.7.7"), ("x", "fe80::1")],
            &["eth0"],
            false,
            None,
        );
    }
}
