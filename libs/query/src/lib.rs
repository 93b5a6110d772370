//! The query-frontend: [`Frontend`] runs queries on ingesters and queriers. Tempo's HTTP API, the streaming API and the
//! API of the pages are built on it.
//!
//! ```text
//! request -> parameters -> recent data -> block list -> jobs on block parts -> combine -> encode
//!                               `------- queue -> queriers -------'
//! ```
//!
//! Ingesters are asked first, and the block list is read after they have answered. So if an ingester released spans
//! because they are in a block now, that block is in the list. (Metrics count every span once, and therefore choose
//! blocks by what the ingesters say about them.) Jobs run newest block first, a bounded number at a time, and end when
//! the answer is full. A damaged block makes an answer partial (header `X-Tactus-Partial`), never empty.
#![warn(missing_docs)]

#[cfg(test)]
extern crate self as tactus_query;

mod admission;
mod blocks;
mod current_query;
mod deny_list;
mod event_stream;
mod file_memory;
mod frontend;
mod http;
mod jobs;
mod live_tail;
mod long_work;
mod mcp;
mod metrics;
mod metrics_query;
mod names;
mod offload;
mod parsing;
mod progress;
mod query_line;
mod query_log;
mod queue;
mod results;
mod search;
mod service_graph;
mod settings;
mod so_far;
mod streaming;
mod tags;
mod tail_sampling;
mod trace_by_id;
mod trace_files;
mod trace_lookup;
mod work;

#[cfg(test)]
mod tests;

pub use crate::http::{ClusterStatus, ENDPOINTS, router, ui_change_router, ui_router};
pub use current_query::as_part_of_query;
pub use frontend::{Frontend, Parts, QueuedParts};
pub use live_tail::{LiveTails, TailSource, TailSources};
pub use mcp::router as mcp_router;
pub use metrics_query::SeriesAnswer;
pub use names::Listed;
pub use offload::offload;
pub use progress::outlet::{Answers, partial as partial_status, status as error_status};
pub use queue::{JobQueue, WorkerStreams};
pub use search::SearchAnswer;
pub use service_graph::{ConnectionType, Edge, GraphWindow, Latency, ServiceGraph};
pub use settings::Settings;
pub use streaming::{Streaming, lookup_service, streaming_service};
pub use tags::{TagValuesAnswer, TagsAnswer};
pub use tail_sampling::{PoliciesOf, policies_of, router as tail_sampling_router};
pub use trace_by_id::{FoundTrace, Large, TraceMemory};
pub use trace_files::ReceivedFile;
pub use trace_lookup::{
    FoundId, FoundIds, TraceLookup, WholeTrace, WholeTraces, attribute, equals_text, quoted,
};
