//! A client of redis: one server, a cluster, or the primary that sentinels name.

use std::io;
use std::sync::Arc;
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
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, ring};
use tactus_config::sections::cache::Redis as Section;
use tactus_telemetry::{error_text, log_limited};

use crate::breaker::{Breaker, BreakerSettings};
use crate::store::{Error, Fetched, Result, Store, call_timeout, places_by_part, positive};

mod parts;
mod slots;

use parts::{CLUSTER_PARTS, part_of};
use slots::Slots;

/// The number of connections if the setting does not say. Calls share them, so a few are enough.
const DEFAULT_CONNECTIONS: usize = 4;
/// More connections would not help.
const MAX_CONNECTIONS: usize = 64;
/// Connecting takes this long at most. Calls that wait for it end earlier, and it goes on without them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Refusals of values are logged this often.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(3600);

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

impl Connection {
    async fn query<T: FromRedisValue>(mut self, command: &Cmd) -> Result<T, RedisError> {
        match &mut self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// The servers.
pub(crate) struct Redis {
    source: Arc<Source>,
    slots: Slots<Connection>,
    /// One, or that of each part of a cluster.
    breakers: Vec<Breaker>,
    timeout: Duration,
    connect_timeout: Duration,
    ttl: Duration,
    /// When a refusal was logged last.
    refusal_logged: Mutex<Option<Instant>>,
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
        let source = source(settings)?;
        let parts = if matches!(source, Source::Cluster(_)) { CLUSTER_PARTS } else { 1 };
        let timeout = call_timeout(settings.timeout);
        Ok(Self {
            source: Arc::new(source),
            slots: Slots::new(connections, idle, age),
            breakers: (0..parts).map(|_| Breaker::new(BreakerSettings::default())).collect(),
            timeout,
            connect_timeout: CONNECT_TIMEOUT.max(timeout.saturating_mul(2)),
            ttl: settings.expiration.non_zero().unwrap_or(settings.ttl.as_std()),
            refusal_logged: Mutex::default(),
        })
    }

    /// Sends commands at the same time, within the timeout. Errors: one of them failed.
    async fn call<T: FromRedisValue>(
        &self,
        breaker: &Breaker,
        commands: &[Cmd],
        is_refusal: fn(&RedisError) -> bool,
    ) -> Result<Vec<T>> {
        let started = Instant::now();
        if !breaker.allows(started) {
            return Err(Error::Unavailable);
        }
        let connect = || self.connect();
        let slot = self.slots.next(connect);
        let call = async {
            let connection = slot.get(connect).await?;
            let answers = commands.iter().map(|command| connection.clone().query::<T>(command));
            Ok::<_, Error>(try_join_all(answers).await)
        };
        let result = tokio::time::timeout(self.timeout, call).await;
        let now = Instant::now();
        let error = match result.unwrap_or(Err(Error::TimedOut)) {
            Ok(Ok(values)) => {
                answered(breaker);
                return Ok(values);
            }
            // The server answers but refuses, for example because it has no memory left.
            Ok(Err(error)) if is_refusal(&error) => {
                answered(breaker);
                // After a failover its address may lead to another server by now.
                if error.code() == Some("READONLY") && slot.renew(now, connect) {
                    log_limited!(warn, "redis takes no writes here, connecting anew");
                }
                return Err(Error::Refused(error.to_string()));
            }
            Ok(Err(error)) => Error::Redis(error),
            // Also a server that refuses the connection: it would refuse reads as well.
            Err(error) => error,
        };
        let is_left_alone = breaker.failed(now);
        if matches!(*self.source, Source::Cluster(_)) {
            // Other servers answer on this connection. A new one knows who has the slots after a failover.
            slot.renew(now, connect);
        } else {
            // What was connected while this call waited is not to blame for its end.
            let until = if matches!(error, Error::TimedOut) { started } else { now };
            if is_left_alone {
                self.slots.forget(until);
            } else {
                slot.forget(until);
            }
        }
        if is_left_alone {
            let error = error_text(&error);
            log_limited!(warn, error, "redis fails, going on without it");
        }
        Err(error)
    }

    fn connect(&self) -> impl Future<Output = Result<Connection, RedisError>> + Send + use<> {
        open(Arc::clone(&self.source), self.connect_timeout)
    }

    /// The index of the breaker of a key.
    fn part(&self, key: &str) -> usize {
        part_of(key, self.breakers.len())
    }

    /// The values of these keys, which have the same breaker.
    async fn get_part(&self, breaker: &Breaker, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        // A command for several slots fails as a whole if one of their servers does.
        let keys_at_once = match *self.source {
            Source::Cluster(_) => 1,
            Source::Single(..) | Source::Sentinels(_) => keys.len().max(1),
        };
        let chunks = keys.chunks(keys_at_once);
        let commands: Vec<Cmd> =
            chunks.map(|keys| ::redis::cmd("MGET").arg(keys).to_owned()).collect();
        let answers: Vec<Vec<Option<Bytes>>> = self.call(breaker, &commands, is_refusal).await?;
        let values: Vec<_> = answers.into_iter().flatten().collect();
        if values.len() != keys.len() {
            let text = format!("{} values for {} keys", values.len(), keys.len());
            return Err(Error::Protocol(text));
        }
        Ok(values)
    }

    /// Logs that values are refused, once in a while.
    fn log_refusal(&self, error: &str, now: Instant) {
        let mut logged = self.refusal_logged.lock();
        let is_old = |at: Instant| now.saturating_duration_since(at) >= REFUSAL_LOG_INTERVAL;
        if logged.is_none_or(is_old) {
            *logged = Some(now);
            tracing::warn!(error, "redis refuses a value, what it has is still read");
        }
    }
}

/// Connects. Errors: it takes longer than `limit`, or fails.
async fn open(source: Arc<Source>, limit: Duration) -> Result<Connection, RedisError> {
    let connecting = async {
        Ok::<_, RedisError>(match &*source {
            Source::Single(client, config) => Connection::Single(
                client.get_multiplexed_async_connection_with_config(config).await?,
            ),
            Source::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
            Source::Sentinels(client) => {
                Connection::Single(client.lock().await.get_async_connection().await?)
            }
        })
    };
    let late = io::ErrorKind::TimedOut;
    tokio::time::timeout(limit, connecting)
        .await
        .unwrap_or_else(|_| Err(RedisError::from(io::Error::from(late))))
}

fn answered(breaker: &Breaker) {
    if breaker.succeeded() {
        log_limited!(info, "redis answers again");
    }
}

/// True if the server refused the command, so that the connection itself works.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some_and(|code| matches!(code, "OOM" | "READONLY" | "MISCONF"))
}

