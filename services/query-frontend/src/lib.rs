//! The query-frontend: the public query API over ingesters and queriers.
//!
//! ```text
//! request -> parameters -> recent data -> block list -> jobs on block parts -> combine -> encode
//!                               `------- queue -> queriers -------'
//! ```
//!
//! The ingesters are asked first, and the block list is read after they answered: what an ingester gave up because a
//! block has it now is then in the list. (Metrics count every span once, and so choose blocks by what the ingesters say
//! of them.) Jobs run newest block first, a bounded number at a time, and end when the
//! answer is full. A damaged block makes an answer partial (header `X-Tactus-Partial`), never empty.
#![warn(missing_docs)]

mod admission;
mod answers;
mod blocks;
mod endpoints;
mod event_stream;
pub mod from_config;
mod frontend;
mod http;
pub mod jaeger;
mod jaeger_grpc;
mod jobs;
mod listeners;
mod live_tail;
mod metrics;
mod metrics_query;
mod names;
mod parsing;
pub mod part;
mod query_log;
mod queue;
mod results;
mod search;
mod service_graph;
mod settings;
mod streaming;
mod tags;
mod tail_sampling;
mod trace_by_id;
mod trace_files;
mod trace_lookup;
mod work;
pub mod zipkin;

#[cfg(test)]
mod tests;

pub use crate::http::{ClusterStatus, router, ui_change_router, ui_router};
pub use frontend::{Frontend, Parts, QueuedParts};
pub use jaeger_grpc::WriteSpans;
pub use live_tail::{LiveTailSettings, LiveTails, TailSource, TailSources};
pub use metrics_query::SeriesAnswer;
pub use query_log::QueryLogSettings;
pub use queue::{JobQueue, QueueSettings, WeightSettings, WorkerStreams};
pub use results::ResultSettings;
pub use search::SearchAnswer;
pub use service_graph::{ConnectionType, Edge, GraphWindow, Latency, ServiceGraph};
pub use settings::{
    MetricsSettings, OpenTraceSettings, SearchSettings, ServiceLevel, ServiceLevels, Settings,
    StreamingSettings, TenantLimits, TenantLimitsOf, TraceByIdSettings, TraceFileSettings,
};
pub use streaming::{Answers, Streaming, streaming_service};
pub use tags::{TagValuesAnswer, TagsAnswer};
pub use trace_by_id::{FoundTrace, Large};
pub use trace_lookup::{FoundId, FoundIds, LookupSettings, TraceLookup, WholeTrace, WholeTraces};
