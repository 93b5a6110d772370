//! The metrics generator: Prometheus series from spans, as a process or as part of one.
//!
//! It reads the configuration and wires the parts together: `tactus_generator` counts spans, and `tactus_remote_write`
//! sends the series.
#![warn(missing_docs)]

pub mod from_config;
pub mod part;
