//! Clients of the services: one connection for each address, kept open and checked.
//!
//! A channel connects on first use, and again after its connection broke. So a service may start later, or move under
//! the same name. Every call has a deadline, which the caller sets.
#![warn(missing_docs)]

mod channels;
mod frame;
mod ingester;
pub mod jobs;
mod pushes;
mod query;
mod remote;

pub use channels::{ChannelSettings, Channels, Compression, Connection, Error, instance_name};
pub use frame::Shared;
pub use ingester::Ingesters;
pub use pushes::MAX_STREAMED_BYTES;
pub use query::QueryContext;
pub use remote::{live_tail_at, metrics_generator_at};

use std::sync::Arc;

use tactus_proto::DynLiveTail;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::metrics_generator_server::MetricsGenerator;
use tactus_ring::Instance;

/// Returns the service of an instance of the ingester ring.
pub type IngesterOf = Arc<dyn Fn(&Instance) -> Arc<dyn Ingester> + Send + Sync>;

/// Returns the live tail of an instance of the ingester ring.
pub type LiveTailOf = Arc<dyn Fn(&Instance) -> Arc<DynLiveTail> + Send + Sync>;

/// Returns the service of an instance of the ring of metrics generators.
pub type GeneratorOf = Arc<dyn Fn(&Instance) -> Arc<dyn MetricsGenerator> + Send + Sync>;
