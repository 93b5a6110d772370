//! The querier: runs the jobs of queries on blocks in object storage.
//!
//! ```text
//! job -> meta from the block list -> cached footer -> row groups: prune, filter, assemble -> partial answer
//! ```
//!
//! I/O waits and CPU work happen on a bounded number of threads that may block; the async threads only hand jobs
//! over. A job whose caller goes away stops before its next row group. The combination of partial answers, limits
//! over several blocks and the retries are the query-frontend's business.
#![warn(missing_docs)]

mod blocks;
mod error;
mod find;
mod metrics;
mod pool;
mod prune;
mod search;
mod service;
mod settings;
mod source;
mod tags;

#[cfg(test)]
mod tests;

pub use service::Querier;
pub use settings::Settings;
