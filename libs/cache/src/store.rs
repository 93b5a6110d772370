//! The operations of a cache server, and their errors. Callers of a cache see only [`Error::Invalid`], at start.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tactus_config::GoDuration;

/// Servers of one kind. Each call ends within about the timeout that the implementation was given, whatever the
/// servers do.
#[async_trait]
pub(crate) trait Store: Debug + Send + Sync {
    /// The values of these keys, in their order.
    async fn get(&self, keys: &[&str]) -> Fetched;

    /// Stores a value. Errors: [`Error::Refused`] for one that the servers do not want, which says nothing of their
    /// health.
    async fn set(&self, key: &str, value: Bytes) -> Result<()>;

    /// Asks all servers whether they are there. Errors: the first of those that are not.
    async fn check(&self) -> Result<()>;
}

/// A call without a limit would let a server that hangs stop queries.
pub(crate) fn call_timeout(setting: GoDuration) -> Duration {
    setting.non_zero().unwrap_or(Duration::from_millis(100))
}

/// A number of the configuration that cannot be negative.
pub(crate) fn positive(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// The values found.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// As many as there were keys; `None` for one that is not there or could not be asked for.
    pub(crate) values: Vec<Option<Bytes>>,
    /// Some keys could not be asked for.
    pub(crate) error: Option<Error>,
}

impl Fetched {
    /// Nothing, of this many keys.
    pub(crate) fn nothing(keys: usize, error: Error) -> Self {
        Self { values: vec![None; keys], error: Some(error) }
    }
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a cache cannot be set up, or a call did not work out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work.
    #[error("{0}")]
    Invalid(String),
    /// There is no server to ask now: none has an address, or all that failed are left alone for a while.
    #[error("no server is available")]
    Unavailable,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The server says something else than its protocol allows.
    #[error("unexpected answer: {0}")]
    Protocol(String),
    /// The server keeps no value of this size, or none now.
    #[error("value is not kept: {0}")]
    Refused(String),
    /// The connection.
    #[error("connection")]
    Io(#[from] io::Error),
    /// The redis client.
    #[error("redis")]
    Redis(#[from] ::redis::RedisError),
}
