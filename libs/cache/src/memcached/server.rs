//! One server: its idle connections and its breaker.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_telemetry::error_text;
use tactus_tls::ClientTls;
use tactus_work::memory::Budget;
use tokio::net::TcpStream;

use super::connection::{Connection, Request};
use super::{Section, expiry};
use crate::breaker::{Breaker, BreakerSettings};
use crate::store::{Error, Result, call_timeout, positive};

/// The bytes of values on their way here, over all connections of the process: each may bring a hundred values, and a
/// server may send more than anybody stored. Buffers may take twice that.
static IN_TRANSIT: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(64 << 20));

/// How connections are made.
pub(super) struct Connector {
    timeout: Duration,
    max_idle: usize,
    tls: Option<Arc<ClientTls>>,
}

tactus_telemetry::debug_of!(Connector { timeout });

impl Connector {
    /// Errors: certificates.
    pub(super) fn new(settings: &Section) -> Result<Self> {
        let load = || ClientTls::load(tactus_tls::from_config::client("memcached", &settings.tls));
        let tls = settings.tls_enabled.then(load).transpose();
        Ok(Self {
            timeout: call_timeout(settings.timeout),
            max_idle: positive(settings.max_idle_conns),
            tls: tls.map_err(|error| Error::Invalid(error.to_string()))?,
        })
    }

    /// Time for a call.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn connect(&self, address: &str) -> Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Connection::new(Box::new(stream), Arc::clone(&IN_TRANSIT)));
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let stream = tls.connect(host, stream).await?;
        Ok(Connection::new(Box::new(stream), Arc::clone(&IN_TRANSIT)))
    }
}

/// A server.
pub(super) struct Server {
    address: String,
    connector: Arc<Connector>,
    idle: Mutex<Vec<Connection>>,
    breaker: Breaker,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.address).finish()
    }
}

impl Server {
    /// `address`: host or IP address, and port.
    pub(super) fn new(address: &str, connector: Arc<Connector>, breaker: BreakerSettings) -> Self {
        let breaker = Breaker::new(breaker);
        Self { address: address.to_owned(), connector, idle: Mutex::default(), breaker }
    }

    pub(super) fn name(&self) -> &str {
        &self.address
    }

    /// The values of keys, in their order.
    pub(super) async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        self.call(&Request::Get(keys)).await
    }

    /// Stores a value.
    pub(super) async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expiry = expiry(ttl, now.as_secs());
        self.call(&Request::Set { key, value, expiry }).await.map(drop)
    }

    /// Asks for a sign of life.
    pub(super) async fn version(&self) -> Result<()> {
        self.call(&Request::Version).await.map(drop)
    }

    /// Makes a call within the timeout, on an idle connection if there is one.
    async fn call(&self, request: &Request<'_>) -> Result<Vec<Option<Bytes>>> {
        if !self.breaker.allows(Instant::now()) {
            return Err(Error::Unavailable);
        }
        let call = async {
            let idle = self.idle.lock().pop();
            if let Some(mut connection) = idle {
                match connection.run(request).await {
                    // The server may have closed all idle connections long ago, for example when it was restarted.
                    Err(Error::Io(_)) => self.idle.lock().clear(),
                    result => return (Some(connection), result),
                }
            }
            match self.connector.connect(&self.address).await {
                Ok(mut connection) => {
                    let result = connection.run(request).await;
                    (Some(connection), result)
                }
                Err(error) => (None, Err(error)),
            }
        };
        let timed = tokio::time::timeout(self.connector.timeout, call).await;
        let (connection, result) = timed.unwrap_or((None, Err(Error::TimedOut)));
        match &result {
            Ok(_) | Err(Error::Refused(_)) => {
                if self.breaker.succeeded() {
                    tracing::info!(server = self.address, "memcached answers again");
                }
                let mut idle = self.idle.lock();
                if let Some(connection) = connection
                    && idle.len() < self.connector.max_idle
                {
                    idle.push(connection);
                }
            }
            // Others may have sent them.
            Err(Error::Crowded) => {}
            Err(error) => {
                if self.breaker.failed(Instant::now()) {
                    let (server, error) = (&self.address, error_text(error));
                    tracing::warn!(server, error, "memcached fails, going on without it");
                }
            }
        }
        result
    }
}
