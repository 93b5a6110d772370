//! The metrics generator: series of Prometheus from spans, as a process or as part of one.
//!
//! It reads the configuration and wires: `tactus_generator` counts spans, `tactus_remote_write` sends what it counted.
#![warn(missing_docs)]

pub mod from_config;
pub mod part;
