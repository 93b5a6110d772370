//! The ingester, as a process or as part of one.
//!
//! It reads the configuration and wires: `tactus_recent_data` keeps spans, answers for them and makes blocks of them.
#![warn(missing_docs)]

mod downscale;
pub mod from_config;
pub mod part;