/// True if the server refused a value but may answer reads: it has too few replicas, the user may not write, or a proxy
/// does not want it. The errors listed here are those that reads get as well.
fn is_refusal_of_value(error: &RedisError) -> bool {
    let is_of_values =
        |code: &str| !matches!(code, "LOADING" | "MASTERDOWN" | "BUSY" | "NOAUTH" | "WRONGPASS");
    error.code().is_some_and(is_of_values) && !error.is_cluster_error()
}

fn source(settings: &Section) -> Result<Source> {
    // Before it is split: a password may have a comma. The text is not repeated, because it may have one.
    if settings.endpoint.contains("://") || settings.endpoint.contains('@') {
        return Err(invalid(
            "endpoint is host:port, not a URL: username, password and tls_enabled are keys of their own",
        ));
    }
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
            // While the client looks for a server that is away, calls to the others wait. Half of their time is left.
            .connection_timeout(timeout / 2)
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
        // `open` has one.
        .set_connection_timeout(None)
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
        let places = places_by_part(keys, self.breakers.len(), |key| self.part(key));
        let calls = self.breakers.iter().zip(&places).filter(|(_, places)| !places.is_empty());
        let calls = calls.map(|(breaker, places)| async move {
            let wanted: Vec<&str> = places.iter().map(|&place| keys[place]).collect();
            (places, self.get_part(breaker, &wanted).await)
        });
        Fetched::of_parts(keys.len(), join_all(calls).await)
    }

    async fn set(&self, key: &str, value: Bytes) -> Result<()> {
        let mut command = ::redis::cmd("SET");
        command.arg(key).arg(&value[..]);
        if !self.ttl.is_zero() {
            let milliseconds = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
            command.arg("PX").arg(milliseconds.max(1));
        }
        let breaker = &self.breakers[self.part(key)];
        let result = self.call::<()>(breaker, &[command], is_refusal_of_value).await;
        if let Err(Error::Refused(text)) = &result {
            self.log_refusal(text, Instant::now());
        }
        result.map(drop)
    }

    async fn check(&self) -> Result<()> {
        let connect = || self.connect();
        self.slots.next(connect).get(connect).await?;
        let ping = ::redis::cmd("PING");
        self.call::<()>(&self.breakers[0], &[ping], is_refusal).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
