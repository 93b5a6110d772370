//! The querier: runs jobs of queries on blocks in object storage and on recent data of all ingesters, and takes them
//! from the queues of query-frontends.
//!
//! ```text
//! job -> meta from the block list -> cached footer -> row groups: prune, filter, assemble or count -> partial answer
//! ```
//!
//! Waiting for I/O and computing happen on a bounded number of threads that may block; the async threads only hand jobs
//! over. The row groups of a job run on several threads while some are idle, and the decoded data of all jobs together
//! is bounded. A job whose caller has gone stops before its next step. The query-frontend combines partial answers,
//! applies limits over several blocks, and retries jobs.
#![warn(missing_docs)]

mod block_part;
mod blocks;
mod duplicates;
mod error;
mod explain;
mod find;
mod joined;
mod metrics;
mod parts;
mod pool;
mod prune;
mod querier_state;
mod recent;
mod search;
mod select;
mod series;
mod service;
mod settings;
mod source;
mod stored_spans;
mod summaries;
mod tags;
mod worker;

#[cfg(test)]
mod test_blocks;
#[cfg(test)]
mod tests;

pub use recent::{RecentData, RecentParts};
pub use service::Querier;
pub use settings::{BloomAdmission, Settings};
pub use worker::{Dial, Inbound, Outbound, Worker, addresses_of, dial_by, keep_resolving};
