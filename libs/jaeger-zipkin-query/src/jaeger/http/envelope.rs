//! What answers of v1 are wrapped in.

use serde::{Serialize, Serializer};
use tactus_jaeger::json::{self, Envelope, EnvelopeError};
use tactus_query::offload;

use super::call::Answered;
use crate::call::Answer;
use crate::jaeger::{FoundTrace, FoundTraces, JaegerError};
use crate::long_work::takes_long;

/// A message without an envelope, with indentation if `pretty`.
pub(super) fn plain(message: &impl Serialize, pretty: bool) -> Answered<1> {
    let answer = if pretty { Answer::indented_json(message) } else { Answer::json(message) };
    Ok(answer?)
}

/// A list that the answer tells the length of.
pub(super) fn counted_list<T: Serialize>(list: &[T], pretty: bool) -> Answered<1> {
    plain(&Envelope::new(list, list.len()), pretty)
}

/// Anything else.
pub(super) fn data<T: Serialize>(data: T, pretty: bool) -> Answered<1> {
    plain(&Envelope::new(data, 0), pretty)
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
pub(super) async fn traces(found: FoundTraces, pretty: bool) -> Answered<1> {
    let resources = found.traces.iter().flat_map(|trace| &trace.data.resource_spans);
    offload(takes_long(resources), move || {
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
        Ok(plain(&envelope, pretty)?.partial(partial))
    })
    .await?
}
