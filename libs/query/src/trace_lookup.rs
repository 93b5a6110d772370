//! Finds whole traces by TraceQL, for the query APIs of Jaeger and Zipkin.

mod attributes;
mod fetch;

use bytes::Bytes;
use prost::Message as _;
use tactus_api::request::{SearchKind, SearchQuery};
use tactus_api::{Error, RequestedRange, Result};
use tactus_config::sections::query_apis::TraceLookups;
use tactus_model::{TenantId, TraceId};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::tempopb::{SpanSet, TraceSearchMetadata};

use crate::frontend::Frontend;
use crate::trace_by_id::{TraceMemory, malformed};

pub use attributes::{attribute, equals_text, quoted};

/// Number of spans that a search shows of each trace, to decide whether a matching one starts within the window.
const SHOWN_SPANS: u32 = 20;

/// If too few of the traces found start within the window, this many times more are asked for.
const WIDENING: u32 = 8;

/// Most traces that are asked for where the limit of searches is none.
const MOST_TRACES: u32 = 262_144;

/// Which traces to find: those with a span that matches and starts within the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLookup {
    /// A TraceQL query. All outside text in it must pass through [`quoted`], [`attribute`] or [`equals_text`].
    pub query: String,
    /// Most traces to return; the newest are preferred.
    pub limit: u32,
    /// First nanosecond since 1970.
    pub start: u64,
    /// Last nanosecond since 1970.
    pub end: u64,
}

/// A trace that a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundId {
    /// The trace.
    pub id: TraceId,
    /// Its first nanosecond since 1970.
    pub start: u64,
    /// Its last nanosecond since 1970, to the millisecond above.
    pub end: u64,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundIds {
    /// The newest first.
    pub traces: Vec<FoundId>,
    /// Something could not be read, so traces may be missing.
    pub partial: bool,
    /// Bytes that were inspected to find them.
    pub inspected_bytes: u64,
}

/// A trace with all its spans. It stays encoded until it is needed: as messages it is several times as large.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeTrace {
    /// The trace.
    pub id: TraceId,
    /// Its spans by resource and scope, as a message of [`TracesData`].
    pub encoded: Bytes,
    /// How many spans it has.
    pub spans: usize,
    /// About what [`Self::decode`] takes besides, in bytes.
    pub decoded_bytes: u64,
    /// Spans were left out because the trace has more bytes than the tenant may read at once.
    pub truncated: bool,
    /// Why spans may be missing; empty if none are.
    pub message: String,
    /// The memory it takes encoded.
    pub memory: TraceMemory,
}

impl WholeTrace {
    /// True if something could not be read that may have spans of it.
    pub fn may_lack_spans(&self) -> bool {
        !self.message.is_empty()
    }

    /// What it takes to send it, besides what it holds. What is converted replaces what was decoded; processes may take more, but
    /// not more than all of the trace.
    pub fn bytes_to_send(&self) -> u64 {
        self.decoded_bytes + self.encoded.len() as u64
    }

    /// The spans by resource and scope. Errors: [`Error::Internal`] if a store gave something else than a trace.
    pub fn decode(&self) -> Result<TracesData> {
        TracesData::decode(self.encoded.clone()).map_err(malformed)
    }
}

/// Traces with all their spans.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WholeTraces {
    /// In the order asked for, the newest first after a search.
    pub traces: Vec<WholeTrace>,
    /// Ids that were asked for and that nobody has.
    pub missing: Vec<TraceId>,
    /// Something could not be read, or did not fit into the answer, so traces may be missing.
    pub partial: bool,
    /// Memory to send one of several at a time, see [`WholeTrace::bytes_to_send`].
    pub decoding: TraceMemory,
}

