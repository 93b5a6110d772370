//! Requests and answers of Jaeger's query APIs, independent of the protocol, and why a request is refused.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::StatusCode;
use serde::Serialize;
pub(crate) use tactus_api::Window as TimeRange;
use tactus_model::TraceId;
use tactus_model::error_text::cut_str;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use tactus_query::{TraceMemory, WholeTrace, error_status};
use tactus_server::tenancy::TenancyError;
use tonic::Status;

/// Which traces to find: those of which one span satisfies all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceFilter {
    /// Service of the span, or several joined by commas; empty is any.
    pub(crate) service: String,
    /// Name of the span; empty is any.
    pub(crate) operation: String,
    /// Tags of the span; all must match.
    pub(crate) tags: Vec<(String, String)>,
    /// When the span starts.
    pub(crate) range: TimeRange,
    /// The span takes so long at least.
    pub(crate) min_duration: Option<Duration>,
    /// The span takes so long at most.
    pub(crate) max_duration: Option<Duration>,
    /// The search does not say since when: its range is the usual one, and may be shorter.
    pub(crate) is_usual_range: bool,
    /// Traces at most, the newest ones; 0 if the search does not say.
    pub(crate) limit: u32,
    /// Traces are answered as they are stored, without what makes them easier to read.
    pub(crate) raw: bool,
}

/// Which operations to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationsQuery {
    /// The service.
    pub(crate) service: String,
    /// Spans of this kind only, by Jaeger's name of it; empty is any.
    pub(crate) span_kind: String,
}

/// The name of spans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Operation {
    /// The name.
    pub(crate) name: String,
    /// The kind of the spans.
    pub(crate) kind: SpanKind,
}

/// Calls from one service to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dependency {
    /// The caller.
    pub(crate) parent: String,
    /// The called one.
    pub(crate) child: String,
    /// How many.
    pub(crate) call_count: u64,
}

/// Traces that were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FoundTraces {
    /// In the order asked for, the newest first after a search.
    pub(crate) traces: Vec<WholeTrace>,
    /// They are shown as they are stored: neither adjusted nor sorted.
    pub(crate) raw: bool,
    /// Ids that were asked for and that nobody has.
    pub(crate) missing: Vec<TraceId>,
    /// Something could not be read, or did not fit into the answer: there may be more.
    pub(crate) partial: bool,
    /// As of [`tactus_query::WholeTraces`].
    pub(crate) decoding: TraceMemory,
}

impl FoundTraces {
    /// The same, partial only if spans may be missing: not if a trace is cut, which its warnings say.
    pub(crate) fn marked_by_lacking_spans(self) -> Self {
        let partial = self.traces.iter().any(WholeTrace::may_lack_spans);
        Self { partial, ..self }
    }
}

/// A trace as answers show it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShownTrace {
    /// The trace.
    pub(crate) id: TraceId,
    /// Its spans by resource and scope.
    pub(crate) data: TracesData,
    /// What is to be known of the trace as a whole, as that it is cut.
    pub(crate) warnings: Vec<String>,
}

/// All kinds.
const KINDS: [SpanKind; 6] = [
    SpanKind::Client,
    SpanKind::Consumer,
    SpanKind::Internal,
    SpanKind::Producer,
    SpanKind::Server,
    SpanKind::Unspecified,
];

/// The name of a kind, in TraceQL as well.
pub(crate) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

/// The kind of this name.
pub(crate) fn parse_kind(text: &str) -> Option<SpanKind> {
    KINDS.into_iter().find(|&kind| kind_name(kind) == text)
}

/// A query that fails. `Display` is the message for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JaegerError {
    /// A parameter that the caller has to change.
    #[error("{}", cut_str(.0))]
    Invalid(String),
    /// No such trace.
    #[error("trace not found")]
    NotFound,
    /// A part of the API that does not exist here; the text names it.
    #[error("{}", cut_str(.0))]
    Unsupported(String),
    /// Whose traces are asked for is not known.
    #[error(transparent)]
    Tenant(TenancyError),
    /// The query itself failed.
    #[error(transparent)]
    Query(tactus_api::Error),
}

/// Result of a query of Jaeger's.
pub(super) type Result<T, E = JaegerError> = std::result::Result<T, E>;

impl JaegerError {
    /// The HTTP status.
    pub(crate) fn http_status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Tenant(error) => error.http_status(),
            Self::Query(error) => error.http_status(),
        }
    }
}

impl From<TenancyError> for JaegerError {
    fn from(error: TenancyError) -> Self {
        Self::Tenant(error)
    }
}

impl From<tactus_api::Error> for JaegerError {
    fn from(error: tactus_api::Error) -> Self {
        match error {
            tactus_api::Error::NotFound => Self::NotFound,
            tactus_api::Error::Invalid(text) => Self::Invalid(text),
            error => Self::Query(error),
        }
    }
}

impl From<JaegerError> for Status {
    fn from(error: JaegerError) -> Self {
        let text = error.to_string();
        match error {
            JaegerError::Invalid(_) => Self::invalid_argument(text),
            JaegerError::NotFound => Self::not_found(text),
            JaegerError::Unsupported(_) => Self::unimplemented(text),
            JaegerError::Tenant(error) => error.grpc_status(),
            JaegerError::Query(error) => error_status(&error),
        }
    }
}

/// Longest text of an id in base64.
const MAX_BASE64: usize = 24;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The id of a text: 1 to 32 hexadecimal digits, without leading zeros or with them, or base64 of 16 bytes in either
/// alphabet, padded or not. The id that is all zero is one that no trace has: Tracetest asks for it to learn whether it is
/// answered.
///
/// Errors: [`JaegerError::Invalid`] for anything else.
pub(crate) fn parse_trace_id(text: &str) -> Result<TraceId> {
    let invalid = || JaegerError::Invalid(format!("cannot parse trace ID {text:?}"));
    TraceId::from_hex(text).or_else(|| from_base64(text)).ok_or_else(invalid)
}

fn from_base64(text: &str) -> Option<TraceId> {
    if text.len() > MAX_BASE64 {
        return None;
    }
    let decode = |alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok();
    let bytes = decode(&STANDARD).or_else(|| decode(&URL_SAFE))?;
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(TraceId(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_in_every_form() {
        let expected = TraceId::from_hex("10000000000000002").unwrap();
        for text in [
            "00000000000000010000000000000002",
            "10000000000000002",
            "AAAAAAAAAAEAAAAAAAAAAg==",
            "AAAAAAAAAAEAAAAAAAAAAg",
        ] {
            assert_eq!(parse_trace_id(text), Ok(expected), "{text}");
        }
        let all_set = TraceId([0xfb; 16]);
        assert_eq!(parse_trace_id("+/v7+/v7+/v7+/v7+/v7+w=="), Ok(all_set));
        assert_eq!(parse_trace_id("-_v7-_v7-_v7-_v7-_v7-w"), Ok(all_set));
        assert_eq!(parse_trace_id("FBFBFBFBfbfbfbfbfbfbfbfbfbfbfbfb"), Ok(all_set));
        for zero in ["0", "00000000000000000000000000000000", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            assert_eq!(parse_trace_id(zero), Ok(TraceId([0; 16])), "{zero}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "0".repeat(33);
        for text in ["", "xyz!", "QQQQ", "é", &long] {
            let error = parse_trace_id(text).unwrap_err();
            assert!(matches!(error, JaegerError::Invalid(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn ids_of_any_text_never_panic(text in "\\PC{0,40}") {
            let _ = parse_trace_id(&text);
        }
    }
}
