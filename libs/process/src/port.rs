//! Plans, opens and lists ports that a configuration names, moves or turns off.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tactus_config::sections::receivers::PortTls;
use tactus_config::sections::server::Server;
use tactus_server::listener::{self, ListenerSettings};
use tactus_tls::{ALPN_GRPC, ALPN_HTTP, ServerTls, ServerTlsSettings, from_config};
use tokio::net::{TcpListener, UdpSocket};

use crate::Error;

/// A port that is on.
///
/// Many ports listen where clients look for them without anyone asking for it. Then another program may serve those
/// clients already: only a port whose address is set keeps a process from starting.
#[derive(Debug, Clone)]
pub struct Port {
    /// For people, in the log.
    pub name: &'static str,
    /// Its section of the configuration, with `endpoint` in it.
    pub key: &'static str,
    /// `host:port`; an empty host means all interfaces.
    pub address: String,
    /// Whether the configuration names the address. If not, the port may be another's.
    pub is_set: bool,
    /// Connections.
    pub listener: ListenerSettings,
}

impl Port {
    /// The port at `endpoint`, as the configuration has it, or where it usually is if that says nothing. `None`: the
    /// endpoint is empty, or there is no usual place.
    pub fn new(
        (name, key): (&'static str, &'static str),
        endpoint: Option<&str>,
        usual: Option<String>,
    ) -> Option<Self> {
        let is_set = endpoint.is_some();
        let address = endpoint.map(str::to_owned).or(usual);
        let address = address.filter(|address| !address.is_empty())?;
        Some(Self { name, key, address, is_set, listener: ListenerSettings::default() })
    }

    /// With the TLS of its section or, without one, that of the server's HTTP port. Errors: certificates; the text names
    /// the setting.
    pub fn with_http_tls(self, tls: Option<&PortTls>, server: &Server) -> Result<Self, Error> {
        self.with_tls(tls, &ALPN_HTTP, || from_config::http_server("server", server))
    }

    /// As [`with_http_tls`](Self::with_http_tls), of the server's gRPC port.
    pub fn with_grpc_tls(self, tls: Option<&PortTls>, server: &Server) -> Result<Self, Error> {
        self.with_tls(tls, &ALPN_GRPC, || from_config::grpc_server("server", server))
    }

    fn with_tls(
        mut self,
        tls: Option<&PortTls>,
        alpn: &[&str],
        of_server: impl FnOnce() -> Result<Option<ServerTlsSettings>, tactus_tls::Error>,
    ) -> Result<Self, Error> {
        let settings = match tls {
            // What the server's port refuses, this one must not answer in clear.
            None => of_server()?,
            Some(tls) if tls.is_plain() => None,
            Some(tls) => Some(from_config::receiver(&format!("{}.tls", self.key), &tls.own, alpn)?),
        };
        self.listener.tls = settings.map(ServerTls::load).transpose()?;
        Ok(self)
    }

    /// The socket; `None`: the address was not asked for, and is another's. Errors: it cannot be bound.
    pub async fn bind(&self) -> Result<Option<TcpListener>, Error> {
        match listener::bind(&self.address).await {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if !self.is_set && error.kind() == io::ErrorKind::AddrInUse => {
                let (address, key, name) = (&self.address, self.key, self.name);
                tracing::warn!(address, key, "{name} is off: the port is in use");
                Ok(None)
            }
            Err(error) => Err(Error::Setup(format!("{}.endpoint: {error}", self.key))),
        }
    }

    /// Tells people where the port listens.
    pub fn note(&self, address: SocketAddr, addresses: &ShownAddresses) {
        tracing::info!(%address, "{} listens", self.name);
        addresses.note(self.name, address);
    }
}

/// A port that a process is going to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPort {
    /// Its setting.
    pub key: String,
    /// `host:port`; an empty host means all interfaces.
    pub address: String,
    /// UDP; else TCP.
    pub is_udp: bool,
}

impl PlannedPort {
    /// A TCP port.
    pub fn tcp(key: impl Into<String>, address: impl Into<String>) -> Self {
        Self { key: key.into(), address: address.into(), is_udp: false }
    }

    /// A port that a process cannot do without; `None` for one that it opens only if it is free.
    pub fn of(port: &Port) -> Option<Self> {
        port.is_set.then(|| Self::tcp(format!("{}.endpoint", port.key), &port.address))
    }

