//! A client of redis: one server, a cluster, or the primary that sentinels name.

use std::fmt;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_async::ClusterConnection;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsMode,
};
use async_trait::async_trait;
use bytes::Bytes;
use rustls::crypto::{CryptoProvider, ring};
use tactus_telemetry::error_text;

use crate::breaker::{Breaker, BreakerSettings};
use crate::error::{Error, Result};
use crate::store::{Fetched, Store};

mod slots;

use slots::Slots;

/// Connections when the setting leaves the number to us. Calls share them, so that few are enough.
const DEFAULT_CONNECTIONS: usize = 4;
/// More would not help.
const MAX_CONNECTIONS: usize = 64;

/// Settings of the client; names as in the configuration.
#[derive(Clone)]
pub struct RedisSettings {
    /// `host:port` of the server; several are nodes of a cluster, or with `master_name` sentinels.
    pub endpoints: Vec<String>,
    /// What sentinels call the primary; empty for none.
    pub master_name: String,
    /// User name; empty for none.
    pub username: String,
    /// Password; empty for none.
    pub password: String,
    /// User name for sentinels; empty for none.
    pub sentinel_username: String,
    /// Password for sentinels; empty for none.
    pub sentinel_password: String,
    /// Database number. A cluster has 0 only.
    pub db: i64,
    /// Time for a call, a new connection included.
    pub timeout: Duration,
    /// Life of a value; zero is for ever.
    pub ttl: Duration,
    /// Connections, which calls share; 0 is our choice.
    pub connections: usize,
    /// A connection that was idle for longer is not used any more; zero is for ever.
    pub idle_timeout: Duration,
    /// A connection that is older is not used any more; zero is for ever.
    pub max_connection_age: Duration,
    /// Connects by TLS.
    pub tls: bool,
    /// Takes any certificate.
    pub tls_insecure_skip_verify: bool,
    /// When the servers are left alone.
    pub breaker: BreakerSettings,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            master_name: String::new(),
            username: String::new(),
            password: String::new(),
            sentinel_username: String::new(),
            sentinel_password: String::new(),
            db: 0,
            timeout: Duration::from_millis(100),
            ttl: Duration::ZERO,
            connections: 0,
            idle_timeout: Duration::ZERO,
            max_connection_age: Duration::ZERO,
            tls: false,
            tls_insecure_skip_verify: false,
            breaker: BreakerSettings::default(),
        }
    }
}

/// Without what is secret.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("endpoints", &self.endpoints)
            .field("master_name", &self.master_name)
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

/// Who is asked for connections.
enum Source {
    Single(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
    Sentinels(Box<tokio::sync::Mutex<SentinelClient>>),
}

/// A connection that any number of calls share.
#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// The servers.
pub(crate) struct Redis {
    source: Source,
    slots: Slots<Connection>,
    breaker: Breaker,
    timeout: Duration,
    ttl: Duration,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Redis {
    /// A client. Errors: no endpoint, or one that is none.
    pub(crate) fn new(settings: &RedisSettings) -> Result<Self> {
        if settings.tls {
            install_provider();
        }
        let connections = match settings.connections {
            0 => DEFAULT_CONNECTIONS,
            wanted => wanted.min(MAX_CONNECTIONS),
        };
        Ok(Self {
            source: source(settings)?,
            slots: Slots::new(connections, settings.idle_timeout, settings.max_connection_age),
            breaker: Breaker::new(settings.breaker),
            timeout: settings.timeout,
            ttl: settings.ttl,
        })
    }

    /// Makes a call within the timeout.
    async fn call<T: FromRedisValue>(&self, command: Cmd) -> Result<T> {
        if !self.breaker.allows(Instant::now()) {
            return Err(Error::Unavailable);
        }
        let slot = self.slots.next();
        let call = async {
            let connection = slot.get(self.connect()).await?;
            Ok::<_, RedisError>(match connection {
                Connection::Single(mut connection) => command.query_async(&mut connection).await?,
                Connection::Cluster(mut connection) => command.query_async(&mut connection).await?,
            })
        };
        let result = match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::from(error)),
            Err(_) => Err(Error::TimedOut),
        };
        match &result {
            Ok(_) => {
                if self.breaker.succeeded() {
                    tracing::info!("redis answers again");
                }
            }
            // The server is there and says no, as one without memory does.
            Err(Error::Redis(error)) if is_refusal(error) => {
                let text = error.to_string();
                let _ = self.breaker.succeeded();
                return Err(Error::Refused(text));
            }
            Err(error) => {
                slot.clear();
                if self.breaker.failed(Instant::now()) {
                    let error = error_text(error);
                    tracing::warn!(error, "redis fails, going on without it");
                }
            }
        }
        result
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        Ok(match &self.source {
            Source::Single(client, config) => Connection::Single(
                client.get_multiplexed_async_connection_with_config(config).await?,
            ),
            Source::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
            Source::Sentinels(client) => {
                Connection::Single(client.lock().await.get_async_connection().await?)
            }
        })
    }
}

