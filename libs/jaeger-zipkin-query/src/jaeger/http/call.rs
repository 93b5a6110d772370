//! A request to Jaeger's HTTP API, how each version refuses it, and the envelope around answers of v1.

use ::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::json;
use tactus_api::QueryParams;
use tactus_jaeger::json::{self, Envelope, EnvelopeError};
use tactus_query::offload;
use tactus_server::http::error_line;

use crate::call::{self, Answer};
use crate::jaeger::{FoundTrace, FoundTraces, JaegerError, JaegerQueries};
use crate::long_work::takes_long;

/// A question of a version of the API.
pub(super) type Call<const VERSION: u8> = call::Call<JaegerQueries, Refused<VERSION>>;

/// Its answer.
pub(super) type Answered<const VERSION: u8> = Result<Answer, Refused<VERSION>>;

/// A question that is refused, in the words of a version of the API.
pub(super) struct Refused<const VERSION: u8>(JaegerError);

impl<const VERSION: u8, E: Into<JaegerError>> From<E> for Refused<VERSION> {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<const VERSION: u8> IntoResponse for Refused<VERSION> {
    fn into_response(self) -> Response {
        let (error, status) = (&self.0, self.0.http_status());
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::warn!(%error, %status, "jaeger query failed");
        }
        let body = if VERSION == 3 { v3_refusal(error) } else { v1_refusal(error) };
        // Sent as text, as Jaeger does; clients parse it regardless.
        error_line(status, &body)
    }
}

/// An error in the envelope of v1.
fn v1_refusal(error: &JaegerError) -> String {
    let status = error.http_status();
    let item =
        EnvelopeError { code: status.as_u16(), msg: error.to_string(), trace_id: String::new() };
    let envelope =
        Envelope { errors: Some(vec![item]), ..Envelope::<Option<Vec<()>>>::new(None, 0) };
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// An error as v3 has it.
fn v3_refusal(error: &JaegerError) -> String {
    let status = error.http_status();
    let message = match error {
        JaegerError::NotFound => "No traces found".to_owned(),
        error => error.to_string(),
    };
    json!({ "error": { "httpCode": status.as_u16(), "message": message } }).to_string()
}

/// True if the caller asks for indentation.
pub(super) fn is_pretty(params: &QueryParams<'_>) -> bool {
    params.get("prettyPrint").is_some_and(|value| value != "false")
}

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
pub(super) async fn traces(call: &Call<1>, found: FoundTraces) -> Answered<1> {
    let pretty = is_pretty(&call.params());
    let taken = found.traces.iter().map(|trace| &trace.memory);
    let _held = call.memory_to_write(taken).await?;
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
