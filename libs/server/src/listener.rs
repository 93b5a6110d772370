//! The accept loop for HTTP/1.1 and HTTP/2, with or without TLS, and its orderly shutdown.
//!
//! On shutdown the socket stops accepting, every connection finishes the requests that it has begun (HTTP/2 clients get
//! GOAWAY), and connections that are still open after the drain timeout are cut.
//!
//! Without a request in flight, a connection may take only little memory, and only for a limited time. The time limits
//! of [`ListenerSettings`] apply to the handshake, to the head of a request, to a client that does not read its
//! response, and to an idle connection.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use hyper::service::Service;
use tactus_tls::ServerTls;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod activity;
mod backlog;
mod connection;
mod frames;
mod lenient;
mod linger;
mod places;
mod proxy;
mod socket;
mod watched;
mod windows;
mod wrong_protocol;

pub use backlog::Backlog;
use connection::Connections;
pub use linger::{Linger, ReceivedBody};
use places::{Place, Places};
pub use wrong_protocol::Advice;

/// Connections that the kernel keeps until they are accepted, if `net.core.somaxconn` allows as many.
const WAITING_CONNECTIONS: u32 = 4096;

/// Pause after a failed accept: out of file descriptors heals only when connections end.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// The HTTP versions of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only, of gRPC. Requests of HTTP/1.1 get 400 and the port's [`Advice`].
    Http2,
    /// Both, told apart by the first bytes of a connection.
    Both,
}

/// The settings of a port for its connections.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// HTTP versions of the port.
    pub protocols: Protocols,
    /// Whether calls of gRPC are for the service: if not, they get UNIMPLEMENTED and the port's [`Advice`].
    pub has_grpc: bool,
    /// The advice for clients that speak another protocol.
    pub advice: Advice,
    /// TLS; `None`: in clear.
    pub tls: Option<Arc<ServerTls>>,
    /// Whether connections may start with a PROXY header (version 1 or 2) of a load balancer.
    pub proxy_protocol: bool,
    /// Longest time for the PROXY header and the TLS handshake together.
    pub handshake_timeout: Duration,
    /// Most connections at once; further ones wait in the accept queue. 0: unlimited.
    pub max_connections: usize,
    /// After a shutdown began, requests in flight may take this long.
    pub drain_timeout: Duration,
    /// Longest time for the first bytes of a connection, and for each request head.
    pub header_timeout: Option<Duration>,
    /// Longest time without a request in flight.
    pub idle_timeout: Option<Duration>,
    /// Longest time without a byte sent while a response waits for it; not for responses of gRPC.
    pub write_timeout: Option<Duration>,
    /// Age after which a connection is told to go away, so that clients spread over new servers.
    /// Each connection gets a tenth more or less, so that not all come back at once.
    pub max_connection_age: Option<Duration>,
    /// Time that requests get after `max_connection_age`; `None`: no limit.
    pub max_connection_age_grace: Option<Duration>,
    /// Largest request head, in bytes, path and query included. At least 8 KiB.
    pub max_head_bytes: usize,
    /// Most header lines of a request (HTTP/1.1; HTTP/2 has only the bound in bytes).
    pub max_headers: usize,
    /// How much is read of a request of HTTP/1.1 after its answer.
    pub linger: Linger,
    /// Bound of what connections hold besides requests, and of what clients of HTTP/2 may send ahead; of several ports together.
    pub backlog: Arc<Backlog>,
    /// Settings of HTTP/2 connections.
    pub http2: Http2Settings,
}

/// HTTP/2 limits and flow control.
#[derive(Debug, Clone)]
pub struct Http2Settings {
    /// Most concurrent requests of one connection; `None`: unlimited.
    pub max_concurrent_streams: Option<u32>,
    /// Interval of pings to an idle client; `None`: no pings.
    pub keepalive_interval: Option<Duration>,
    /// If a ping stays unanswered for this long, the connection is closed.
    pub keepalive_timeout: Duration,
    /// Bytes a client may send ahead on one request; less where there are many connections.
    pub stream_window: u32,
    /// Bytes a client may send ahead on one connection: the bound of unread data in memory. Less where there are many.
    pub connection_window: u32,
    /// Largest frame that a client may send, in bytes: from 16 KiB, which every client keeps to, to 16 MiB. Less of them, and
    /// less calls of the system, carry large messages.
    pub max_frame_bytes: u32,
    /// Requests that a client may open and reset before we looked at them; more end the connection.
    pub max_pending_resets: usize,
    /// Requests that we may have to reset for errors of the client; more end the connection.
    pub max_error_resets: usize,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            protocols: Protocols::Both,
            has_grpc: true,
            advice: Advice::default(),
            tls: None,
            proxy_protocol: false,
            handshake_timeout: Duration::from_secs(10),
            max_connections: 0,
            drain_timeout: Duration::from_secs(30),
            header_timeout: Some(Duration::from_secs(30)),
            idle_timeout: None,
            write_timeout: None,
            max_connection_age: None,
            max_connection_age_grace: None,
            max_head_bytes: 128 << 10,
            max_headers: 100,
            linger: Linger::default(),
            backlog: Backlog::of_process(),
            http2: Http2Settings::default(),
        }
    }
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: Some(100),
            keepalive_interval: Some(Duration::from_secs(2 * 60 * 60)),
            keepalive_timeout: Duration::from_secs(20),
            stream_window: 1 << 20,
            connection_window: 4 << 20,
            max_frame_bytes: 16 << 10,
            max_pending_resets: 20,
            max_error_resets: 200,
        }
    }
}

