//! Clients of the services: one connection to each address, kept and checked.
//!
//! A channel connects when it is first used and again when its connection broke, so that a service that comes up
//! later, or elsewhere under the same name, needs no care. Every call has a deadline, which the caller sets.
#![warn(missing_docs)]

mod channels;
mod frame;
mod ingester;
pub mod jobs;
mod pushes;
mod query;
mod remote;

pub use channels::{ChannelSettings, Channels, Compression, Connection, Error};
pub use frame::Shared;
pub use ingester::Ingesters;
pub use pushes::MAX_STREAMED_BYTES;
pub use query::QueryContext;
pub use remote::{live_tail_at, metrics_generator_at};
