//! Jaeger's queries over the query-frontend, whatever the protocol.

mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

use tactus_config::sections::query_apis::JaegerApis;
use tactus_jaeger::adjust::{adjust, cut, too_large_warning};
use tactus_model::{TenantId, TraceId};
use tactus_query::{
    FoundIds, Frontend, GraphWindow, TraceLookup, WholeTrace, WholeTraces, as_part_of_query,
    offload,
};

use super::matching;
use super::types::{Dependency, FoundTrace, FoundTraces, Result, TimeRange, TraceFilter};
use crate::call::check_limit;
use crate::long_work::takes_long;

/// Answers Jaeger's queries.
#[derive(Clone)]
pub(crate) struct JaegerQueries {
    pub(super) frontend: Arc<Frontend>,
    settings: Arc<JaegerApis>,
}

tactus_telemetry::debug_of!(JaegerQueries { settings });

impl AsRef<Frontend> for JaegerQueries {
    fn as_ref(&self) -> &Frontend {
        &self.frontend
    }
}

impl JaegerQueries {
    /// Queries over this frontend.
    pub(crate) fn new(frontend: Arc<Frontend>, settings: JaegerApis) -> Self {
        Self { frontend, settings: Arc::new(settings) }
    }

    /// Finds the newest traces that match. Errors: more traces asked for than allowed, a range that is too long.
    pub(crate) async fn find_traces(
        &self,
        tenants: &[TenantId],
        filter: &TraceFilter,
    ) -> Result<FoundTraces> {
        let Some(lookup) = self.lookup(filter)? else { return Ok(FoundTraces::default()) };
        let lookup_settings = &self.settings.lookup;
        let found = self.frontend.find_whole_traces(tenants, &lookup, lookup_settings).await?;
        as_part_of_query(tenants, self.prepare_all(found, filter.raw)).await
    }

    /// Finds the newest traces that match, and no spans of them. Errors: as of [`Self::find_traces`].
    pub(crate) async fn find_trace_ids(
        &self,
        tenants: &[TenantId],
        filter: &TraceFilter,
    ) -> Result<FoundIds> {
        let Some(lookup) = self.lookup(filter)? else { return Ok(FoundIds::default()) };
        Ok(self.frontend.find_trace_ids(tenants, &lookup).await?)
    }

    /// One trace. Errors: `JaegerError::NotFound`.
    pub(crate) async fn trace(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        raw: bool,
    ) -> Result<FoundTrace> {
        let found = self.frontend.whole_trace(tenants, id).await?;
        as_part_of_query(tenants, self.prepare(found, raw)).await
    }

    /// Several traces by their ids. Errors: more ids than a search may find.
    pub(crate) async fn traces(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        raw: bool,
    ) -> Result<FoundTraces> {
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        check_limit(count, self.settings.max_limit, &self.frontend)?;
        let found = self.frontend.whole_traces(tenants, ids, &self.settings.lookup).await?;
        as_part_of_query(tenants, self.prepare_all(found, raw)).await
    }

    /// Who calls whom, by caller, then called one. Services that call themselves are left out.
    pub(crate) async fn dependencies(
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
        check_limit(filter.limit, self.settings.max_limit, &self.frontend)?;
        let lookup = |query| TraceLookup {
            query,
            limit: filter.limit,
            start: filter.range.start,
            end: filter.range.end,
        };
        Ok(matching::traceql(filter).map(lookup))
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
        let max_clock_skew = self.settings.max_clock_skew_adjust.as_std();
        adjust(&mut trace.data.resource_spans, max_clock_skew);
        trace
    }

    async fn prepare(&self, found: WholeTrace, raw: bool) -> Result<FoundTrace> {
        let WholeTrace { id, mut data, truncated, message, memory } = found;
        let spans = data.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let spans = spans.map(|scope| scope.spans.len()).sum();
        let queries = self.clone();
        let prepared = offload(takes_long(&data.resource_spans), move || {
            let max_spans = queries.settings.max_trace_size;
            let mut warnings = Vec::new();
            if max_spans != 0 && spans > max_spans {
                warnings.extend(cut(&mut data.resource_spans, max_spans));
            } else if truncated {
                warnings.push(too_large_warning(spans));
            }
            if !message.is_empty() {
                warnings.push(message);
            }
            let trace = FoundTrace { id, data, warnings, memory };
            if raw { trace } else { queries.adjusted(trace) }
        });
        Ok(prepared.await?)
    }
}