/// Information on the connection of a request, in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The client's address: the one of the PROXY header if there is one.
    pub client: SocketAddr,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Whether the client showed a certificate that our authorities signed.
    pub has_verified_certificate: bool,
}

/// Tells a request that its connection takes no further ones: because of its age, or because the port closes. In the
/// extensions of every request. Those that would last as long as their connection end then.
#[derive(Debug, Clone, Default)]
pub struct Leaving(CancellationToken);

impl Leaving {
    /// Returns when the connection is to end.
    pub fn begun(self) -> impl Future<Output = ()> + Send + 'static {
        self.0.cancelled_owned()
    }
}

/// A port that serves until its shutdown token is cancelled.
///
/// Dropping it does not stop the port.
#[derive(Debug)]
pub struct BoundListener {
    local_addr: SocketAddr,
    task: JoinHandle<()>,
}

impl BoundListener {
    /// A port that `task` serves; of use for those that are not HTTP.
    pub fn of_task(local_addr: SocketAddr, task: JoinHandle<()>) -> Self {
        Self { local_addr, task }
    }

    /// The address really bound: of interest when port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Waits until the port is closed and its connections have ended or were cut.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            tracing::error!(address = %self.local_addr, "listener task panicked");
        }
    }
}

/// Binds `host:port`. An empty host means all interfaces, IPv6 and IPv4.
///
/// Errors: those of name resolution and of `bind`; the message names the address.
pub async fn bind(address: &str) -> io::Result<TcpListener> {
    let with_address =
        |error: io::Error| io::Error::new(error.kind(), format!("listen on {address}: {error}"));
    if let Some(port) = address.strip_prefix(':') {
        return match listen(&format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            // Kernels without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                listen(&format!("0.0.0.0:{port}")).await.map_err(with_address)
            }
            Err(error) => Err(with_address(error)),
        };
    }
    listen(address).await.map_err(with_address)
}

/// As [`TcpListener::bind`], with more room for connections that come at once.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in lookup_host(address).await? {
        let listen = || {
            let socket =
                if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(WAITING_CONNECTIONS)
        };
        match listen() {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Serves `service` on a bound socket until `shutdown` is cancelled, in a task of its own.
///
/// Requests carry a [`ConnectionInfo`]. Errors: the socket has no local address. Errors of single
/// connections are only logged.
pub fn serve<S, B>(
    listener: TcpListener,
    settings: ListenerSettings,
    service: S,
    shutdown: CancellationToken,
) -> io::Result<BoundListener>
where
    S: Service<Request<ReceivedBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let local_addr = listener.local_addr()?;
    let task = tokio::spawn(accept_loop(listener, local_addr, settings, service, shutdown));
    Ok(BoundListener { local_addr, task })
}

async fn accept_loop<S, B>(
    listener: TcpListener,
    local_addr: SocketAddr,
    settings: ListenerSettings,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<Request<ReceivedBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let places = Places::new(settings.max_connections);
    let open = TaskTracker::new();
    let cut = CancellationToken::new();
    let drain_timeout = settings.drain_timeout;
    let connections = Connections::new(local_addr, settings, shutdown.clone(), cut.clone());
    let connections = Arc::new(connections);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, client, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        let (connections, service) = (connections.clone(), service.clone());
        open.spawn(async move {
            connections.serve(stream, client, &place, service).await;
        });
    }
    // Refuses new connections at once, instead of leaving them in the accept queue.
    drop(listener);
    open.close();
    if tokio::time::timeout(drain_timeout, open.wait()).await.is_err() {
        tracing::warn!(open = open.len(), "connections cut at the end of the drain timeout");
        cut.cancel();
        open.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Places,
) -> io::Result<(TcpStream, SocketAddr, Place)> {
    let (stream, client) = listener.accept().await?;
    // Only now, so that others are asked for a place if somebody waits for it.
    let place = places.free().await?;
    // A client that is gone already is no failure of the port.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it was accepted");
    }
    Ok((stream, client, place))
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
