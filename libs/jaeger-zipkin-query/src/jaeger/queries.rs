//! Jaeger's queries over the query-frontend, whatever the protocol.

mod names;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tactus_jaeger::adjust::{AdjustSettings, adjust, cut, too_large_warning};
use tactus_model::{TenantId, TraceId};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;

use super::error::{JaegerError, Result};
use super::{JaegerSettings, matching};
use tactus_query::Frontend;
use tactus_query::GraphWindow;
use tactus_query::offload;
use tactus_query::{FoundIds, TraceLookup, WholeTrace, WholeTraces};

/// Traces of more spans are adjusted away from the threads that serve connections.
const INLINE_SPANS: usize = 1_000;

/// Answers Jaeger's queries.
#[derive(Clone)]
pub struct JaegerQueries {
    pub(super) frontend: Arc<Frontend>,
    settings: Arc<JaegerSettings>,
}

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
}

impl fmt::Debug for JaegerQueries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JaegerQueries").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl JaegerQueries {
    /// Queries over this frontend.
    pub fn new(frontend: Arc<Frontend>, settings: JaegerSettings) -> Self {
        Self { frontend, settings: Arc::new(settings) }
    }

    /// Finds the newest traces that match. Errors: more traces asked for than allowed, a range that is too long.
    pub async fn find_traces(
        &self,
        tenants: &[TenantId],
        filter: &TraceFilter,
    ) -> Result<FoundTraces> {
        let Some(lookup) = self.lookup(filter)? else { return Ok(FoundTraces::default()) };
        let lookup_settings = &self.settings.lookup;
        let found = self.frontend.find_whole_traces(tenants, &lookup, lookup_settings).await?;
        self.prepare_all(found, filter.raw).await
    }

    /// Finds the newest traces that match, and no spans of them. Errors: as of [`Self::find_traces`].
    pub async fn find_trace_ids(
        &self,
        tenants: &[TenantId],
        filter: &TraceFilter,
    ) -> Result<FoundIds> {
        let Some(lookup) = self.lookup(filter)? else { return Ok(FoundIds::default()) };
        Ok(self.frontend.find_trace_ids(tenants, &lookup).await?)
    }

    /// One trace. Errors: [`JaegerError::NotFound`].
    pub async fn trace(&self, tenants: &[TenantId], id: TraceId, raw: bool) -> Result<FoundTrace> {
        let found = self.frontend.whole_trace(tenants, id).await?;
        self.prepare(found, raw).await
    }

    /// Several traces by their ids. Errors: more ids than a search may find.
    pub async fn traces(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        raw: bool,
    ) -> Result<FoundTraces> {
        self.check_limit(u32::try_from(ids.len()).unwrap_or(u32::MAX))?;
        let found = self.frontend.whole_traces(tenants, ids, &self.settings.lookup).await?;
        self.prepare_all(found, raw).await
    }

    /// Who calls whom, by caller, then called one. Services that call themselves are left out.
    pub async fn dependencies(
        &self,
        tenants: &[TenantId],
        range: TimeRange,
    ) -> Result<Vec<Dependency>> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        // The start of a graph's window is exclusive.
        let window = GraphWindow {
            start_unix_nanos: range.start.saturating_sub(1),
            end_unix_nanos: range.end,
        };
        let graph = self.frontend.service_graph(tenants, window, None).await?;
        let mut calls: BTreeMap<(String, String), u64> = BTreeMap::new();
        for edge in graph.edges {
            if edge.connection_type.is_between_services() && edge.client != edge.server {
                let count = edge.call_count();
                *calls.entry((edge.client, edge.server)).or_default() += count;
            }
        }
        let dependency = |((parent, child), call_count)| Dependency { parent, child, call_count };
        Ok(calls.into_iter().map(dependency).collect())
    }

    fn lookup(&self, filter: &TraceFilter) -> Result<Option<TraceLookup>> {
        self.check_limit(filter.limit)?;
        let lookup = |query| TraceLookup {
            query,
            limit: filter.limit,
            start: filter.range.start,
            end: filter.range.end,
        };
        Ok(matching::traceql(filter).map(lookup))
    }

    fn check_limit(&self, limit: u32) -> Result<()> {
        let limits = [self.settings.max_limit, self.frontend.settings.search.max_result_limit];
        match limits.into_iter().filter(|&max| max != 0).min() {
            Some(max) if limit > max => {
                Err(JaegerError::Invalid(format!("limit {limit} exceeds max limit {max}")))
            }
            _ => Ok(()),
        }
    }

    async fn prepare_all(&self, found: WholeTraces, raw: bool) -> Result<FoundTraces> {
        let WholeTraces { traces, missing, partial } = found;
        let mut prepared = Vec::with_capacity(traces.len());
        for trace in traces {
            prepared.push(self.prepare(trace, raw).await?);
        }
        Ok(FoundTraces { traces: prepared, missing, partial })
    }

    /// A trace as answers show it unless it is asked for raw.
    pub(super) fn adjusted(&self, mut trace: FoundTrace) -> FoundTrace {
        let settings = AdjustSettings { max_clock_skew: self.settings.max_clock_skew_adjust };
        adjust(&mut trace.data.resource_spans, &settings);
        trace
    }

    async fn prepare(&self, found: WholeTrace, raw: bool) -> Result<FoundTrace> {
        let WholeTrace { id, mut data, truncated, message } = found;
        let spans = data.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let spans = spans.map(|scope| scope.spans.len()).sum();
        let queries = self.clone();
        let prepared = offload(spans > INLINE_SPANS, move || {
            let max_spans = queries.settings.max_spans_per_trace;
            let mut warnings = Vec::new();
            if max_spans != 0 && spans > max_spans {
                warnings.extend(cut(&mut data.resource_spans, max_spans));
            } else if truncated {
                warnings.push(too_large_warning(spans));
            }
            if !message.is_empty() {
                warnings.push(message);
            }
            let trace = FoundTrace { id, data, warnings };
            if raw { trace } else { queries.adjusted(trace) }
        });
        Ok(prepared.await?)
    }
}
