//! One connection from its acceptance to its end.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Chain, Join};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Expired, WatchedService};
use super::frames::Frames;
use super::lenient::LenientReads;
use super::linger::ReceivedBody;
use super::places::Place;
use super::proxy::{self, Beginning};
use super::socket::Socket;
use super::watched::WatchedStream;
use super::windows::Window;
use super::wrong_protocol::{Advised, Mistake, Port, begins_in_clear};
use super::{ConnectionInfo, Leaving, ListenerSettings, Protocols};

/// Why a connection is cut for others.
const BACKLOG: &str = "it holds more than others that wait for memory";

/// Why a connection is cut when its port closes.
const SILENT: &str = "the client does not say that it knows of the end, and nothing is open";

/// A connection in clear or encrypted.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

/// The state that all connections of a port share.
pub(super) struct Connections {
    settings: ListenerSettings,
    port: Arc<Port>,
    builder: auto::Builder<TokioExecutor>,
    shutdown: CancellationToken,
    /// Cancelled at the end of the drain timeout.
    cut: CancellationToken,
    random: RandomState,
}

impl Connections {
    pub(super) fn new(
        address: SocketAddr,
        settings: ListenerSettings,
        shutdown: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        let builder = builder(&settings);
        let port = Arc::new(Port::new(address, &settings));
        Self { settings, port, builder, shutdown, cut, random: RandomState::new() }
    }

    pub(super) async fn serve<S, B>(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        place: &Place,
        service: S,
    ) where
        S: Service<Request<ReceivedBody>, Response = Response<B>, Error = Infallible>
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let begun = tokio::select! {
            () = self.shutdown.cancelled() => return,
            begun = tokio::time::timeout(self.settings.handshake_timeout, self.begin(stream, client)) => begun,
        };
        let (stream, socket, info, mistake) = match begun {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return self.port.note_failed_handshake(client, &error),
            Err(_) => return tracing::debug!(%client, "handshake took too long"),
        };
        let http2 = &self.settings.http2;
        let window = Window::take(&self.settings.backlog, http2.connection_window);
        let mut builder = self.builder.clone();
        builder
            .http2()
            .initial_stream_window_size(window.stream_bytes(http2))
            .initial_connection_window_size(window.bytes());
        let share = self.settings.backlog.share();
        let activity = Activity::new(share, window, self.settings.max_head_bytes);
        let stream = WatchedStream {
            stream,
            lenient: LenientReads::new(self.settings.protocols),
            activity: activity.clone(),
            has_read: false,
            frames: Frames::new(),
            linger: self.settings.linger,
            lingering: None,
            shutdown: self.shutdown.clone(),
        };
        let leaving = Leaving::default();
        let port = Arc::clone(&self.port);
        let service = Advised { service, port, client: info.client, mistake };
        let service =
            WatchedService { service, activity: activity.clone(), info, leaving: leaving.clone() };
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let expired = activity.expired(&self.settings);
        let mut expired = std::pin::pin!(expired);
        let age = self.settings.max_connection_age.map(|age| self.spread(age, client));
        let grace = tokio::select! {
            result = connection.as_mut() => {
                if activity.began_with_tls() && !info.is_encrypted {
                    self.port.log(info.client, Mistake::Tls);
                }
                return log_end(result);
            }
            () = self.shutdown.cancelled() => None,
            () = sleep_or_forever(age) => self.settings.max_connection_age_grace,
            why = expired.as_mut() => match why {
                // Between this look and GOAWAY a request may come: it gets its time.
                Expired::Idle => None,
                Expired::Slow(reason) => return tracing::debug!(%client, reason, "connection cut"),
            },
            () = activity.cut() => return tracing::debug!(%client, reason = BACKLOG, "connection cut"),
            () = activity.gives_way(place) => None,
            () = activity.left(&socket) => return tracing::debug!(%client, "the client left"),
        };
        leaving.0.cancel();
        connection.as_mut().graceful_shutdown();
        self.drain(connection, &activity, (&socket, place), grace, client).await;
    }

    /// Serves the requests that a connection still has, of which the client knows that it closes.
    async fn drain(
        &self,
        connection: impl Future<Output = Result<(), Box<dyn StdError + Send + Sync>>>,
        activity: &Activity,
        (socket, place): (&Socket, &Place),
        grace: Option<Duration>,
        client: SocketAddr,
    ) {
        let silent = async {
            self.shutdown.cancelled().await;
            activity.silent().await;
        };
        tokio::select! {
            result = connection => log_end(result),
            () = self.cut.cancelled() => {}
            () = silent => tracing::debug!(%client, reason = SILENT, "connection cut"),
            () = activity.cut() => tracing::debug!(%client, reason = BACKLOG, "connection cut"),
            () = activity.left(socket) => tracing::debug!(%client, "the client left"),
            () = sleep_or_forever(grace) => {}
            reason = activity.overdue(&self.settings, place) => {
                tracing::debug!(%client, reason, "connection cut");
            }
        }
    }

    /// Reads what comes before HTTP.
    async fn begin(
        &self,
        mut stream: TcpStream,
        mut client: SocketAddr,
    ) -> io::Result<(Box<dyn Connection>, Socket, ConnectionInfo, Option<Mistake>)> {
        let mut read = Vec::new();
        if self.settings.proxy_protocol {
            match proxy::read_header(&mut stream).await? {
                Beginning::Header(address) => client = address.unwrap_or(client),
                Beginning::Direct(begun) => read = begun,
            }
        }
        let in_clear =
            ConnectionInfo { client, is_encrypted: false, has_verified_certificate: false };
        let Some(tls) = &self.settings.tls else {
            let socket = Socket::new(stream);
            return Ok((Box::new(replayed(read, &socket)), socket, in_clear, None));
        };
        let is_mistake = begins_in_clear(&read, &stream).await?;
        let socket = Socket::new(stream);
        let stream = replayed(read, &socket);
        if is_mistake {
            return Ok((Box::new(stream), socket, in_clear, Some(Mistake::Clear)));
        }
        let stream = tls.accept(stream).await?;
        let has_verified_certificate = tls.is_verified(&stream);
        let info = ConnectionInfo { client, is_encrypted: true, has_verified_certificate };
        Ok((Box::new(stream), socket, info, None))
    }

    /// Nine to eleven tenths of an age.
    fn spread(&self, age: Duration, client: SocketAddr) -> Duration {
        let part = (self.random.hash_one(client) % 201) as u32;
        age / 1000 * (900 + part)
    }
}

/// The stream of a socket from which these bytes were read already.
fn replayed(read: Vec<u8>, socket: &Socket) -> Join<Chain<Cursor<Vec<u8>>, Socket>, Socket> {
    tokio::io::join(Cursor::new(read).chain(socket.clone()), socket.clone())
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

fn builder(settings: &ListenerSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Watched by `Activity`, which tells idle connections from slow heads.
        .header_read_timeout(None)
        .max_buf_size(settings.max_head_bytes.max(8 << 10))
        .max_headers(settings.max_headers);
    let http2 = &settings.http2;
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(http2.max_concurrent_streams)
        .keep_alive_interval(http2.keepalive_interval)
        .keep_alive_timeout(http2.keepalive_timeout)
        .max_frame_size(http2.max_frame_bytes)
        .max_header_list_size(u32::try_from(settings.max_head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(http2.max_pending_resets)
        .max_local_error_reset_streams(http2.max_error_resets);
    match settings.protocols {
        Protocols::Http1 => builder.http1_only(),
        // A client that speaks HTTP/1.1 on a gRPC port gets an answer in HTTP/1.1.
        Protocols::Http2 | Protocols::Both => builder,
    }
}