impl Frontend {
    /// Finds the newest traces that match. Errors: the query is invalid, or the window is too long.
    pub async fn find_trace_ids(
        &self,
        tenants: &[TenantId],
        lookup: &TraceLookup,
    ) -> Result<FoundIds> {
        if lookup.limit == 0 || lookup.end < lookup.start {
            return Ok(FoundIds::default());
        }
        let text = format!("{} with (most_recent=true)", lookup.query);
        let root = self.parse_traceql(tenants, &text).await?;
        let mut query = SearchQuery {
            kind: SearchKind::TraceQl { text, root: Box::new(root) },
            limit: lookup.limit,
            spans_per_span_set: SHOWN_SPANS,
            // Zero would mean that there is no start.
            range: RequestedRange { start: lookup.start.max(1), end: lookup.end, since: None },
            explain: false,
        };
        let most = most_traces(self.settings.section.search.max_result_limit, lookup.limit);
        let mut inspected_bytes = 0u64;
        loop {
            let found = self.search(tenants, &query).await?;
            let metrics = found.response.metrics.as_ref();
            let inspected = metrics.map_or(0, |metrics| metrics.inspected_bytes);
            inspected_bytes = inspected_bytes.saturating_add(inspected);
            let all = &found.response.traces;
            let within = all.iter().filter(|trace| starts_within(trace, lookup));
            let traces: Vec<FoundId> =
                within.take(lookup.limit as usize).map(found_id).collect::<Result<_>>()?;
            let has_all = all.len() < query.limit as usize || traces.len() >= lookup.limit as usize;
            if has_all || query.limit == most {
                let partial = found.partial || !has_all;
                return Ok(FoundIds { traces, partial, inspected_bytes });
            }
            // The newest traces in these seconds are outside the window.
            query.limit = query.limit.saturating_mul(WIDENING).min(most);
        }
    }

    /// Finds the newest traces that match, whole.
    pub async fn find_whole_traces(
        &self,
        tenants: &[TenantId],
        lookup: &TraceLookup,
        settings: &TraceLookups,
    ) -> Result<WholeTraces> {
        let found = self.find_trace_ids(tenants, lookup).await?;
        let ids: Vec<TraceId> = found.traces.iter().map(|trace| trace.id).collect();
        let mut traces = self.whole_traces(tenants, &ids, settings).await?;
        traces.partial |= found.partial;
        Ok(traces)
    }
}

/// How many traces may be asked for to find `limit` of them; a `max_result_limit` of 0 is no limit.
fn most_traces(max_result_limit: u32, limit: u32) -> u32 {
    let most = if max_result_limit == 0 { MOST_TRACES } else { max_result_limit };
    most.max(limit)
}

/// True if a matching span starts within the window: a search works on whole seconds and whole traces. Also true if too
/// few matching spans are shown to decide.
fn starts_within(trace: &TraceSearchMetadata, lookup: &TraceLookup) -> bool {
    let window = lookup.start..=lookup.end;
    let sets = || trace.span_set.iter().chain(&trace.span_sets);
    let shows_all =
        |set: &SpanSet| !set.spans.is_empty() && set.spans.len() as u64 >= u64::from(set.matched);
    let is_inside = |set: &SpanSet| {
        !shows_all(set) || set.spans.iter().any(|span| window.contains(&span.start_time_unix_nano))
    };
    sets().next().is_none() || sets().any(is_inside)
}

fn found_id(trace: &TraceSearchMetadata) -> Result<FoundId> {
    let id = TraceId::from_hex(&trace.trace_id)
        .ok_or_else(|| Error::Internal(format!("not a trace id: {}", trace.trace_id)))?;
    let start = trace.start_time_unix_nano;
    let millis = u64::from(trace.duration_ms).saturating_add(1);
    Ok(FoundId { id, start, end: start.saturating_add(millis.saturating_mul(1_000_000)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_traces_may_be_asked_for_where_searches_have_no_limit() {
        assert_eq!(most_traces(0, 10), MOST_TRACES);
        assert_eq!(most_traces(0, MOST_TRACES + 1), MOST_TRACES + 1);
        assert_eq!((most_traces(500, 10), most_traces(5, 10)), (500, 10));
    }
}
