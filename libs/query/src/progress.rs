//! Intermediate results of streamed queries: what is sent to the client, when, and in messages of which size.
//!
//! A query reports its state after each answer to a job. If the client has taken the last message and enough time has
//! passed, it is sent the difference to what it knows.

mod metrics;
pub(crate) mod outlet;
pub(crate) mod packets;
mod pending;
mod search;
mod weight;

pub(crate) use metrics::MetricsProgress;
pub(crate) use search::SearchProgress;
pub(crate) use weight::{TEXT_TIMES, Weight};