    /// What is wrong with the text of the address; whether there is such a host, only a start can tell.
    pub(crate) fn mistake(&self) -> Option<String> {
        let address = &self.address;
        let is_address = address.rsplit_once(':').is_some_and(|(host, port)| {
            let is_host = match host.strip_prefix('[') {
                Some(rest) => rest.ends_with(']'),
                None => !host.contains([':', '/', ' ']),
            };
            is_host && port.parse::<u16>().is_ok()
        });
        let key = &self.key;
        (!is_address).then(|| {
            format!("{key}: {address:?} is not an address: write host:port, such as 0.0.0.0:4317 or [::1]:4317")
        })
    }

    /// True if only one of both can be had: the same port, of the same address or of all.
    pub(crate) fn collides_with(&self, other: &Self) -> bool {
        let (Some((host, port)), Some((other_host, other_port))) =
            (self.address.rsplit_once(':'), other.address.rsplit_once(':'))
        else {
            return false;
        };
        let is_fixed = port.parse::<u16>().is_ok_and(|port| port != 0);
        let covers = |one: &str, another: &str| {
            one == another
                || matches!(one, "" | "[::]")
                || (one == "0.0.0.0" && !another.starts_with('['))
        };
        let is_same_host = covers(host, other_host) || covers(other_host, host);
        // A setting may name several addresses.
        let may_collide = self.is_udp == other.is_udp && self.key != other.key;
        may_collide && is_fixed && port == other_port && is_same_host
    }

    /// Whether the port can be had now.
    pub(crate) async fn try_bind(&self) -> io::Result<()> {
        if !self.is_udp {
            return listener::bind(&self.address).await.map(drop);
        }
        let bind = |address: String| async move { UdpSocket::bind(address).await.map(drop) };
        let result = match self.address.strip_prefix(':') {
            None => bind(self.address.clone()).await,
            Some(port) => match bind(format!("[::]:{port}")).await {
                // Kernels without IPv6.
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    bind(format!("0.0.0.0:{port}")).await
                }
                result => result,
            },
        };
        result.map_err(|error| {
            io::Error::new(error.kind(), format!("listen on {}: {error}", self.address))
        })
    }
}

/// Names and addresses of ports. Clones are of the same list.
#[derive(Debug, Clone, Default)]
pub struct ShownAddresses(Arc<Mutex<Vec<(&'static str, SocketAddr)>>>);

impl ShownAddresses {
    /// Notes where a port listens.
    pub fn note(&self, name: &'static str, address: SocketAddr) {
        self.0.lock().push((name, address));
    }

    pub(crate) fn find(&self, wanted: &str) -> Option<String> {
        let addresses = self.0.lock();
        let found = addresses.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, address)| address.to_string())
    }
}

