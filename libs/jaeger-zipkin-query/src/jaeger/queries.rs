//! Jaeger's queries over the query-frontend, whatever the protocol.

mod names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tactus_config::sections::query_apis::JaegerApis;
use tactus_jaeger::adjust::{adjust, cut, too_large_warning};
use tactus_model::{TenantId, TraceId};
use tactus_query::{
    Edge, FoundIds, Frontend, GraphWindow, Listed, ServiceGraph, TraceLookup, WholeTrace,
    WholeTraces, offload,
};

use super::matching;
use super::summary::TraceSummary;
use super::types::{Dependency, FoundTraces, Result, ShownTrace, TimeRange, TraceFilter};
use crate::call::{MANY_EDGES, check_limit, limit_of, usual_length};
use crate::sending::ToSend;

/// Traces of a search that does not say how many.
const USUAL_LIMIT: u32 = 100;

/// The range of a search that does not say since when.
pub(crate) const USUAL_LENGTH: Duration = Duration::from_secs(48 * 3600);

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
        let Some(lookup) = self.lookup(tenants, filter).await? else {
            return Ok(FoundTraces::default());
        };
        let lookup_settings = &self.settings.lookup;
        let found = self.frontend.find_whole_traces(tenants, &lookup, lookup_settings).await?;
        Ok(FoundTraces::of(found, filter.raw))
    }

    /// Finds the newest traces that match, and no spans of them. Errors: as of [`Self::find_traces`].
    pub(crate) async fn find_trace_ids(
        &self,
        tenants: &[TenantId],
        filter: &TraceFilter,
    ) -> Result<FoundIds> {
        let Some(lookup) = self.lookup(tenants, filter).await? else {
            return Ok(FoundIds::default());
        };
        Ok(self.frontend.find_trace_ids(tenants, &lookup).await?)
    }

    /// One trace. It is partial if there is something to be known of it, as that spans may be missing. Errors:
    /// `JaegerError::NotFound`.
    pub(crate) async fn trace(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        raw: bool,
    ) -> Result<FoundTraces> {
        let found = self.frontend.whole_trace(tenants, id).await?;
        let partial = self.is_cut(&found) || found.may_lack_spans();
        Ok(FoundTraces { traces: vec![found], raw, partial, ..FoundTraces::default() })
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
        Ok(FoundTraces::of(found, raw))
    }

    /// Who calls whom, by caller, then called one. Services that call themselves are left out.
    pub(crate) async fn dependencies(
        &self,
        tenants: &[TenantId],
        range: TimeRange,
    ) -> Result<Listed<Vec<Dependency>>> {
        if range.start >= range.end {
            return Ok(Listed::default());
        }
        // The start of a graph's window is exclusive.
        let window = GraphWindow {
            start_unix_nanos: range.start.saturating_sub(1),
            end_unix_nanos: range.end,
        };
        let graph = self.frontend.service_graph(tenants, window, None).await?;
        let ServiceGraph { edges, partial } = graph;
        let list = offload(edges.len() > MANY_EDGES, move || dependencies_of(edges)).await?;
        Ok(Listed { list, partial })
    }

    /// `None` if no span can match.
    async fn lookup(
        &self,
        tenants: &[TenantId],
        filter: &TraceFilter,
    ) -> Result<Option<TraceLookup>> {
        let limit = limit_of(filter.limit, USUAL_LIMIT, self.settings.max_limit, &self.frontend)?;
        let TimeRange { mut start, end } = filter.range;
        if filter.is_usual_range {
            let longest = usual_length(USUAL_LENGTH, &self.frontend, tenants);
            start = start.max(end.saturating_sub(longest.as_nanos() as u64));
        }
        let service = match filter.service.as_str() {
            "" => None,
            name => Some(self.of_service(tenants, name).await?),
        };
        let lookup = |query| TraceLookup { query, limit, start, end };
        Ok(matching::traceql(filter, service).map(lookup))
    }

    /// The traces as answers show them, each decoded when it is taken. Takes long for large ones.
    pub(crate) fn shown(
        &self,
        traces: Vec<WholeTrace>,
        raw: bool,
    ) -> impl Iterator<Item = tactus_api::Result<ShownTrace>> + Send + 'static {
        let queries = self.clone();
        traces.into_iter().map(move |trace| queries.prepare(&trace, raw))
    }

    /// Each trace in a line. Errors: a trace cannot be read, or there is no memory.
    pub(crate) async fn summaries(
        &self,
        tenants: &[TenantId],
        found: FoundTraces,
    ) -> Result<Vec<TraceSummary>> {
        let FoundTraces { traces, raw, decoding, .. } = found;
        let (memory, tenants) = (&self.frontend.memory, tenants.to_vec());
        let to_send = ToSend::new(memory, tenants, &traces, decoding).await?;
        let sum_up = |trace: ShownTrace| (TraceSummary::of(&trace), trace.data.encoded_len());
        let shown = self.shown(traces, raw);
        let mut parts = to_send.parts(shown.map(move |trace| trace.map(sum_up)));
        let mut summaries = Vec::new();
        while let Some(summary) = parts.next().await? {
            summaries.push(summary);
        }
        Ok(summaries)
    }

    fn prepare(&self, found: &WholeTrace, raw: bool) -> tactus_api::Result<ShownTrace> {
        let mut data = found.decode()?;
        let max_spans = self.settings.max_trace_size;
        let mut warnings = Vec::new();
        if max_spans != 0 && found.spans > max_spans {
            warnings.extend(cut(&mut data.resource_spans, max_spans));
        } else if found.truncated {
            warnings.push(too_large_warning(found.spans));
        }
        if !found.message.is_empty() {
            warnings.push(found.message.clone());
        }
        let trace = ShownTrace { id: found.id, data, warnings };
        Ok(if raw { trace } else { self.adjusted(trace) })
    }

    /// A trace as answers show it unless it is asked for raw.
    pub(super) fn adjusted(&self, mut trace: ShownTrace) -> ShownTrace {
        let max_clock_skew = self.settings.max_clock_skew_adjust.as_std();
        adjust(&mut trace.data.resource_spans, max_clock_skew);
        trace
    }

    fn is_cut(&self, found: &WholeTrace) -> bool {
        let max_spans = self.settings.max_trace_size;
        found.truncated || (max_spans != 0 && found.spans > max_spans)
    }
}

fn dependencies_of(edges: Vec<Edge>) -> Vec<Dependency> {
    let mut calls: BTreeMap<(String, String), u64> = BTreeMap::new();
    for edge in edges {
        if edge.connection_type.is_between_services() && edge.client != edge.server {
            let count = edge.call_count();
            *calls.entry((edge.client, edge.server)).or_default() += count;
        }
    }
    let dependency = |((parent, child), call_count)| Dependency { parent, child, call_count };
    calls.into_iter().map(dependency).collect()
}

impl FoundTraces {
    fn of(found: WholeTraces, raw: bool) -> Self {
        let WholeTraces { traces, missing, partial, decoding } = found;
        Self { traces, raw, missing, partial, decoding }
    }
}
