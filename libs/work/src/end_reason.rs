//! The reasons why a query ends early.

use std::time::Duration;

/// The error when no memory is left. It names the setting that limits it.
pub const TOO_MANY_BYTES: &str = "too many bytes are in flight (limit: server.max_inflight_bytes)";

/// Why a query ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Over {
    /// Nobody waits for the answer.
    #[error("context canceled")]
    Cancelled,
    /// Its deadline has passed.
    #[error("context deadline exceeded")]
    Deadline,
    /// It used up its processor time.
    #[error(
        "the query needs more than {limit:?} of processor time in one process (limit: max_query_cpu_time of query_frontend or of the tenant); ask for a shorter range or a simpler query"
    )]
    CpuTime {
        /// The limit.
        limit: Duration,
    },
    /// A regular expression takes too many steps on a long text.
    #[error(
        "a regular expression of the query needs more than {limit} steps for a text of {bytes} bytes (limit: size of its program times length of the text); ask with a shorter expression"
    )]
    RegexSteps {
        /// The length of the text.
        bytes: usize,
        /// Most steps.
        limit: u64,
    },
    /// No memory is left for what the query has to hold. The same query may succeed later.
    #[error("{TOO_MANY_BYTES}")]
    Memory,
    /// What the query has to hold is more than a process has for all queries.
    #[error(
        "the query needs more memory than a process has for all queries, {limit} bytes (limit: half of server.max_inflight_bytes); ask for fewer groups or a shorter range"
    )]
    TooLarge {
        /// The limit.
        limit: u64,
    },
}
