//! Traces in a few words each, as lists show them.

use bytes::Bytes;
use tactus_model::TraceId;
use tactus_proto::jaeger::{api_v3, storage::v2};
use tonic::{Request, Status};

use super::answering::{Answer, Answering, Messages, messages};
use crate::chunks;
use crate::jaeger::{ServiceSummary, TraceFilter, TraceSummary};

/// Summaries in a message.
const MESSAGE_SUMMARIES: usize = 100;

/// Summaries of the traces that match the filter of a request, in messages of at most a hundred.
pub(super) async fn find<R, S: prost::Message, M: Send + 'static>(
    answering: &Answering,
    request: Request<R>,
    filter: impl FnOnce(R) -> Result<TraceFilter, Status>,
    shown: impl Fn(TraceSummary) -> S,
    message: impl Fn(Vec<S>) -> M,
) -> Answer<Messages<M>> {
    let (tenants, request) = answering.read(request)?;
    let found = answering.queries.find_traces(&tenants, &filter(request)?).await?;
    let partial = found.partial;
    let summaries = answering.queries.summaries(&tenants, found).await?;
    let groups = chunks::in_groups(summaries.into_iter().map(shown), MESSAGE_SUMMARIES, message);
    messages(groups.map(|(group, _)| group).collect(), partial)
}

/// A function that puts a summary into the messages of a module; `$id` says how they write its id.
macro_rules! into_message {
    ($(#[$doc:meta])* $name:ident, $messages:ident, $id:expr) => {
        $(#[$doc])*
        pub(super) fn $name(summary: TraceSummary) -> $messages::TraceSummary {
            let service = |ServiceSummary { name, spans, error_spans }| $messages::ServiceSummary {
                name,
                span_count: count(spans),
                error_span_count: count(error_spans),
            };
            $messages::TraceSummary {
                trace_id: $id(summary.id),
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
    };
}

into_message!(
    /// As the query API has it.
    v3, api_v3, |id: TraceId| id.to_hex()
);
into_message!(
    /// As a storage has it.
    storage, v2, |id: TraceId| Bytes::copy_from_slice(&id.0)
);

fn count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
