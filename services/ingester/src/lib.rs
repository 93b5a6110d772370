//! The ingester, as a process or as part of one.
//!
//! It reads the configuration and wires the parts together: `tactus_recent_data` stores spans, answers queries for them
//! and makes blocks.
#![warn(missing_docs)]

mod downscale;
pub mod from_config;
pub mod part;
