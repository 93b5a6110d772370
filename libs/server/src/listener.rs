//! Accept loop for HTTP/1.1 and cleartext HTTP/2, and its orderly end.
//!
//! On shutdown the socket stops accepting, every connection finishes the requests it has begun
//! (HTTP/2 clients get GOAWAY), and what is still open after the drain timeout is cut.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after a failed accept: out of file descriptors heals only when connections end.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// Which HTTP versions a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 with prior knowledge only (gRPC).
    Http2,
    /// Both, told apart by the first bytes of a connection.
    Both,
}

/// How a port treats its connections.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// HTTP versions of the port.
    pub protocols: Protocols,
    /// Most connections at once; further ones wait in the accept queue. 0: unlimited.
    pub max_connections: usize,
    /// How long requests in flight may take after shutdown began.
    pub drain_timeout: Duration,
    /// HTTP/1.1: longest wait for the (next) request head, so also the longest idle time.
    pub idle_timeout: Option<Duration>,
    /// Age after which a connection is told to go away, so that clients spread over new servers.
    pub max_connection_age: Option<Duration>,
    /// Time that requests get after `max_connection_age`; `None`: no limit.
    pub max_connection_age_grace: Option<Duration>,
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
    /// How long a ping may stay unanswered before the connection is cut.
    pub keepalive_timeout: Duration,
    /// Bytes a client may send ahead on one request.
    pub stream_window: u32,
    /// Bytes a client may send ahead on one connection: the bound of unread data in memory.
    pub connection_window: u32,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            protocols: Protocols::Both,
            max_connections: 0,
            drain_timeout: Duration::from_secs(30),
            idle_timeout: None,
            max_connection_age: None,
            max_connection_age_grace: None,
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
        }
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
        return match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            // Kernels without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind(format!("0.0.0.0:{port}")).await.map_err(with_address)
            }
            Err(error) => Err(with_address(error)),
        };
    }
    TcpListener::bind(address).await.map_err(with_address)
}

/// Serves `service` on a bound socket until `shutdown` is cancelled, in a task of its own.
///
/// Errors: the socket has no local address. Errors of single connections are only logged.
pub fn serve<S, B>(
    listener: TcpListener,
    settings: ListenerSettings,
    service: S,
    shutdown: CancellationToken,
) -> io::Result<BoundListener>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let local_addr = listener.local_addr()?;
    let task = tokio::spawn(accept_loop(listener, settings, service, shutdown));
    Ok(BoundListener { local_addr, task })
}

async fn accept_loop<S, B>(
    listener: TcpListener,
    settings: ListenerSettings,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let builder = Arc::new(connection_builder(&settings));
    let permits = match settings.max_connections {
        0 => Semaphore::MAX_PERMITS,
        limit => limit.min(Semaphore::MAX_PERMITS),
    };
    let permits = Arc::new(Semaphore::new(permits));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let lifetime = Lifetime {
        age: settings.max_connection_age,
        grace: settings.max_connection_age_grace,
        shutdown: shutdown.clone(),
        cut: cut.clone(),
    };
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        let (builder, service, lifetime) = (builder.clone(), service.clone(), lifetime.clone());
        connections.spawn(async move {
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let grace = tokio::select! {
                result = connection.as_mut() => return log_end(result),
                grace = lifetime.to_be_closed() => grace,
            };
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => log_end(result),
                () = lifetime.cut.cancelled() => {}
                () = sleep_or_forever(grace) => {}
            }
            drop(permit);
        });
    }
    // Refuses new connections at once, instead of leaving them in the accept queue.
    drop(listener);
    connections.close();
    if tokio::time::timeout(settings.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections cut at the end of the drain timeout");
        cut.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Small answers must not wait for the acknowledgement of the previous segment.
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// The moments at which a connection has to end.
#[derive(Clone)]
struct Lifetime {
    age: Option<Duration>,
    grace: Option<Duration>,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Lifetime {
    /// Returns how long the requests in flight may take, if not until the drain timeout.
    async fn to_be_closed(&self) -> Option<Duration> {
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            () = sleep_or_forever(self.age) => self.grace,
        }
    }
}

async fn sleep_or_forever(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

fn log_end(result: Result<(), Box<dyn StdError + Send + Sync>>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended with an error");
    }
}

fn connection_builder(settings: &ListenerSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.idle_timeout);
    let http2 = &settings.http2;
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(http2.max_concurrent_streams)
        .keep_alive_interval(http2.keepalive_interval)
        .keep_alive_timeout(http2.keepalive_timeout)
        .initial_stream_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window);
    match settings.protocols {
        Protocols::Http1 => builder.http1_only(),
        Protocols::Http2 => builder.http2_only(),
        Protocols::Both => builder,
    }
}

#[cfg(test)]
mod tests;
