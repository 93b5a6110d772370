//! Jaeger's query APIs: what its UI, its data source in Grafana and its users' scripts ask.
//!
//! [`queries`] answers in terms of Jaeger's queries over the query-frontend; HTTP (here) and gRPC put it into messages.

mod http;
mod matching;
mod performance;
mod queries;
mod summary;
mod types;

pub(crate) use http::jaeger_router;
pub(crate) use performance::{Measure, PerformanceQuery, PerformanceSeries};
pub(crate) use queries::JaegerQueries;
pub(crate) use summary::{ServiceSummary, TraceSummary};
pub(crate) use types::{
    Dependency, FoundTrace, FoundTraces, JaegerError, Operation, OperationsQuery, TimeRange,
    TraceFilter, kind_name, parse_kind, parse_trace_id,
};
