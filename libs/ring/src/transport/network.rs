//! The network below the gossip, so that a simulation can take its place.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A stream of bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection.
pub type Connection = Box<dyn Stream>;

/// Connects, listens and resolves names.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Connects to `address`; the caller limits the time.
    async fn connect(&self, address: SocketAddr) -> io::Result<Connection>;

    /// Listens on `address`; port 0 takes a free one. `[::]` is every address of both families.
    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// All addresses of `host:port`.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// The targets of the SRV records of a name, as `host:port`.
    async fn resolve_srv(&self, name: &str) -> io::Result<Vec<String>> {
        tactus_dns::lookup_srv(name).await
    }
}

/// A port that is listened on, until dropped.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// The next connection and where it comes from. Cancel safe.
    async fn accept(&self) -> io::Result<(Connection, SocketAddr)>;

    /// Where it listens.
    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// TCP and the resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

#[async_trait]
impl Network for Tcp {
    async fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let listener = match TcpListener::bind(address).await {
            // Kernels without IPv6.
            Err(error)
                if address.ip() == Ipv6Addr::UNSPECIFIED
                    && error.kind() != io::ErrorKind::AddrInUse =>
            {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?
            }
            bound => bound?,
        };
        Ok(Box::new(listener))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&self) -> io::Result<(Connection, SocketAddr)> {
        let (stream, from) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        // On `[::]`, IPv4 addresses come as IPv6 ones.
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        Ok((Box::new(stream), from))
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}