/// True for an error that a server sent because it does not want a value, not because of the connection.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some_and(|code| matches!(code, "OOM" | "READONLY" | "MISCONF"))
}

fn source(settings: &RedisSettings) -> Result<Source> {
    let invalid = |text: &str| Error::Invalid(format!("redis: {text}"));
    if settings.endpoints.is_empty() {
        return Err(invalid("no endpoint is set"));
    }
    let address = |endpoint: &String| -> Result<ConnectionAddr> {
        let parsed = endpoint.rsplit_once(':').and_then(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
            (!host.is_empty()).then(|| (host.to_owned(), port))
        });
        let (host, port) =
            parsed.ok_or_else(|| invalid(&format!("{endpoint:?} is not host:port")))?;
        let mut address = if settings.tls {
            let insecure = settings.tls_insecure_skip_verify;
            ConnectionAddr::TcpTls { host, port, insecure, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        if settings.tls && settings.tls_insecure_skip_verify {
            address.set_danger_accept_invalid_hostnames(true);
        }
        Ok(address)
    };
    let addresses: Vec<_> = settings.endpoints.iter().map(address).collect::<Result<_>>()?;
    let tls_mode = || match settings.tls_insecure_skip_verify {
        true => TlsMode::Insecure,
        false => TlsMode::Secure,
    };
    if !settings.master_name.is_empty() {
        let master = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(addresses, &settings.master_name, master)?
            .set_client_to_redis_db(settings.db);
        if settings.tls {
            builder = builder
                .set_client_to_redis_tls_mode(tls_mode())
                .set_client_to_sentinel_tls_mode(tls_mode());
        }
        if !settings.username.is_empty() {
            builder = builder.set_client_to_redis_username(&settings.username);
        }
        if !settings.password.is_empty() {
            builder = builder.set_client_to_redis_password(&settings.password);
        }
        if !settings.sentinel_username.is_empty() {
            builder = builder.set_client_to_sentinel_username(&settings.sentinel_username);
        }
        if !settings.sentinel_password.is_empty() {
            builder = builder.set_client_to_sentinel_password(&settings.sentinel_password);
        }
        return Ok(Source::Sentinels(Box::new(tokio::sync::Mutex::new(builder.build()?))));
    }
    let mut user = RedisConnectionInfo::default().set_db(settings.db);
    if !settings.username.is_empty() {
        user = user.set_username(&settings.username);
    }
    if !settings.password.is_empty() {
        user = user.set_password(&settings.password);
    }
    let info = |address: ConnectionAddr| -> Result<_> {
        Ok(address.into_connection_info()?.set_redis_settings(user.clone()))
    };
    let mut infos: Vec<_> = addresses.into_iter().map(info).collect::<Result<_>>()?;
    if infos.len() > 1 {
        let mut builder = ClusterClientBuilder::new(infos)
            .connection_timeout(settings.timeout)
            .response_timeout(settings.timeout)
            // What fails is a miss: there is no time for a second try.
            .retries(0);
        if settings.tls {
            builder = builder.tls(tls_mode());
            builder = builder.danger_accept_invalid_hostnames(settings.tls_insecure_skip_verify);
        }
        return Ok(Source::Cluster(builder.build()?));
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.timeout))
        .set_response_timeout(Some(settings.timeout));
    Ok(Source::Single(Client::open(infos.remove(0))?, config))
}

/// Makes sure that the client finds an implementation of cryptography.
fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may be faster, with the same.
        let _ = ring::default_provider().install_default();
    }
}

#[async_trait]
impl Store for Redis {
    async fn get(&self, keys: &[&str]) -> Fetched {
        let command = ::redis::cmd("MGET").arg(keys).to_owned();
        match self.call::<Vec<Option<Bytes>>>(command).await {
            Ok(values) if values.len() == keys.len() => Fetched { values, error: None },
            Ok(values) => {
                let text = format!("{} values for {} keys", values.len(), keys.len());
                Fetched::nothing(keys.len(), Error::Protocol(text))
            }
            Err(error) => Fetched::nothing(keys.len(), error),
        }
    }

    async fn set(&self, key: &str, value: Bytes) -> Result<()> {
        let mut command = ::redis::cmd("SET");
        command.arg(key).arg(&value[..]);
        if !self.ttl.is_zero() {
            let milliseconds = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
            command.arg("PX").arg(milliseconds.max(1));
        }
        self.call::<()>(command).await
    }

    async fn check(&self) -> Result<()> {
        self.call::<()>(::redis::cmd("PING")).await
    }
}

#[cfg(test)]
mod tests;
