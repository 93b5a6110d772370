//! The jobs of queries: on blocks in object storage, on recent data of all ingesters, and the worker that takes them from
//! the queues of query-frontends.
//!
//! ```text
//! job -> meta from the block list -> cached footer -> row groups: prune, filter, assemble or count -> partial answer
//! ```
//!
//! I/O waits and CPU work happen on a bounded number of threads that may block; the async threads only hand jobs
//! over. The row groups of a job run on several threads while there are idle ones, and what all jobs hold decoded is
//! bounded. A job whose caller goes away stops before its next step. The combination of partial answers, limits
//! over several blocks and the retries are the query-frontend's business.
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

pub use recent::{RecentData, RecentParts, RecentSettings};
pub use service::Querier;
pub use settings::{BloomAdmission, Settings};
pub use worker::{
    Dial, Inbound, Outbound, Slots, Worker, WorkerSettings, addresses_of, dial_by, keep_resolving,
};
