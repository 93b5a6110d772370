//! The service graph: which service calls which, how often, how fast, and with how many errors.
//!
//! It is the TraceQL function `service_graph()` with the window as its only interval. So everything that holds for
//! metrics queries holds here: each span counts once, and jobs, limits and caches are the same. Jaeger's and Zipkin's
//! dependencies and `GET /api/service-graph` are made of it.

mod edges;
mod response;

use tactus_api::request::{MetricsQuery, parse_traceql};
use tactus_api::{Error, Result};
use tactus_model::TenantId;
use tactus_traceql::ast::Query;
use tactus_traceql::{GraphMeasure, MetricsExpression, MetricsStage, RootExpr, ast};

use crate::frontend::Frontend;
use crate::metrics_query::SeriesAnswer;
use crate::offload::offload;

pub(crate) use response::response_json;

/// Of more series a graph is made away from the threads that serve connections.
const INLINE_SERIES: usize = 1_000;

/// A range of time, in unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphWindow {
    /// Exclusive.
    pub start_unix_nanos: u64,
    /// Inclusive, after the start.
    pub end_unix_nanos: u64,
}

/// The calls of a window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceGraph {
    /// By client, server and connection type; each combination once.
    pub edges: Vec<Edge>,
    /// Something could not be read, so edges may be missing and counts too small.
    pub partial: bool,
}

/// All calls from one service to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The calling service, or a virtual node.
    pub client: String,
    /// The called service, database or virtual node. May be the client: a service that calls itself.
    pub server: String,
    /// What is known of the connection.
    pub connection_type: ConnectionType,
    /// Number of calls: a whole number unless counts are adjusted for sampling.
    pub calls: f64,
    /// Number of calls that failed on either side.
    pub errors: f64,
    /// Latency seen by the client; `None` if it was not measured.
    pub client_latency: Option<Latency>,
    /// Latency seen by the server; `None` if it was not measured.
    pub server_latency: Option<Latency>,
}

/// Quantiles of durations, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Half of the calls took at most as long.
    pub p50: f64,
    /// 90 % of them.
    pub p90: f64,
    /// 99 % of them.
    pub p99: f64,
}

/// The type of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionType {
    /// Both sides have spans.
    Direct,
    /// Both sides have spans: producer and consumer.
    MessagingSystem,
    /// The server is a database without spans of its own.
    Database,
    /// The client has no spans: named by the server's peer, or `user`.
    VirtualClient,
    /// The server has no spans: named by the client's peer.
    VirtualServer,
}

impl ConnectionType {
    /// As in the label `connection_type`; empty for [`Self::Direct`].
    pub fn text(self) -> &'static str {
        match self {
            Self::Direct => "",
            Self::MessagingSystem => "messaging_system",
            Self::Database => "database",
            Self::VirtualClient | Self::VirtualServer => "virtual_node",
        }
    }

    /// True if both sides have spans: the edges that Jaeger calls dependencies, self links aside.
    pub fn is_between_services(self) -> bool {
        matches!(self, Self::Direct | Self::MessagingSystem)
    }
}

impl Edge {
    /// [`Self::calls`] as a whole number.
    pub fn call_count(&self) -> u64 {
        self.calls.round() as u64
    }

    /// [`Self::errors`] as a whole number.
    pub fn error_count(&self) -> u64 {
        self.errors.round() as u64
    }
}

impl Frontend {
    /// The service graph of these tenants, their spans taken together.
    ///
    /// `filter`: a TraceQL pipeline, as `{ resource.cluster = "a" }`, that one of the two spans of an edge must satisfy. The
    /// window may be of any length; the limits of a tenant on bytes read hold.
    ///
    /// Errors: [`Error::Invalid`] for a filter that is not a spanset pipeline or an empty window, and those of metrics
    /// queries.
    pub async fn service_graph(
        &self,
        tenants: &[TenantId],
        window: GraphWindow,
        filter: Option<&str>,
    ) -> Result<ServiceGraph> {
        let max_bytes = self.settings.section.max_query_expression_size_bytes;
        let text = filter.map(str::to_owned);
        let parse = move || query(window, text.as_deref(), max_bytes);
        let query = self.parse(tenants, filter.unwrap_or_default(), parse).await?;
        let SeriesAnswer { answer, partial, memory: _held, .. } =
            self.query_metrics(tenants, &query).await?;
        let is_long = answer.series.len() > INLINE_SERIES;
        let edges = offload(is_long, move || edges::edges(answer)).await?;
        Ok(ServiceGraph { edges, partial })
    }
}

/// The metrics query of this function on the spans of a query, with its hints as far as anybody may give them. `None` if it
/// has a metrics function already.
pub(crate) fn measured(spans: RootExpr, stage: MetricsStage) -> Option<RootExpr> {
    let Query::Search(pipeline) = spans.query else { return None };
    let metrics = MetricsExpression::Query(Box::new(ast::MetricsQuery { pipeline, stage }));
    Some(RootExpr { query: Query::Metrics(metrics), hints: spans.hints.only_safe() })
}

/// The metrics query that yields the parts of the graph. `max_bytes`: longest filter, 0 is any.
fn query(window: GraphWindow, filter: Option<&str>, max_bytes: usize) -> Result<MetricsQuery> {
    let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
    let GraphWindow { start_unix_nanos: start, end_unix_nanos: end } = window;
    if start >= end {
        return invalid("end must be greater than start");
    }
    let filter = filter.map(str::trim).filter(|filter| !filter.is_empty()).unwrap_or("{ }");
    let stage = MetricsStage::ServiceGraph(GraphMeasure::All);
    let Some(root) = measured(parse_traceql(filter, max_bytes)?, stage) else {
        return invalid("the filter of a service graph has no metrics function");
    };
    Ok(MetricsQuery {
        text: root.to_string(),
        explain: false,
        is_instant: true,
        exemplars: 0,
        root,
        start,
        end,
        step: end - start,
        max_series: 0,
    })
}
