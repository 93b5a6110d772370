//! The distributor, as a process or as part of one.
//!
//! It reads the configuration and wires: `tactus_receivers` takes spans in, `tactus_distribution` hands them to the ingesters,
//! `tactus_sampling` knows what clients are to sample.
#![warn(missing_docs)]

pub mod from_config;
pub mod part;
mod receivers;
mod sampling;
