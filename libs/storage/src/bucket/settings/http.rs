//! Requests to any store: connections, bounds on time and tries, sizes of parts.

use std::time::Duration;

use crate::error::{Error, Result};

/// Smallest part that S3 and Google take in a multipart upload, except the last.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// Part size when none is configured.
pub const DEFAULT_PART_BYTES: u64 = 8 * 1024 * 1024;

/// Connections to a store and the bounds on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for one attempt, from sending it to the last byte of the answer.
    pub request_timeout: Duration,
    /// Bounds on repetitions.
    pub retry: RetrySettings,
    /// Start a second read when the first has not answered after this long; `None` turns it off.
    pub hedge_at: Option<Duration>,
    /// Reads in flight for one request when hedging, the first included.
    pub hedge_up_to: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry: RetrySettings::default(),
            hedge_at: None,
            hedge_up_to: 2,
        }
    }
}

impl HttpSettings {
    pub(super) fn validate(&self) -> Result<()> {
        if self.request_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(Error::invalid("storage timeout", "must be positive"));
        }
        Ok(())
    }
}

/// Bounds on repeating a request that failed for a passing reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// Repetitions after the first attempt; 0 turns them off.
    pub max_retries: usize,
    /// First pause; each further one is longer.
    pub initial_backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// No repetition starts after this time since the first attempt.
    pub total_timeout: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_retries: 10,
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(1),
            total_timeout: Duration::from_secs(60),
        }
    }
}
