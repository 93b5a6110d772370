//! A request to Jaeger's HTTP API, how each version refuses it, and the envelope around answers of v1.

use std::iter::once;

use ::http::StatusCode;
use ::http::request::Parts;
use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tactus_api::{Error, QueryParams};
use tactus_jaeger::json::{self, Envelope, EnvelopeError, TraceWriter};
use tactus_query::Listed;
use tactus_server::http::error_line;

use crate::call::{self, Answer};
use crate::indent::Indenter;
use crate::jaeger::{FoundTraces, JaegerError, JaegerQueries, ShownTrace};
use crate::sending::{PIECE_BYTES, ToSend};

/// A question of a version of the API.
pub(super) type Call<const VERSION: u8> = call::Call<JaegerQueries, Refused<VERSION>>;

/// Its answer.
pub(super) type Answered<const VERSION: u8> = Result<Answer, Refused<VERSION>>;

/// The part of the path that a route leaves open.
pub(super) struct Segment<const VERSION: u8>(pub(super) String);

impl<S: Send + Sync, const VERSION: u8> FromRequestParts<S> for Segment<VERSION> {
    type Rejection = Refused<VERSION>;

    /// Errors: bytes that are no text.
    async fn from_request_parts(parts: &mut Parts, shared: &S) -> Result<Self, Self::Rejection> {
        match Path::<String>::from_request_parts(parts, shared).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(rejection) => Err(JaegerError::Invalid(rejection.body_text()).into()),
        }
    }
}

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
            tactus_telemetry::log_limited!(warn, error = %error, status = %status, "jaeger query failed");
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
pub(super) fn counted_list<T: Serialize>(found: Listed<Vec<T>>, pretty: bool) -> Answered<1> {
    let count = found.list.len();
    Ok(plain(&Envelope::new(found.list, count), pretty)?.partial(found.partial))
}

/// Anything else.
pub(super) fn data<T: Serialize>(data: T, pretty: bool) -> Answered<1> {
    plain(&Envelope::new(data, 0), pretty)
}

/// Traces, with an error for each that is missing.
pub(super) async fn traces(call: &Call<1>, found: FoundTraces) -> Answered<1> {
    let FoundTraces { traces, raw, missing, partial, decoding } = found;
    let missing = missing.into_iter().map(|id| EnvelopeError {
        code: 0,
        msg: JaegerError::NotFound.to_string(),
        trace_id: id.to_hex_by_half(),
    });
    let errors = Some(missing.collect::<Vec<_>>()).filter(|missing| !missing.is_empty());
    let to_send = call.to_send(&traces, decoding).await?;
    let shown = call.shared.shown(traces, raw);
    Ok(written(to_send, shown, errors, is_pretty(&call.params())).await?.partial(partial))
}

/// The answer with these traces.
pub(super) async fn written(
    to_send: ToSend,
    traces: impl Iterator<Item = Result<ShownTrace, Error>> + Send + 'static,
    errors: Option<Vec<EnvelopeError>>,
    pretty: bool,
) -> Result<Answer, Error> {
    let (begin, end) = json::around_traces(errors).map_err(unwritten)?;
    let mut has_traces = false;
    let pieces = traces.flat_map(move |trace| {
        let comma = std::mem::replace(&mut has_traces, true).then(|| Ok(b",".to_vec()));
        comma.into_iter().chain(pieces_of_trace(trace))
    });
    let pieces = once(Ok(begin)).chain(pieces).chain(once(Ok(end)));
    sent(to_send, pieces, pretty).await
}

/// The answer of these pieces of JSON.
pub(super) async fn sent(
    to_send: ToSend,
    pieces: impl Iterator<Item = Result<Vec<u8>, Error>> + Send + 'static,
    pretty: bool,
) -> Result<Answer, Error> {
    let mut indenter = pretty.then(Indenter::default);
    let pieces = pieces.map(move |piece| {
        let piece = piece?;
        Ok(match &mut indenter {
            Some(indenter) => indenter.indent(&piece),
            None => piece,
        })
    });
    Ok(Answer::of_json(to_send.body(pieces).await?))
}

fn pieces_of_trace(
    trace: Result<ShownTrace, Error>,
) -> Box<dyn Iterator<Item = Result<Vec<u8>, Error>> + Send> {
    let ShownTrace { id, data, warnings } = match trace {
        Ok(trace) => trace,
        Err(error) => return Box::new(once(Err(error))),
    };
    let mut writer = TraceWriter::new(id);
    writer.add(data.resource_spans);
    let begin = writer.begin();
    let mut warnings = Some(warnings);
    let rest = std::iter::from_fn(move || match writer.spans(PIECE_BYTES) {
        Ok(spans) if spans.is_empty() => warnings.take().map(|warnings| writer.end(warnings)),
        spans => Some(spans),
    });
    Box::new(once(begin).chain(rest).map(|piece| piece.map_err(unwritten)))
}

/// Errors of writing JSON.
pub(super) fn unwritten(error: serde_json::Error) -> Error {
    Error::Internal(error.to_string())
}
