//! Jaeger's query APIs, for its UI, its data source in Grafana, and users' scripts.
//!
//! [`queries`] answers Jaeger's queries through the query-frontend. HTTP (here) and gRPC convert them from and to
//! messages.

mod http;
mod matching;
mod performance;
mod queries;
mod summary;
mod types;

pub(crate) use http::jaeger_router;
pub(crate) use performance::{Measure, Performance, PerformanceQuery, PerformanceSeries};
pub(crate) use queries::{JaegerQueries, USUAL_LENGTH};
pub(crate) use summary::{ServiceSummary, TraceSummary};
pub(crate) use types::{
    Dependency, FoundTraces, JaegerError, Operation, OperationsQuery, ShownTrace, TimeRange,
    TraceFilter, kind_name, parse_kind, parse_trace_id,
};
