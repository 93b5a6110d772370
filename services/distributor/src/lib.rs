//! The distributor, as a process or as part of one.
//!
//! It reads the configuration and wires the parts together: `tactus_receivers` receives spans, `tactus_distribution`
//! sends them to the ingesters, and `tactus_sampling` has the sampling strategies for clients.
#![warn(missing_docs)]

pub mod from_config;
pub mod part;
mod receivers;
mod sampling;
