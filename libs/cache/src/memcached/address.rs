//! The addresses of memcached servers.

use std::io;

use tokio::net::lookup_host;

use crate::store::{Error, Result};

/// The port when an address has none.
const DEFAULT_PORT: u16 = 11211;

/// One or more servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    /// `host:port`: one server, however many addresses the name has.
    Host(String),
    /// `dns+host:port`: a server for each address of the host.
    Dns(String),
    /// `dnssrv+name`: the servers of an SRV record; each address is one.
    Srv(String),
    /// `dnssrvnoa+name`: the same by name.
    SrvNames(String),
}

impl ServerAddress {
    /// Parses one address. Errors: it is empty or a URL, or its port is not a number.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        refuse_url(text)?;
        let (form, rest) = text.split_once('+').unwrap_or(("", text));
        let invalid = || Error::Invalid(format!("memcached: {text:?} is no address of a server"));
        if rest.is_empty() || rest.contains(char::is_whitespace) {
            return Err(invalid());
        }
        match form {
            "" => Ok(Self::Host(with_port(rest).ok_or_else(invalid)?)),
            "dns" => Ok(Self::Dns(with_port(rest).ok_or_else(invalid)?)),
            "dnssrv" => Ok(Self::Srv(rest.to_owned())),
            "dnssrvnoa" => Ok(Self::SrvNames(rest.to_owned())),
            _ => Err(invalid()),
        }
    }

    /// The servers behind a service's port name: an SRV record `_service._tcp.host`.
    pub(crate) fn of_service(host: &str, service: &str) -> Self {
        Self::Srv(format!("_{service}._tcp.{host}"))
    }

    /// The host or name without the prefix that says how it is looked up.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Host(name) | Self::Dns(name) | Self::Srv(name) | Self::SrvNames(name) => name,
        }
    }

    /// Host or IP address and port of each server. Errors: a name cannot be looked up.
    pub(super) async fn resolve(&self) -> Result<Vec<String>> {
        match self {
            Self::Host(address) => Ok(vec![address.clone()]),
            Self::Dns(address) => addresses(address).await,
            Self::SrvNames(name) => Ok(srv_names(name).await?),
            Self::Srv(name) => {
                let mut all = Vec::new();
                for target in srv_names(name).await? {
                    all.append(&mut addresses(&target).await?);
                }
                Ok(all)
            }
        }
    }
}

/// Errors: the text is a URL, or has a user. It is not repeated, because it may have a password.
pub(super) fn refuse_url(text: &str) -> Result<()> {
    if text.contains("//") || text.contains('@') {
        let reason = "memcached: a server is host:port, not a URL: there are no users, and TLS is by tls_enabled";
        return Err(Error::Invalid(reason.to_owned()));
    }
    Ok(())
}

/// `text` with a port; `None` if its port is invalid.
fn with_port(text: &str) -> Option<String> {
    let colons = text.matches(':').count();
    match text.rsplit_once(':') {
        // An IPv6 address needs brackets once a port follows.
        Some(_) if colons > 1 && !text.starts_with('[') => Some(format!("[{text}]:{DEFAULT_PORT}")),
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
            port.parse::<u16>().ok().filter(|port| *port > 0).map(|_| text.to_owned())
        }
        Some((_, port)) if port.ends_with(']') => Some(format!("{text}:{DEFAULT_PORT}")),
        Some(_) => None,
        None => Some(format!("{text}:{DEFAULT_PORT}")),
    }
}

async fn addresses(address: &str) -> Result<Vec<String>> {
    let named = |error: io::Error| io::Error::other(format!("{address}: {error}"));
    let found = lookup_host(address).await.map_err(named)?;
    Ok(found.map(|found| found.to_string()).collect())
}

async fn srv_names(name: &str) -> io::Result<Vec<String>> {
    let named = |error: io::Error| io::Error::other(format!("{name}: {error}"));
    tactus_dns::lookup_srv(name).await.map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_forms() {
        use ServerAddress::{Dns, Host, Srv, SrvNames};
        for (text, expected) in [
            ("m:11211", Some(Host("m:11211".to_owned()))),
            (" m ", Some(Host("m:11211".to_owned()))),
            ("10.0.0.1:7", Some(Host("10.0.0.1:7".to_owned()))),
            ("[::1]:7", Some(Host("[::1]:7".to_owned()))),
            ("[::1]", Some(Host("[::1]:11211".to_owned()))),
            ("::1", Some(Host("[::1]:11211".to_owned()))),
            ("dns+m.ns.svc:9", Some(Dns("m.ns.svc:9".to_owned()))),
            ("dnssrv+_c._tcp.m", Some(Srv("_c._tcp.m".to_owned()))),
            ("dnssrvnoa+_c._tcp.m", Some(SrvNames("_c._tcp.m".to_owned()))),
            ("", None),
            ("dns+", None),
            ("m:port", None),
            ("m:0", None),
            (":1", None),
            ("a b:1", None),
            ("http+m:1", None),
            ("memcached://m:1", None),
            ("memcached://u:p@m:1", None),
            ("dns+//m:1", None),
            ("u:p@m:1", None),
        ] {
            assert_eq!(ServerAddress::parse(text).ok(), expected, "{text}");
        }
        let service = ServerAddress::of_service("t-memcached", "memcached-client");
        assert_eq!(service, Srv("_memcached-client._tcp.t-memcached".to_owned()));
    }

    #[test]
    fn password_in_an_address_is_not_repeated() {
        for text in ["memcached://u:hunter2@m:1", "u:hunter2@m", "memcached://u:hunter2"] {
            let error = ServerAddress::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("tls_enabled"), "{error}");
        }
    }

    #[tokio::test]
    async fn names_become_addresses() {
        let found = ServerAddress::Dns("localhost:7".to_owned()).resolve().await.unwrap();
        assert!(found.iter().any(|found| found == "127.0.0.1:7"), "{found:?}");
        let found = ServerAddress::Host("anything:7".to_owned()).resolve().await.unwrap();
        assert_eq!(found, ["anything:7"]);
    }
}
