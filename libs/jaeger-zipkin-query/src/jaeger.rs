//! Jaeger's query APIs: what its UI, its data source in Grafana and its users' scripts ask.
//!
//! [`queries`] answers in terms of Jaeger's queries over the query-frontend; HTTP (here) and gRPC put it into messages.

mod http;
mod matching;
mod performance;
mod queries;
mod summary;
mod types;

pub use http::jaeger_router;
pub use performance::{Measure, PerformanceQuery, PerformanceSeries};
pub use queries::JaegerQueries;
pub use summary::{ServiceSummary, TraceSummary};
pub use types::JaegerError;
pub use types::parse_trace_id;
pub use types::{
    Dependency, FoundTrace, FoundTraces, Operation, OperationsQuery, TimeRange, TraceFilter,
};
pub(crate) use types::{kind_name, parse_kind};
