//! A client of memcached servers. The key of a value determines its server.

mod address;
mod connection;
mod protocol;
mod server;

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tactus_config::sections::cache::Memcached as Section;
use tactus_telemetry::error_text;
use tokio::sync::OnceCell;
use xxhash_rust::xxh64::xxh64;

use crate::breaker::BreakerSettings;
use crate::metrics::Metrics;
use crate::store::{Error, Fetched, Result, Store, places_by_part};
use address::{ServerAddress, refuse_url};
use server::{Connector, Server};

/// The servers that are known now.
#[derive(Debug)]
pub(crate) struct Memcached {
    inner: Arc<Inner>,
    /// The addresses were looked up once.
    started: OnceCell<()>,
}

#[derive(Debug)]
struct Inner {
    addresses: Vec<ServerAddress>,
    update_interval: Duration,
    connector: Arc<Connector>,
    breaker: BreakerSettings,
    ttl: Duration,
    /// Sorted by name.
    servers: Mutex<Arc<Vec<Arc<Server>>>>,
    metrics: Arc<Metrics>,
}

impl Memcached {
    /// A client. Errors: no address, or an invalid one; certificates.
    pub(crate) fn new(settings: &Section, metrics: Arc<Metrics>) -> Result<Self> {
        let addresses = addresses(settings)?;
        if addresses.is_empty() {
            return Err(Error::Invalid("memcached: no addresses are set".to_owned()));
        }
        let interval = settings.update_interval.non_zero().unwrap_or(Duration::from_secs(60));
        let inner = Inner {
            addresses,
            update_interval: interval.max(Duration::from_secs(1)),
            connector: Arc::new(Connector::new(settings)?),
            breaker: BreakerSettings::of(settings),
            ttl: settings.ttl.as_std(),
            servers: Mutex::default(),
            metrics,
        };
        Ok(Self { inner: Arc::new(inner), started: OnceCell::new() })
    }

    /// The addresses as configured, for a log line.
    pub(crate) fn addresses(&self) -> String {
        let names: Vec<_> = self.inner.addresses.iter().map(ServerAddress::name).collect();
        names.join(",")
    }

    /// The servers; the first call looks them up.
    async fn servers(&self) -> Arc<Vec<Arc<Server>>> {
        let start = || async {
            let first = self.inner.update();
            // A name server that hangs must not delay a query longer than a cache may.
            let patience = self.inner.connector.timeout();
            let _ = tokio::time::timeout(patience, first).await;
            tokio::spawn(keep_up_to_date(Arc::downgrade(&self.inner)));
        };
        self.started.get_or_init(start).await;
        Arc::clone(&self.inner.servers.lock())
    }
}

/// The listed addresses, or else those of a service. Errors: an invalid address.
fn addresses(settings: &Section) -> Result<Vec<ServerAddress>> {
    let listed = settings.addresses.iter().flat_map(|address| address.split(','));
    let listed = listed.filter(|address| !address.trim().is_empty());
    let listed: Vec<_> = listed.map(ServerAddress::parse).collect::<Result<_>>()?;
    if listed.is_empty() && !settings.host.is_empty() {
        refuse_url(&settings.host)?;
        return Ok(vec![ServerAddress::of_service(&settings.host, &settings.service)]);
    }
    Ok(listed)
}

/// Looks the addresses up again and again; immediately if the first look-up found none.
async fn keep_up_to_date(inner: std::sync::Weak<Inner>) {
    loop {
        let Some(client) = inner.upgrade() else { return };
        let interval = client.update_interval;
        let pause = if client.servers.lock().is_empty() { interval.min(RETRY) } else { interval };
        drop(client);
        tokio::time::sleep(pause).await;
        let Some(client) = inner.upgrade() else { return };
        client.update().await;
    }
}

/// How often addresses are looked up while no server is known.
const RETRY: Duration = Duration::from_secs(5);

