//! What can be said of a start before anything is opened: `-config.verify`, and ports that others have.

use std::io;

use tactus_config::{Config, Loaded};
use tactus_server::listener;
use tokio::net::UdpSocket;

use crate::{Error, Port, Process, Program, address_of, caches, cluster, process, settings};

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

    /// Whether the port can be had now.
    async fn try_bind(&self) -> io::Result<()> {
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

/// Judges a configuration as a start does, without opening a port, a directory or the bucket.
///
/// Errors: the one that a start would end with.
pub(crate) async fn verify(loaded: &Loaded, program: Program) -> Result<(), Error> {
    let process = Process::quiet(loaded, program.check_limits).await?;
    let config = process.config();
    settings::http("server", &config.server)?;
    settings::grpc(config)?;
    process::bucket_settings(config)?;
    caches::open(config, process.registry())?;
    let checked = (program.check)(&process).await;
    process.end().await;
    checked
}

/// Errors: ports that cannot be had, all of them in one text.
pub(crate) async fn refuse_taken_ports(config: &Config, program: Program) -> Result<(), Error> {
    let mut ports = own_ports(config);
    ports.extend(cluster::ports(config)?);
    ports.extend((program.ports)(config)?);
    let mut refused = Vec::new();
    for port in ports {
        if let Err(error) = port.try_bind().await {
            refused.push(format!("{}: {error}", port.key));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Error::Setup(refused.join("; "))) }
}

/// The ports that every process has.
fn own_ports(config: &Config) -> Vec<PlannedPort> {
    let server = &config.server;
    let mut ports = vec![
        PlannedPort::tcp(
            "server.http_listen_port",
            address_of(&server.http_listen_address, server.http_listen_port),
        ),
        PlannedPort::tcp(
            "server.grpc_listen_port",
            address_of(&server.grpc_listen_address, server.grpc_listen_port),
        ),
    ];
    if let Some((address, port)) = server.internal_grpc() {
        let address = address_of(address, port);
        ports.push(PlannedPort::tcp("server.internal_grpc_listen_port", address));
    }
    if config.internal_server.enable {
        let internal = &config.internal_server.server;
        let address = address_of(&internal.http_listen_address, internal.http_listen_port);
        ports.push(PlannedPort::tcp("internal_server.http_listen_port", address));
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

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
