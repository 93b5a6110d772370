//! One port: where it is, and how it comes to listen.

use std::io;
use std::net::SocketAddr;

use tactus_process::{Error, ShownAddresses};
use tactus_server::listener::{self, ListenerSettings};
use tokio::net::TcpListener;

/// Where a port is to listen, and with which limits.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// For people, in the log.
    pub(crate) name: &'static str,
    /// Its section of the configuration.
    pub(crate) key: &'static str,
    /// `host:port`; an empty host means all interfaces.
    pub(crate) address: String,
    /// Whether the configuration names the address. If not, the port may be another's.
    pub(crate) is_set: bool,
    /// Connections.
    pub(crate) listener: ListenerSettings,
}

impl Port {
    /// The socket; `None`: the address was not asked for, and is another's. Errors: it cannot be bound.
    pub(super) async fn bind(&self) -> Result<Option<TcpListener>, Error> {
        let key = self.key;
        match listener::bind(&self.address).await {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if !self.is_set && error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!(
                    address = self.address,
                    key,
                    "{} is off: the port is in use",
                    self.name
                );
                Ok(None)
            }
            Err(error) => Err(Error::Setup(format!("{key}.endpoint: {error}"))),
        }
    }

    /// Tells people where the port listens.
    pub(super) fn note(&self, address: SocketAddr, addresses: &ShownAddresses) {
        tracing::info!(%address, "{} listens", self.name);
        addresses.note(self.name, address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn taken_port_is_an_error_only_if_it_is_asked_for() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap().to_string();
        let listener = ListenerSettings::default();
        let mut port =
            Port { name: "Jaeger query HTTP", key: "a.b", address, is_set: false, listener };
        assert!(port.bind().await.unwrap().is_none());
        port.is_set = true;
        let text = port.bind().await.unwrap_err().to_string();
        assert!(text.starts_with("a.b.endpoint: listen on 127.0.0.1:"), "{text}");
        port.is_set = false;
        "256.0.0.1:1".clone_into(&mut port.address);
        assert!(port.bind().await.is_err());
    }
}
