//! Clients of the services: one connection to each address, kept and checked.
//!
//! A channel connects when it is first used and again when its connection broke, so that a service that comes up
//! later, or elsewhere under the same name, needs no care. Every call has a deadline, which the caller sets.
#![warn(missing_docs)]

mod channels;
mod frame;
mod generator;
mod ingester;
pub mod jobs;
mod live_tail;
mod pushes;
mod query;

pub use channels::{ChannelSettings, Channels, Compression, Connection, Error, INTERNAL_TOKEN};
pub use frame::Shared;
pub use generator::MetricsGenerators;
pub use ingester::{Ingesters, RemoteIngester};
pub use live_tail::LiveTails;
pub use pushes::MAX_STREAMED_BYTES;
pub use query::QueryContext;
