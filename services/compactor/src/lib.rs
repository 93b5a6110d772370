//! The compactor, as a process or as part of one.
//!
//! It reads the configuration and wires the parts together: `tactus_block_lifecycle` merges blocks, deletes old ones
//! and runs jobs.
#![warn(missing_docs)]

pub mod from_config;
pub mod part;
