//! The work of a compactor: it decides which blocks are merged and when data is deleted, and runs jobs that take data out.
//!
//! ```text
//! block list -> select: same window, alike, smallest first -> merge (libs/compaction) -> new block -> inputs marked
//!            -> retention: by age, by size, by policy      -> marked -> deleted an hour later
//!            -> jobs: traces to delete, attributes to redact
//! ```
//!
//! Wherever a compactor is killed, nothing is lost and nothing is answered twice. A new block appears at once, by its
//! meta, and names the blocks it replaces. Readers leave those out from then on, and they are marked and deleted later.
//! Two compactors that run the same merge write the same block. How blocks are merged is up to `libs/compaction`.
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

pub use classes::check_policies;
pub use compactor::Compactor;
pub use error::{Error, Result};
pub use settings::{Limits, RetentionPolicy, SelectionSettings, Settings, TenantLimits};
