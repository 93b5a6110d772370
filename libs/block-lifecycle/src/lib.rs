//! The work of a compactor: decides which blocks are merged and when data is deleted, and runs jobs that remove data.
//!
//! ```text
//! block list -> select: same window, alike, smallest first -> merge (libs/compaction) -> new block -> inputs marked
//!            -> retention: by age, by size, by policy      -> marked -> deleted an hour later
//!            -> jobs: traces to delete, attributes to redact
//! ```
//!
//! If a compactor is killed at any point, nothing is lost and no query counts anything twice. A new block appears all
//! at once, with its meta, which names the blocks that it replaces. From then on readers ignore those, and they are
//! marked and deleted later. Two compactors that run the same merge write the same block. How blocks are merged is the
//! task of `libs/compaction`.
#![warn(missing_docs)]

mod classes;
mod clock;
mod compactor;
mod error;
pub mod http;
pub mod jobs;
mod merge;
mod metrics;
mod retention;
mod rounds;
mod selection;
mod settings;
#[cfg(test)]
mod testing;

pub use classes::check_policies;
pub use compactor::Compactor;
pub use error::{Error, Result};
pub use settings::{Limits, LimitsOf, Settings};