/// `host:port` as addresses are written; `host` may be empty or of IPv6.
pub fn address_of(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: (&str, &str) = ("Sampling HTTP", "a.b");

    fn place(endpoint: Option<&str>, usual: Option<&str>) -> Option<(String, bool)> {
        let port = Port::new(NAMES, endpoint, usual.map(str::to_owned))?;
        Some((port.address, port.is_set))
    }

    #[test]
    fn set_address_wins_and_an_empty_one_turns_the_port_off() {
        assert_eq!(place(None, Some(":1")), Some((":1".to_owned(), false)));
        assert_eq!(place(Some("h:2"), Some(":1")), Some(("h:2".to_owned(), true)));
        assert_eq!(place(Some("h:2"), None), Some(("h:2".to_owned(), true)));
        assert_eq!(place(Some(""), Some(":1")), None);
        assert_eq!(place(None, None), None);
    }

    #[test]
    fn hosts_of_ipv6_are_put_in_brackets() {
        let hosts = ["", "localhost", "127.0.0.1", "::1"];
        let expected = [":7", "localhost:7", "127.0.0.1:7", "[::1]:7"];
        assert_eq!(hosts.map(|host| address_of(host, 7)), expected);
    }

    #[test]
    fn tls_is_that_of_the_section_or_of_the_server_unless_plain_text_is_wanted() {
        let yaml = "server:
  http_tls_config: {cert_file: /none, key_file: /none}
  grpc_tls_config: {cert_file: /none, key_file: /none}
";
        let with_tls = tactus_config::from_yaml(yaml).unwrap().server;
        let port = || Port::new(NAMES, Some(":0"), None).unwrap();
        let http = |tls: Option<&PortTls>, server: &Server| {
            let port = port().with_http_tls(tls, server);
            port.map(|port| assert!(port.listener.tls.is_none()))
                .map_err(|error| tactus_telemetry::error_text(&error))
        };
        assert_eq!(http(None, &Server::default()), Ok(()));
        let of_server = http(None, &with_tls).unwrap_err();
        assert!(of_server.contains("server.http_tls_config.cert_file: /none"), "{of_server}");
        let error = port().with_grpc_tls(None, &with_tls).unwrap_err();
        let of_server = tactus_telemetry::error_text(&error);
        assert!(of_server.contains("server.grpc_tls_config.cert_file: /none"), "{of_server}");
        let mut tls = PortTls { insecure: true, ..PortTls::default() };
        assert_eq!(http(Some(&tls), &with_tls), Ok(()));
        tls.own.cert_file = "/none".to_owned();
        let without_key = http(Some(&tls), &with_tls).unwrap_err();
        assert!(without_key.contains("a.b.tls: TLS needs both"), "{without_key}");
        tls = PortTls::default();
        let empty = http(Some(&tls), &with_tls).unwrap_err();
        assert!(empty.contains("a.b.tls: TLS needs both"), "{empty}");
    }

    #[test]
    fn settings_cannot_share_a_port() {
        let collide = |one: &str, other: &str| {
            let (one, other) = (PlannedPort::tcp("a", one), PlannedPort::tcp("b", other));
            assert_eq!(one.collides_with(&other), other.collides_with(&one));
            one.collides_with(&other)
        };
        for (one, other) in [
            (":80", ":80"),
            (":80", "127.0.0.1:80"),
            ("[::]:80", "0.0.0.0:80"),
            ("0.0.0.0:80", "localhost:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert!(collide(one, other), "{one} {other}");
        }
        for (one, other) in [
            (":80", ":81"),
            (":0", ":0"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("127.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert!(!collide(one, other), "{one} {other}");
        }
        let udp = PlannedPort { is_udp: true, ..PlannedPort::tcp("b", ":80") };
        assert!(!PlannedPort::tcp("a", ":80").collides_with(&udp));
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let mistake = |address: &str| PlannedPort::tcp("a.endpoint", address).mistake();
        for address in
            [":4317", "0.0.0.0:4317", "localhost:0", "[::1]:4317", "[::]:1", "host-1.x:65535"]
        {
            assert_eq!(mistake(address), None);
        }
        for address in
            ["4317", "localhost", "http://localhost:4317", "::1:4317", ":65536", "a:b", ""]
        {
            let text = mistake(address).unwrap_or_default();
            assert!(
                text.starts_with(&format!("a.endpoint: {address:?} is not an address")),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn taken_port_is_an_error_only_if_it_is_asked_for() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap().to_string();
        let usual = Port::new(NAMES, None, Some(address.clone())).unwrap();
        assert!(usual.bind().await.unwrap().is_none());
        let set = Port::new(NAMES, Some(&address), None).unwrap();
        let text = set.bind().await.unwrap_err().to_string();
        assert!(text.starts_with("a.b.endpoint: listen on 127.0.0.1:"), "{text}");
        // Not in use, but no address of ours.
        let wrong = Port::new(NAMES, None, Some("256.0.0.1:1".to_owned())).unwrap();
        assert!(wrong.bind().await.is_err());
    }

    #[tokio::test]
    async fn port_that_listens_is_shown() {
        let port = Port::new(NAMES, Some("127.0.0.1:0"), None).unwrap();
        let address = port.bind().await.unwrap().unwrap().local_addr().unwrap();
        let addresses = ShownAddresses::default();
        port.note(address, &addresses);
        assert_eq!(addresses.find("Sampling HTTP"), Some(address.to_string()));
    }

    #[tokio::test]
    async fn port_that_another_has_is_refused_with_its_address() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (tcp, udp_address) = (tcp, udp.local_addr().unwrap().to_string());
        let address = tcp.local_addr().unwrap().to_string();
        for (port, taken) in [
            (PlannedPort::tcp("a", &address), true),
            (PlannedPort { is_udp: true, ..PlannedPort::tcp("a", &udp_address) }, true),
            (PlannedPort::tcp("a", "127.0.0.1:0"), false),
            (PlannedPort { is_udp: true, ..PlannedPort::tcp("a", ":0") }, false),
            (PlannedPort::tcp("a", "256.0.0.1:1"), true),
        ] {
            let result = port.try_bind().await;
            assert_eq!(result.is_err(), taken, "{port:?}");
            if let Err(error) = result {
                assert!(error.to_string().starts_with(&format!("listen on {}", port.address)));
            }
        }
    }

    #[test]
    fn ports_that_are_opened_only_if_free_are_not_planned() {
        let port = |endpoint| Port::new(("A", "a.b"), endpoint, Some(":1".to_owned())).unwrap();
        assert_eq!(PlannedPort::of(&port(None)), None);
        assert_eq!(
            PlannedPort::of(&port(Some("h:2"))),
            Some(PlannedPort::tcp("a.b.endpoint", "h:2"))
        );
    }
}
