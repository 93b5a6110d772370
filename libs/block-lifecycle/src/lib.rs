//! What a compactor does: it decides which blocks become one, when data goes, and carries out jobs that take data out.
//!
//! ```text
//! block list -> select: same window, alike, smallest first -> merge (libs/compaction) -> new block -> inputs marked
//!            -> retention: by age, by size, by class       -> marked -> deleted an hour later
//!            -> jobs: traces to delete, attributes to redact
//! ```
//!
//! Nothing is lost and nothing answered twice, wherever a compactor is killed: a new block appears at once, by its
//! meta, and names the blocks it replaces; readers leave those out from then on, and they are marked and deleted later.
//! Two compactors that do the same write the same block. How blocks are merged is `libs/compaction`'s business.
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
mod selection;
mod settings;

pub use classes::check_policies;
pub use compactor::Compactor;
pub use error::{Error, Result};
pub use settings::{Limits, RetentionPolicy, SelectionSettings, Settings, TenantLimits};
