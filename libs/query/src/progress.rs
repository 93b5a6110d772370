//! Intermediate results of streamed queries: what is sent to the client, when, and in messages of which size.
//!
//! A query reports its state after each answer to a job. When the client took the last message and enough time has passed,
//! the difference to what it knows is sent.

mod metrics;
pub(crate) mod outlet;
pub(crate) mod packets;
mod pending;
mod search;
mod weight;

pub(crate) use metrics::MetricsProgress;
pub(crate) use search::SearchProgress;
pub(crate) use weight::{TEXT_TIMES, Weight};
