//! Connections to other services, by address.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tactus_proto::{CLUSTER_HEADER, INSTANCE_HEADER, INTERNAL_TOKEN_HEADER};
use tactus_telemetry::self_tracing::{TRACEPARENT, traceparent};
use tactus_tls::{ClientTls, connect::connector};
use tonic::{
    Request, Status,
    codec::CompressionEncoding,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Channel, Endpoint},
};

/// Up to this many addresses are kept without checking which are in use.
pub(crate) const KEPT_ADDRESSES: usize = 256;

/// Once there are many, one that was not used for this long is forgotten.
pub(crate) const IDLE: Duration = Duration::from_secs(600);
/// A ping is sent after this time without traffic. If it stays unanswered, the connection is closed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// The settings for calls between the services of a cluster.
#[derive(Clone)]
pub struct ChannelSettings {
    /// Time for one attempt to connect.
    pub connect_timeout: Duration,
    /// Largest message to receive, in bytes.
    pub max_receive_bytes: usize,
    /// Largest message to send, in bytes.
    pub max_send_bytes: usize,
    /// Compression of requests, and accepted compression of answers.
    pub compression: Compression,
    /// TLS; `None` is plain text.
    pub tls: Option<Arc<ClientTls>>,
    /// Returns the secret that goes with each call, if the cluster uses one.
    pub internal_token: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// Label of the cluster that calls are meant for; `None` for services of no cluster. Processes of other clusters refuse
    /// the calls.
    pub cluster_label: Option<MetadataValue<Ascii>>,
}

tactus_telemetry::debug_of!(it: ChannelSettings { connect_timeout = it.connect_timeout, compression = it.compression, tls = it.tls.is_some() });

impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            max_receive_bytes: 100 << 20,
            max_send_bytes: 100 << 20,
            compression: Compression::None,
            tls: None,
            internal_token: None,
            cluster_label: None,
        }
    }
}

/// Why a connection is impossible.
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
    /// No connections yet.
    pub fn new(settings: ChannelSettings) -> Self {
        Self(Arc::new(Shared { settings: Arc::new(settings), by_address: Mutex::default() }))
    }

    /// The connection to `host:port`, which need not be up. Errors: not an address.
    pub fn at(&self, address: &str) -> Result<Connection, Error> {
        let settings = Arc::clone(&self.0.settings);
        let mut by_address = self.0.by_address.lock();
        if let Some((channel, used)) = by_address.get_mut(address) {
            *used = Instant::now();
            return Ok(Connection { channel: channel.clone(), settings, instance: None });
        }
        if by_address.len() >= KEPT_ADDRESSES {
            by_address.retain(|_, (_, used)| used.elapsed() < IDLE);
        }
        let channel = connect(address, &settings)?;
        by_address.insert(address.to_owned(), (channel.clone(), Instant::now()));
        Ok(Connection { channel, settings, instance: None })
    }

    /// As [`Self::at`], for calls that are meant for this instance of a ring, by its [`instance_name`]. Another process that
    /// has its address meanwhile refuses them. Errors: not an address.
    pub fn to(&self, address: &str, instance: &str) -> Result<Connection, Error> {
        // What cannot be sent is not compared.
        let instance = MetadataValue::try_from(instance.as_bytes()).ok();
        Ok(Connection { instance, ..self.at(address)? })
    }
}

/// The name of an instance of a ring, by which calls say that they are meant for it.
pub fn instance_name(ring: &str, id: &str) -> String {
    format!("{ring}/{id}")
}

fn connect(address: &str, settings: &ChannelSettings) -> Result<Channel, Error> {
    // The connector handles TLS, so the scheme is the same with and without it.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| Error::Address(address.to_owned()))?
        .connect_timeout(settings.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        // A push may have many megabytes. With the default window of 64 KiB it would wait for the other side again and
        // again.
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    Ok(endpoint.connect_with_connector_lazy(connector(settings.tls.clone())))
}

/// A connection, and the headers and limits of calls on it.
#[derive(Debug, Clone)]
pub struct Connection {
    channel: Channel,
    settings: Arc<ChannelSettings>,
    /// Name of the instance that calls are meant for.
    instance: Option<MetadataValue<Ascii>>,
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

/// A client of a service on a connection, with its limits, compression and headers.
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

/// Adds the headers that every call has.
impl Interceptor for Connection {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.settings.internal_token {
            let token: MetadataValue<Ascii> = token().parse().map_err(|_| {
                Status::internal("the internal token has a character that no header may have")
            })?;
            request.metadata_mut().insert(INTERNAL_TOKEN_HEADER, token);
        }
        if let Some(label) = &self.settings.cluster_label {
            request.metadata_mut().insert(CLUSTER_HEADER, label.clone());
        }
        if let Some(instance) = &self.instance {
            request.metadata_mut().insert(INSTANCE_HEADER, instance.clone());
        }
        if let Some(Ok(traceparent)) = traceparent().map(|text| text.parse()) {
            request.metadata_mut().insert(TRACEPARENT, traceparent);
        }
        Ok(request)
    }
}
