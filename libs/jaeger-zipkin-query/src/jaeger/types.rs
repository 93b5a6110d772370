//! Questions and answers of Jaeger's query APIs, whatever the protocol.

use std::time::Duration;

use tactus_model::TraceId;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use tactus_query::TraceMemory;

/// A range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First nanosecond since 1970.
    pub start: u64,
    /// Last nanosecond since 1970.
    pub end: u64,
}

/// Which traces to find: those of which one span satisfies all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceFilter {
    /// Service of the span, or several joined by commas; empty is any.
    pub service: String,
    /// Name of the span; empty is any.
    pub operation: String,
    /// Tags of the span; all must match.
    pub tags: Vec<(String, String)>,
    /// When the span starts.
    pub range: TimeRange,
    /// The span takes so long at least.
    pub min_duration: Option<Duration>,
    /// The span takes so long at most.
    pub max_duration: Option<Duration>,
    /// Traces at most, the newest ones.
    pub limit: u32,
    /// Traces are answered as they are stored, without what makes them easier to read.
    pub raw: bool,
}

/// Which operations to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationsQuery {
    /// The service.
    pub service: String,
    /// Spans of this kind only, by Jaeger's name of it; empty is any.
    pub span_kind: String,
}

/// The name of spans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// The name.
    pub name: String,
    /// The kind of the spans.
    pub kind: SpanKind,
}

/// Calls from one service to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The caller.
    pub parent: String,
    /// The called one.
    pub child: String,
    /// How many.
    pub call_count: u64,
}

/// Traces, adjusted unless they are asked for raw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundTraces {
    /// In the order asked for, the newest first after a search.
    pub traces: Vec<FoundTrace>,
    /// Ids that were asked for and that nobody has.
    pub missing: Vec<TraceId>,
    /// Something could not be read, or did not fit into the answer: there may be more.
    pub partial: bool,
}

/// A trace with all its spans.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundTrace {
    /// The trace.
    pub id: TraceId,
    /// Its spans by resource and scope.
    pub data: TracesData,
    /// What is to be known of the trace as a whole, as that it is cut.
    pub warnings: Vec<String>,
    /// What it takes.
    pub memory: TraceMemory,
}

/// All kinds, in the order in which operations are listed.
pub(crate) const KINDS: [SpanKind; 6] = [
    SpanKind::Client,
    SpanKind::Consumer,
    SpanKind::Internal,
    SpanKind::Producer,
    SpanKind::Server,
    SpanKind::Unspecified,
];

/// The name of a kind, in TraceQL as well.
pub(crate) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

/// The kind of this name.
pub(crate) fn parse_kind(text: &str) -> Option<SpanKind> {
    KINDS.into_iter().find(|&kind| kind_name(kind) == text)
}
