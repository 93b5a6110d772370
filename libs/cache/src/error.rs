//! What can go wrong. Callers of a cache see none of it but [`Error::Invalid`], at start.

use std::io;

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
