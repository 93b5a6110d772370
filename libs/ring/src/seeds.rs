//! Addresses of members through which a process joins the cluster.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::error::{Error, Result};
use crate::transport::Network;

/// Where other members may be found: a host (name or address) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    host: String,
    port: u16,
}

impl Seed {
    /// Parses `host:port`, `host` (with the default port), `dns+host:port`.
    ///
    /// Errors: a `dns+` name without a port, `dnssrv+` and `dnssrvnoa+` names (there is no
    /// resolver for SRV records: the operating system has none), anything malformed.
    pub fn parse(text: &str, default_port: u16) -> Result<Self> {
        let text = text.trim();
        for prefix in ["dnssrv+", "dnssrvnoa+"] {
            if text.starts_with(prefix) {
                return Err(Error::Settings(format!(
                    "memberlist.join_members: {text}: SRV records are not resolved, \
                     use dns+name:port"
                )));
            }
        }
        let (rest, needs_port) = match text.strip_prefix("dns+") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let malformed =
            |why: &str| Error::Settings(format!("memberlist.join_members: {text:?}: {why}"));
        let (host, port) = split(rest).ok_or_else(|| malformed("no host:port"))?;
        let port = match port {
            Some(port) => port.parse().map_err(|_| malformed("no such port"))?,
            None if needs_port => return Err(malformed("a port is needed with dns+")),
            None => default_port,
        };
        // A trailing dot marks a full name; not every resolver takes it.
        let host = host.trim_end_matches('.');
        if host.is_empty() {
            return Err(malformed("no host"));
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// All addresses of the host, as of now; none if it does not resolve.
    pub(crate) async fn resolve(&self, network: &dyn Network) -> Vec<SocketAddr> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return vec![SocketAddr::new(address, self.port)];
        }
        match network.resolve(&self.host, self.port).await {
            Ok(addresses) => addresses,
            Err(error) => {
                // Normal in Kubernetes until the first pod of a service is up.
                tracing::debug!(host = %self.host, %error, "member to join does not resolve yet");
                Vec::new()
            }
        }
    }
}

/// Addresses of all seeds, as of now.
pub(crate) async fn resolve_all(seeds: &[Seed], network: &dyn Network) -> BTreeSet<SocketAddr> {
    let mut addresses = BTreeSet::new();
    for seed in seeds {
        addresses.extend(seed.resolve(network).await);
    }
    addresses
}

/// Host and port; the brackets of an IPv6 address are taken off.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, u16)>) {
        let parsed = Seed::parse(text, 7946).ok();
        assert_eq!(parsed, expected.map(|(host, port)| Seed { host: host.to_owned(), port }));
    }

    #[test]
    fn seeds_are_parsed() {
        check("10.0.0.1:7000", Some(("10.0.0.1", 7000)));
        check("gossip-ring", Some(("gossip-ring", 7946)));
        check(
            "dns+gossip-ring.ns.svc.cluster.local.:7946",
            Some(("gossip-ring.ns.svc.cluster.local", 7946)),
        );
        check("[::1]:7", Some(("::1", 7)));
        check("::1", Some(("::1", 7946)));
        check("[::1]", Some(("::1", 7946)));
        check("dns+name", None);
        check("name:port", None);
        check(":7946", None);
        check("", None);
    }

    #[test]
    fn srv_names_are_refused_by_name() {
        let error = Seed::parse("dnssrv+_gossip._tcp.x", 1).unwrap_err().to_string();
        assert!(error.contains("dnssrv+_gossip._tcp.x: SRV records are not resolved"));
        assert!(Seed::parse("dnssrvnoa+x", 1).is_err());
    }
}
