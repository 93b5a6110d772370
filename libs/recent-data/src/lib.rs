//! The spans that are not in blocks yet. They are durable once they are acknowledged, can be queried at once, and are
//! made into blocks.
//!
//! ```text
//! push -> write-ahead log (one write) -> ack
//!      -> head: live batches, queryable at once
//!         cut by size, age or idleness -> sorted segments on disk, log parts released
//!         tail sampling, if the tenant has policies -> segments of the traces that stay
//!         cut by size or age -> merge of the segments -> block -> object storage
//! ```
//!
//! All tenants are cut at the same time, see [`generation`]: a generation's spans are in segments, or else its log
//! parts still exist. A segment answers queries until the block with its spans is in the block list.
#![warn(missing_docs)]

mod begun_blocks;
mod block_times;
mod build;
mod clear;
mod decisions;
mod directory;
mod disk;
mod error;
mod expansion;
mod flush;
mod flushed_segments;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod generation;
mod head;
mod ingester;
mod large_traces;
mod layout;
mod left_out;
mod live_tail;
mod live_traces;
mod metrics;
mod notes;
mod open;
mod open_tails;
mod origins;
mod push_stream;
mod pushes;
mod quarantine;
mod queries;
mod recent;
mod recent_metrics;
mod recent_view;
mod replay;
mod seal;
mod segment;
mod service;
mod settings;
mod share;
mod so_far;
mod tail_sampling;
mod unreadable;
mod upload_time;
mod written;

#[cfg(test)]
mod test_spans;
#[cfg(test)]
mod tests;

pub use disk::DiskHangs;
pub use error::{Error, PushError};
pub use flush::LastFlush;
pub use ingester::Ingester;
pub use push_stream::PushStreams;
pub use segment::SegmentError;
pub use settings::{Limits, Settings, TailSampling};
pub use written::BlockWritten;
