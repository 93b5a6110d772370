//! Traces in a few words each, as lists show them.

use bytes::Bytes;
use tactus_model::TenantId;
use tactus_proto::jaeger::{api_v3, storage::v2};
use tonic::Status;

use super::{chunks, refuse};
use crate::jaeger::{JaegerQueries, ServiceSummary, TraceFilter, TraceSummary};
use tactus_query::{error_status, offload};

/// Summaries in a message.
const MESSAGE_SUMMARIES: usize = 100;

/// Traces of more spans are summed up away from the threads that serve connections.
const INLINE_SPANS: usize = 5_000;

/// Summaries of the traces that a search finds, and whether some may be missing.
pub(super) async fn find(
    queries: &JaegerQueries,
    tenants: &[TenantId],
    filter: &TraceFilter,
) -> Result<(Vec<TraceSummary>, bool), Status> {
    let found = queries.find_traces(tenants, filter).await.map_err(refuse)?;
    let spans: usize = found.traces.iter().map(|trace| chunks::spans(&trace.data)).sum();
    let (traces, partial) = (found.traces, found.partial);
    let sum_up = move || traces.iter().map(TraceSummary::of).collect();
    let summaries = offload(spans > INLINE_SPANS, sum_up).await;
    Ok((summaries.map_err(|error| error_status(&error))?, partial))
}

/// Summaries in messages of at most a hundred.
pub(super) fn messages_of<S, M>(summaries: Vec<S>, message: impl Fn(Vec<S>) -> M) -> Vec<M> {
    chunks::in_groups(summaries, MESSAGE_SUMMARIES, message)
}

/// As the query API has it.
pub(super) fn v3(summary: TraceSummary) -> api_v3::TraceSummary {
    let service = |ServiceSummary { name, spans, error_spans }| api_v3::ServiceSummary {
        name,
        span_count: count(spans),
        error_span_count: count(error_spans),
    };
    api_v3::TraceSummary {
        trace_id: summary.id.to_hex(),
        root_service_name: summary.root_service,
        root_operation_name: summary.root_operation,
        min_start_time_unix_nano: summary.start,
        max_end_time_unix_nano: summary.end,
        span_count: count(summary.spans),
        error_span_count: count(summary.error_spans),
        orphan_span_count: count(summary.orphan_spans),
        services: summary.services.into_iter().map(service).collect(),
    }
}

/// As a storage has it.
pub(super) fn storage(summary: TraceSummary) -> v2::TraceSummary {
    let service = |ServiceSummary { name, spans, error_spans }| v2::ServiceSummary {
        name,
        span_count: count(spans),
        error_span_count: count(error_spans),
    };
    v2::TraceSummary {
        trace_id: Bytes::copy_from_slice(&summary.id.0),
        root_service_name: summary.root_service,
        root_operation_name: summary.root_operation,
        min_start_time_unix_nano: summary.start,
        max_end_time_unix_nano: summary.end,
        span_count: count(summary.spans),
        error_span_count: count(summary.error_spans),
        orphan_span_count: count(summary.orphan_spans),
        services: summary.services.into_iter().map(service).collect(),
    }
}

fn count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
