//! The operations of a cache server, and their errors. Callers of a cache see only [`Error::Invalid`], at start.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tactus_config::GoDuration;

/// A kind of cache server. Each call ends within about the configured timeout, whatever the servers do.
#[async_trait]
pub(crate) trait Store: Debug + Send + Sync {
    /// The values of these keys, in their order.
    async fn get(&self, keys: &[&str]) -> Fetched;

    /// Stores a value. Errors: [`Error::Refused`] if the servers do not accept it, which does not mean that they are
    /// unhealthy.
    async fn set(&self, key: &str, value: Bytes) -> Result<()>;

    /// Checks that all servers answer, at the start. May wait some seconds until they are connected. Errors: that of the
    /// first server that does not.
    async fn check(&self) -> Result<()>;
}

/// Without a limit, a server that hangs would stop queries.
pub(crate) fn call_timeout(setting: GoDuration) -> Duration {
    setting.non_zero().unwrap_or(Duration::from_millis(100))
}

/// Larger values are neither stored nor read. Parts of blocks and answers have a few MiB at most; a server that sends more
/// does not send what we stored.
pub(crate) const MAX_VALUE_BYTES: usize = 16 << 20;

/// A number of the configuration that must not be negative.
pub(crate) fn positive(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// The values found.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// One for each key; `None` for a value that does not exist or could not be read.
    pub(crate) values: Vec<Option<Bytes>>,
    /// Some keys could not be asked for.
    pub(crate) error: Option<Error>,
}

impl Fetched {
    /// Nothing, of this many keys.
    pub(crate) fn nothing(keys: usize, error: Error) -> Self {
        Self { values: vec![None; keys], error: Some(error) }
    }

    /// What several servers, or parts of them, answered: each for the keys at its places, of this many in all.
    pub(crate) fn of_parts<'p>(
        keys: usize,
        answers: impl IntoIterator<Item = (&'p Vec<usize>, Result<Vec<Option<Bytes>>>)>,
    ) -> Self {
        let mut fetched = Self { values: vec![None; keys], error: None };
        for (places, result) in answers {
            match result {
                Ok(values) => {
                    for (&place, value) in places.iter().zip(values) {
                        fetched.values[place] = value;
                    }
                }
                // The error of one that was asked says more than that one was left alone.
                Err(Error::Unavailable) if fetched.error.is_some() => {}
                Err(error) => fetched.error = Some(error),
            }
        }
        fetched
    }
}

/// The places of the keys of each part, of so many. `part_of` returns the index of the part of a key.
pub(crate) fn places_by_part(
    keys: &[&str],
    parts: usize,
    part_of: impl Fn(&str) -> usize,
) -> Vec<Vec<usize>> {
    let mut places = vec![Vec::new(); parts];
    for (place, key) in keys.iter().enumerate() {
        places[part_of(key)].push(place);
    }
    places
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a cache cannot be set up, or why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work.
    #[error("{0}")]
    Invalid(String),
    /// There is no server to ask now: there are no addresses, or all servers have failed and are left alone for a
    /// while.
    #[error("no server is available")]
    Unavailable,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// More values are on their way from all servers than there may be.
    #[error("too many bytes of values at a time")]
    Crowded,
    /// The server sent something that its protocol does not allow.
    #[error("unexpected answer: {0}")]
    Protocol(String),
    /// The server does not store a value of this size, or not now.
    #[error("the server did not store the value: {0}")]
    Refused(String),
    /// The connection.
    #[error("connection")]
    Io(#[from] io::Error),
    /// The redis client.
    #[error("redis")]
    Redis(#[from] ::redis::RedisError),
}
