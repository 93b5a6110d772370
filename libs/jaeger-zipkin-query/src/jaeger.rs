//! Jaeger's query APIs: what its UI, its data source in Grafana and its users' scripts ask.
//!
//! [`queries`] answers in terms of Jaeger's queries over the query-frontend; HTTP (here) and gRPC put it into messages.

mod error;
mod http;
mod kind;
mod matching;
mod performance;
mod queries;
mod settings;
mod summary;
mod trace_id;

pub use error::JaegerError;
pub use http::jaeger_router;
pub(crate) use kind::kind_name;
pub use performance::{Measure, PerformanceQuery, PerformanceSeries};
pub use queries::{
    Dependency, FoundTrace, FoundTraces, JaegerQueries, Operation, OperationsQuery, TimeRange,
    TraceFilter,
};
pub use settings::JaegerSettings;
pub use summary::{ServiceSummary, TraceSummary};
pub use trace_id::parse_trace_id;
