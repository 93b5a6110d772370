//! Traces as the messages of a stream. A trace is turned into messages when the client has taken the one before.

use futures_util::{StreamExt as _, stream};
use tactus_api::Result;
use tactus_jaeger::adjust::warn_on_root;
use tactus_jaeger::from_otlp;
use tactus_proto::jaeger::api_v2;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_query::{error_status, offload, partial_status};
use tonic::{Response, Status};

use super::answering::{Answer, Messages};
use super::chunks::{self, MESSAGE_BYTES, MESSAGE_SPANS};
use crate::jaeger::{FoundTrace, FoundTraces};

/// Traces of more spans are converted away from the threads that serve connections.
const INLINE_SPANS: usize = 500;

/// Traces as OTLP.
pub(super) fn otlp(found: FoundTraces) -> Answer<Messages<TracesData>> {
    answer(found, |trace| chunks::of_otlp(trace.data, MESSAGE_BYTES))
}

/// Traces as spans of Jaeger's model, each with its process.
pub(super) fn model<M: Send + 'static>(
    found: FoundTraces,
    message: impl Fn(Vec<api_v2::Span>) -> M + Copy + Send + 'static,
) -> Answer<Messages<M>> {
    answer(found, move |trace| {
        let spans = from_otlp::spans(&trace.data.resource_spans);
        chunks::in_groups(spans, MESSAGE_SPANS, message)
    })
}

/// The answer with one trace. Where there is something to be known of it, spans may be missing.
pub(super) fn one(trace: FoundTrace) -> FoundTraces {
    let partial = !trace.warnings.is_empty();
    FoundTraces { traces: vec![trace], missing: Vec::new(), partial }
}

fn answer<M: Send + 'static>(
    found: FoundTraces,
    convert: impl Fn(FoundTrace) -> Vec<M> + Copy + Send + 'static,
) -> Answer<Messages<M>> {
    let of_trace = move |mut trace: FoundTrace| async move {
        warn_on_root(&mut trace.data.resource_spans, &trace.warnings);
        let is_large = chunks::spans(&trace.data) > INLINE_SPANS;
        items(offload(is_large, move || convert(trace)).await)
    };
    let messages = stream::iter(found.traces).then(of_trace).flat_map(stream::iter);
    let end = found.partial.then(|| Err(partial_status()));
    Ok(Response::new(Box::pin(messages.chain(stream::iter(end)))))
}

/// What the stream has for a trace: its messages, or why there are none.
fn items<M>(converted: Result<Vec<M>>) -> Vec<Result<M, Status>> {
    match converted {
        Ok(messages) => messages.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error_status(&error))],
    }
}
