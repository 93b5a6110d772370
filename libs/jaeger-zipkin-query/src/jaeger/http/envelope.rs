//! What answers of v1 are wrapped in.

use axum::response::Response;
use serde::{Serialize, Serializer};
use tactus_jaeger::json::{self, Envelope, EnvelopeError};

use super::answer::{Answer, refusal};
use crate::jaeger::error::Result;
use crate::jaeger::{FoundTrace, FoundTraces, JaegerError};
use tactus_query::offload;

/// Answers with more spans are encoded away from the threads that serve connections.
const INLINE_SPANS: usize = 500;

/// An error in place of an answer.
pub(super) fn refuse(error: &JaegerError) -> Response {
    let status = error.http_status();
    let item =
        EnvelopeError { code: status.as_u16(), msg: error.to_string(), trace_id: String::new() };
    let envelope =
        Envelope { errors: Some(vec![item]), ..Envelope::<Option<Vec<()>>>::new(None, 0) };
    refusal(status, &envelope)
}

/// A list that the answer tells the length of.
pub(super) fn counted_list<T: Serialize>(list: &[T], pretty: bool) -> Result<Answer> {
    Answer::json(&Envelope::new(list, list.len()), pretty)
}

/// Anything else.
pub(super) fn data<T: Serialize>(data: T, pretty: bool) -> Result<Answer> {
    Answer::json(&Envelope::new(data, 0), pretty)
}

/// Traces that are put into their form when they are written, one after the other.
struct ShownTraces(Vec<FoundTrace>);

impl Serialize for ShownTraces {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0.iter().map(|trace| {
                json::trace(trace.id, &trace.data.resource_spans, trace.warnings.clone())
            }),
        )
    }
}

/// Traces, with an error for each that is missing.
pub(super) async fn traces(found: FoundTraces, pretty: bool) -> Result<Answer> {
    let resources = found.traces.iter().flat_map(|trace| &trace.data.resource_spans);
    let scopes = resources.flat_map(|resource| &resource.scope_spans);
    let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
    offload(spans > INLINE_SPANS, move || {
        let FoundTraces { traces, missing, partial } = found;
        let missing: Vec<_> = missing
            .into_iter()
            .map(|id| EnvelopeError {
                code: 0,
                msg: JaegerError::NotFound.to_string(),
                trace_id: json::shown_trace_id(id),
            })
            .collect();
        let errors = (!missing.is_empty()).then_some(missing);
        let envelope = Envelope { errors, ..Envelope::new(ShownTraces(traces), 0) };
        Ok(Answer::json(&envelope, pretty)?.partial(partial))
    })
    .await?
}
