//! Connections by address.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tactus_telemetry::self_tracing::{TRACEPARENT, traceparent};
use tactus_tls::{ClientTls, connect::connector};
use tonic::{
    Request, Status,
    codec::CompressionEncoding,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Channel, Endpoint},
};

/// Metadata key of the secret that the services of a cluster show each other.
pub(crate) const INTERNAL_TOKEN: &str = "x-tactus-internal-token";

/// Addresses that are kept without a look at which of them are used.
pub(crate) const KEPT_ADDRESSES: usize = 256;

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// How the services of a cluster are called.
#[derive(Clone)]
pub struct ChannelSettings {
    /// Time for one attempt to connect.
    pub connect_timeout: Duration,
    /// A ping is sent after so long without a word, and the connection given up when it stays unanswered.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
    /// Largest message to receive, in bytes.
    pub max_receive_bytes: usize,
    /// Largest message to send, in bytes.
    pub max_send_bytes: usize,
    /// Of what is sent, and of what may come back.
    pub compression: Compression,
    /// TLS; `None` is plain text.
    pub tls: Option<Arc<ClientTls>>,
    /// Shown with each call, if the cluster asks for one. Gives the secret of the moment.
    pub internal_token: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// An address that is not used for so long is forgotten once there are many.
    pub idle: Duration,
}

tactus_telemetry::debug_of!(it: ChannelSettings { connect_timeout = it.connect_timeout, compression = it.compression, tls = it.tls.is_some() });

impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            max_receive_bytes: 100 << 20,
            max_send_bytes: 100 << 20,
            compression: Compression::None,
            tls: None,
            internal_token: None,
            idle: Duration::from_secs(600),
        }
    }
}

/// Why there can be no connection.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not `host:port`.
    #[error("not an address: {0}")]
    Address(String),
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        Self::unavailable(error.to_string())
    }
}

/// Connections by address. Clones share them.
#[derive(Clone)]
pub struct Channels(Arc<Shared>);

struct Shared {
    settings: Arc<ChannelSettings>,
    by_address: Mutex<HashMap<String, (Channel, Instant)>>,
}

tactus_telemetry::debug_of!(it: Channels { settings = it.0.settings });

impl Channels {
    /// No connection yet.
    pub fn new(settings: ChannelSettings) -> Self {
        Self(Arc::new(Shared { settings: Arc::new(settings), by_address: Mutex::default() }))
    }

    /// An address that is not used for so long is forgotten once there are many.
    pub(crate) fn idle(&self) -> Duration {
        self.0.settings.idle
    }

    /// The connection to `host:port`, which need not be up. Errors: no address.
    pub fn at(&self, address: &str) -> Result<Connection, Error> {
        let settings = Arc::clone(&self.0.settings);
        let mut by_address = self.0.by_address.lock();
        if let Some((channel, used)) = by_address.get_mut(address) {
            *used = Instant::now();
            return Ok(Connection { channel: channel.clone(), settings });
        }
        if by_address.len() >= KEPT_ADDRESSES {
            by_address.retain(|_, (_, used)| used.elapsed() < settings.idle);
        }
        let channel = connect(address, &settings)?;
        by_address.insert(address.to_owned(), (channel.clone(), Instant::now()));
        Ok(Connection { channel, settings })
    }
}

fn connect(address: &str, settings: &ChannelSettings) -> Result<Channel, Error> {
    // TLS is the connector's affair: the scheme is the same in either case.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| Error::Address(address.to_owned()))?
        .connect_timeout(settings.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout)
        .keep_alive_while_idle(true)
        // A push is many megabytes at times: the default of 64 KiB would wait for the other side over and over.
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    Ok(endpoint.connect_with_connector_lazy(connector(settings.tls.clone())))
}

/// A connection with what goes with each call on it.
#[derive(Debug, Clone)]
pub struct Connection {
    channel: Channel,
    settings: Arc<ChannelSettings>,
}

impl Connection {
    /// The channel.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Largest message to receive, in bytes.
    pub fn max_receive_bytes(&self) -> usize {
        self.settings.max_receive_bytes
    }

    /// Largest message to send, in bytes.
    pub fn max_send_bytes(&self) -> usize {
        self.settings.max_send_bytes
    }

    /// How messages are compressed, if they are.
    pub fn encoding(&self) -> Option<CompressionEncoding> {
        match self.settings.compression {
            Compression::None => None,
            Compression::Gzip => Some(CompressionEncoding::Gzip),
            Compression::Zstd => Some(CompressionEncoding::Zstd),
        }
    }
}

/// A client of a service on a connection, with the limits, the compression and the headers of that.
#[macro_export]
macro_rules! client_of {
    ($client:ident, $connection:expr) => {{
        let connection = $connection;
        let client = $client::with_interceptor(connection.channel(), connection.clone())
            .max_decoding_message_size(connection.max_receive_bytes())
            .max_encoding_message_size(connection.max_send_bytes());
        match connection.encoding() {
            Some(encoding) => client.send_compressed(encoding).accept_compressed(encoding),
            None => client,
        }
    }};
}

/// Adds what every call carries.
impl Interceptor for Connection {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.settings.internal_token {
            let token: MetadataValue<Ascii> = token().parse().map_err(|_| {
                Status::internal("the internal token has a character that no header may have")
            })?;
            request.metadata_mut().insert(INTERNAL_TOKEN, token);
        }
        if let Some(Ok(traceparent)) = traceparent().map(|text| text.parse()) {
            request.metadata_mut().insert(TRACEPARENT, traceparent);
        }
        Ok(request)
    }
}
