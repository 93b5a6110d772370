//! Merges and rewrites blocks: the part of compaction that is about data.
//!
//! Any number of blocks become one: every trace once, its spans each once, in order of trace id, in row groups of a
//! chosen size. On the way traces can be taken out (by id, or by age and a TraceQL query) and attribute values removed
//! or replaced. [`merge_blocks`] does it on open blocks; [`rewrite_blocks`] does it in a bucket, where the result
//! appears at once or not at all. Memory is bounded by a budget, whatever the size of the blocks; only a single trace
//! is always held whole. Which blocks, when, and what becomes of the inputs is not known here.
#![warn(missing_docs)]

mod changes;
mod control;
mod error;
mod merge;
mod rewrite;
mod settings;
#[cfg(test)]
mod testing;

pub use changes::{
    Changes, Redaction, RedactionAction, RedactionScope, RemoveTraces, RetentionClass,
    RetentionClasses, TimeRange,
};
pub use control::RewriteStats;
pub use control::{Cancelled, Control, Unattended};
pub use error::{BlockProblem, BoxError, Error, Result};
pub use merge::{Merged, merge_blocks};
pub use rewrite::{OutputBlock, Rewritten, fingerprint, output_id, rewrite_blocks};
pub use settings::RewriteSettings;
