//! Addresses of members through which a process joins the cluster.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::error::{Error, Result};
use crate::transport::Network;

/// Of an answer with more SRV records the others are left: each takes a look-up of its own.
const MAX_TARGETS: usize = 256;

/// Where other members may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// A host (name or address) and a port.
    Host(String, u16),
    /// The name of SRV records, and the port if it is not that of the records.
    Srv(String, Option<u16>),
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Srv(name, None) => write!(f, "dnssrv+{name}"),
            Self::Srv(name, Some(port)) => write!(f, "dnssrv+{name}:{port}"),
        }
    }
}

impl Seed {
    /// Parses `host:port`, `host` (with the default port), `dns+host:port`, `dnssrv+name` and `dnssrvnoa+name`, which mean
    /// the same here.
    ///
    /// Errors: a `dns+` name without a port, anything malformed.
    pub fn parse(text: &str, default_port: u16) -> Result<Self> {
        let text = text.trim();
        let (form, rest) = text.split_once('+').unwrap_or(("", text));
        let malformed =
            |why: &str| Error::Settings(format!("memberlist.join_members: {text:?}: {why}"));
        let (host, port) = split(rest).ok_or_else(|| malformed("no host:port"))?;
        let port = port.map(str::parse).transpose().map_err(|_| malformed("no such port"))?;
        // A trailing dot marks a full name; not every resolver takes it.
        let full = host.trim_end_matches('.');
        if full.is_empty() {
            return Err(malformed("no host"));
        }
        match (form, port) {
            ("dnssrv" | "dnssrvnoa", port) => Ok(Self::Srv(host.to_owned(), port)),
            ("dns", None) => Err(malformed("a port is needed with dns+")),
            ("" | "dns", port) => Ok(Self::Host(full.to_owned(), port.unwrap_or(default_port))),
            _ => Err(malformed("expecting dns+, dnssrv+ or dnssrvnoa+ before +")),
        }
    }

    /// All addresses, as of now; none if it does not resolve.
    pub(crate) async fn resolve(&self, network: &dyn Network) -> Vec<SocketAddr> {
        match self {
            Self::Host(host, port) => addresses(host, *port, network).await,
            Self::Srv(name, port) => {
                let targets = network.resolve_srv(name).await;
                let targets = targets.unwrap_or_else(|error| unresolved(name, &error));
                let mut found = Vec::new();
                for target in targets.iter().take(MAX_TARGETS) {
                    let Some((host, its_port)) = target.rsplit_once(':') else { continue };
                    let Some(port) = port.or_else(|| its_port.parse().ok()) else { continue };
                    found.extend(addresses(host, port, network).await);
                }
                found
            }
        }
    }
}

async fn addresses(host: &str, port: u16, network: &dyn Network) -> Vec<SocketAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return vec![SocketAddr::new(address, port)];
    }
    network.resolve(host, port).await.unwrap_or_else(|error| unresolved(host, &error))
}

/// Normal in Kubernetes until the first pod of a service is up.
fn unresolved<T>(name: &str, error: &io::Error) -> Vec<T> {
    tracing::debug!(name, %error, "member to join does not resolve yet");
    Vec::new()
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
    use async_trait::async_trait;

    use super::*;
    use crate::transport::{Connection, Listener};

    fn check(text: &str, expected: Option<(&str, u16)>) {
        let parsed = Seed::parse(text, 7946).ok();
        assert_eq!(parsed, expected.map(|(host, port)| Seed::Host(host.to_owned(), port)));
        let shown = parsed.as_ref().map(ToString::to_string);
        assert_eq!(shown.and_then(|text| Seed::parse(&text, 1).ok()), parsed, "as it is shown");
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
    fn srv_names_are_parsed() {
        let parsed = |text| Seed::parse(text, 7946).ok();
        let srv = |name: &str, port| Some(Seed::Srv(name.to_owned(), port));
        assert_eq!(parsed("dnssrv+_gossip._tcp.x.svc."), srv("_gossip._tcp.x.svc.", None));
        assert_eq!(parsed("dnssrvnoa+_gossip._tcp.x:7000"), srv("_gossip._tcp.x", Some(7000)));
        for seed in ["dnssrv+_gossip._tcp.x.svc.", "dnssrv+_gossip._tcp.x:7000"] {
            assert_eq!(parsed(seed).unwrap().to_string(), seed);
        }
        assert_eq!(parsed("dnssrv+"), None);
        assert_eq!(parsed("srv+x:1"), None);
    }

    struct Names;

    #[async_trait]
    impl Network for Names {
        async fn connect(&self, _: SocketAddr) -> io::Result<Connection> {
            Err(io::ErrorKind::Unsupported.into())
        }

        async fn listen(&self, _: SocketAddr) -> io::Result<Box<dyn Listener>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            match host {
                "a.x" => Ok(vec![([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], port).into()]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        async fn resolve_srv(&self, name: &str) -> io::Result<Vec<String>> {
            match name {
                "_g._tcp.x" => {
                    Ok(["a.x:7000", "gone.x:7000", "10.0.0.9:7001"].map(str::to_owned).to_vec())
                }
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    #[tokio::test]
    async fn srv_names_have_the_addresses_of_all_targets() {
        for (seed, expected) in [
            ("dnssrv+_g._tcp.x", &["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.9:7001"][..]),
            ("dnssrvnoa+_g._tcp.x:7", &["10.0.0.1:7", "10.0.0.2:7", "10.0.0.9:7"]),
            ("dnssrv+_g._tcp.gone", &[]),
        ] {
            let found = resolve_all(&[Seed::parse(seed, 7946).unwrap()], &Names).await;
            let found: Vec<_> = found.iter().map(SocketAddr::to_string).collect();
            assert_eq!(found, expected, "{seed}");
        }
    }
}
