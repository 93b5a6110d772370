//! A client of redis: one server, a cluster, or the primary that sentinels name.

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
use tactus_config::sections::cache::Redis as Section;
use tactus_telemetry::{error_text, log_limited};

use crate::breaker::{Breaker, BreakerSettings};
use crate::store::{Error, Fetched, Result, Store, call_timeout, positive};

mod slots;

use slots::Slots;

/// The number of connections if the setting does not say. Calls share them, so a few are enough.
const DEFAULT_CONNECTIONS: usize = 4;
/// More connections would not help.
const MAX_CONNECTIONS: usize = 64;

/// The client that makes connections.
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

tactus_telemetry::debug_of!(Redis { timeout });

impl Redis {
    /// A client. Errors: no endpoint, or an invalid one.
    pub(crate) fn new(settings: &Section) -> Result<Self> {
        if settings.tls_enabled {
            install_provider();
        }
        let connections = match positive(settings.pool_size) {
            0 => DEFAULT_CONNECTIONS,
            wanted => wanted.min(MAX_CONNECTIONS),
        };
        let (idle, age) = (settings.idle_timeout.as_std(), settings.max_connection_age.as_std());
        Ok(Self {
            source: source(settings)?,
            slots: Slots::new(connections, idle, age),
            breaker: Breaker::new(BreakerSettings::default()),
            timeout: call_timeout(settings.timeout),
            ttl: settings.expiration.non_zero().unwrap_or(settings.ttl.as_std()),
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
            // The server answers but refuses, for example because it has no memory left.
            Err(Error::Redis(error)) if is_refusal(error) => {
                let text = error.to_string();
                let _ = self.breaker.succeeded();
                // After a failover its address may lead to another server by now.
                if error.code() == Some("READONLY") && slot.give_up(Instant::now()) {
                    log_limited!(warn, "redis takes no writes here, connecting anew");
                }
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

/// True if the server refused the value, so that the connection itself works.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some_and(|code| matches!(code, "OOM" | "READONLY" | "MISCONF"))
}

fn source(settings: &Section) -> Result<Source> {
    let endpoints = settings.endpoint.split(',').map(str::trim).filter(|text| !text.is_empty());
    let addresses: Vec<_> =
        endpoints.map(|endpoint| address(settings, endpoint)).collect::<Result<_>>()?;
    if addresses.is_empty() {
        return Err(invalid("no endpoint is set"));
    }
    if !settings.master_name.is_empty() {
        return sentinels(settings, addresses);
    }
    let user = user(settings);
    let info = |address: ConnectionAddr| -> Result<_> {
        Ok(address.into_connection_info()?.set_redis_settings(user.clone()))
    };
    let mut infos: Vec<_> = addresses.into_iter().map(info).collect::<Result<_>>()?;
    let timeout = call_timeout(settings.timeout);
    if infos.len() > 1 {
        let mut builder = ClusterClientBuilder::new(infos)
            .connection_timeout(timeout)
            .response_timeout(timeout)
            // A failure is a miss. There is no time for a second attempt.
            .retries(0);
        if settings.tls_enabled {
            builder = builder.tls(tls_mode(settings));
            builder = builder.danger_accept_invalid_hostnames(settings.tls_insecure_skip_verify);
        }
        return Ok(Source::Cluster(builder.build()?));
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    Ok(Source::Single(Client::open(infos.remove(0))?, config))
}

/// The server of an endpoint, `host:port`. Errors: it is something else.
fn address(settings: &Section, endpoint: &str) -> Result<ConnectionAddr> {
    let parsed = endpoint.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| (host.to_owned(), port))
    });
    let (host, port) = parsed.ok_or_else(|| invalid(&format!("{endpoint:?} is not host:port")))?;
    if !settings.tls_enabled {
        return Ok(ConnectionAddr::Tcp(host, port));
    }
    let insecure = settings.tls_insecure_skip_verify;
    let mut address = ConnectionAddr::TcpTls { host, port, insecure, tls_params: None };
    if insecure {
        address.set_danger_accept_invalid_hostnames(true);
    }
    Ok(address)
}

/// The sentinels at these addresses, which know where the master is.
fn sentinels(settings: &Section, addresses: Vec<ConnectionAddr>) -> Result<Source> {
    let (password, sentinel_password) =
        (settings.password.reveal(), settings.sentinel_password.reveal());
    let master = SentinelServerType::Master;
    let mut builder = SentinelClientBuilder::new(addresses, &settings.master_name, master)?
        .set_client_to_redis_db(settings.db);
    if settings.tls_enabled {
        builder = builder
            .set_client_to_redis_tls_mode(tls_mode(settings))
            .set_client_to_sentinel_tls_mode(tls_mode(settings));
    }
    if !settings.username.is_empty() {
        builder = builder.set_client_to_redis_username(&settings.username);
    }
    if !password.is_empty() {
        builder = builder.set_client_to_redis_password(password);
    }
    if !settings.sentinel_username.is_empty() {
        builder = builder.set_client_to_sentinel_username(&settings.sentinel_username);
    }
    if !sentinel_password.is_empty() {
        builder = builder.set_client_to_sentinel_password(sentinel_password);
    }
    Ok(Source::Sentinels(Box::new(tokio::sync::Mutex::new(builder.build()?))))
}

/// Database, user and password of each connection.
fn user(settings: &Section) -> RedisConnectionInfo {
    let password = settings.password.reveal();
    let mut user = RedisConnectionInfo::default().set_db(settings.db);
    if !settings.username.is_empty() {
        user = user.set_username(&settings.username);
    }
    if !password.is_empty() {
        user = user.set_password(password);
    }
    user
}

fn tls_mode(settings: &Section) -> TlsMode {
    match settings.tls_insecure_skip_verify {
        true => TlsMode::Insecure,
        false => TlsMode::Secure,
    }
}

fn invalid(text: &str) -> Error {
    Error::Invalid(format!("redis: {text}"))
}

/// Installs a TLS implementation for the client, if the process has none.
fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Fails if another thread was faster. It installed the same.
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