impl Inner {
    /// Looks up all addresses. Known servers stay if a name server does not answer.
    async fn update(&self) {
        let mut names = Vec::new();
        let mut is_complete = true;
        for found in join_all(self.addresses.iter().map(ServerAddress::resolve)).await {
            match found {
                Ok(mut found) => names.append(&mut found),
                Err(error) => {
                    is_complete = false;
                    let (cache, error) = (self.metrics.name(), error_text(&error));
                    tracing::warn!(cache, error, "cannot look up memcached servers");
                }
            }
        }
        let mut servers = self.servers.lock();
        if !is_complete && !servers.is_empty() {
            return;
        }
        sort(&mut names);
        names.dedup();
        let known = |name: &str| servers.iter().find(|server| server.name() == name).cloned();
        let fresh =
            |name: &str| Arc::new(Server::new(name, Arc::clone(&self.connector), self.breaker));
        let all: Vec<_> =
            names.iter().map(|name| known(name).unwrap_or_else(|| fresh(name))).collect();
        self.metrics.servers(all.len());
        *servers = Arc::new(all);
    }
}

#[async_trait]
impl Store for Memcached {
    async fn get(&self, keys: &[&str]) -> Fetched {
        let servers = self.servers().await;
        if servers.is_empty() {
            return Fetched::nothing(keys.len(), Error::Unavailable);
        }
        let places = places_by_part(keys, servers.len(), |key| server_of(key, servers.len()));
        let calls = servers.iter().zip(&places).filter(|(_, places)| !places.is_empty());
        let calls = calls.map(|(server, places)| async move {
            let wanted: Vec<&str> = places.iter().map(|&place| keys[place]).collect();
            (places, server.get(&wanted).await)
        });
        Fetched::of_parts(keys.len(), join_all(calls).await)
    }

    async fn set(&self, key: &str, value: Bytes) -> Result<()> {
        let servers = self.servers().await;
        let server = servers.get(server_of(key, servers.len().max(1)));
        let server = server.ok_or(Error::Unavailable)?;
        server.set(key, &value, self.inner.ttl).await
    }

    async fn check(&self) -> Result<()> {
        let servers = self.servers().await;
        if servers.is_empty() {
            return Err(Error::Unavailable);
        }
        let checks = servers.iter().map(|server| server.version());
        join_all(checks).await.into_iter().collect::<Result<Vec<_>>>().map(drop)
    }
}

/// The expiry of an entry in the form of the protocol: seconds from now, or a time if that is more than 30 days ahead.
fn expiry(ttl: Duration, unix_seconds: u64) -> u64 {
    const MAX_RELATIVE_SECONDS: u64 = 30 * 24 * 3600;
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    if seconds > MAX_RELATIVE_SECONDS { unix_seconds.saturating_add(seconds) } else { seconds }
}

/// Sorts names with numbers by value, `cache-2` before `cache-10`, so that an additional replica comes last and most
/// keys stay on their servers.
fn sort(names: &mut [String]) {
    names.sort_by(|one, other| natural(one.as_bytes(), other.as_bytes()));
}

/// Compares numbers by their value, and everything else by its bytes.
fn natural(mut one: &[u8], mut other: &[u8]) -> Ordering {
    let (first, second) = (one, other);
    loop {
        let (digits, other_digits) = (number(one), number(other));
        if !digits.is_empty() && !other_digits.is_empty() {
            let by_value = by_value(digits, other_digits);
            if by_value.is_ne() {
                return by_value;
            }
            (one, other) = (&one[digits.len()..], &other[other_digits.len()..]);
            continue;
        }
        match (one.split_first(), other.split_first()) {
            (Some((a, rest)), Some((b, other_rest))) if a == b => (one, other) = (rest, other_rest),
            (Some((a, _)), Some((b, _))) => return a.cmp(b),
            (None, None) => return first.cmp(second),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
        }
    }
}

/// The digits at the start.
fn number(text: &[u8]) -> &[u8] {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    &text[..digits]
}

fn by_value(one: &[u8], other: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        digits[zeros..].to_vec()
    };
    let (one, other) = (significant(one), significant(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

/// The index of the server for a key, out of `servers`. If a server is added, only the keys move that it gets.
fn server_of(key: &str, servers: usize) -> usize {
    jump(xxh64(key.as_bytes(), 0), servers)
}

/// The jump consistent hash of Lamping and Veach.
fn jump(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0i64, 0i64);
    while next < buckets as i64 {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let step = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * step) as i64;
    }
    bucket as usize
}

#[cfg(test)]
mod tests;
