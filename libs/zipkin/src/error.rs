//! The reasons for refusing a request.

use tactus_jaeger::thrift::ThriftError;
use tactus_jaeger::to_otlp::TooManyGroups;
use tactus_model::wire::WireError;

/// Why a body holds no spans that can be stored. The text is for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No JSON, or JSON of another shape.
    #[error("{reason}{position}{path}")]
    Json {
        /// What is wrong.
        reason: String,
        /// As ` at line 1 column 2`; empty if it is not known.
        position: String,
        /// Of the value, as ` ([3].localEndpoint)`; empty for the list itself.
        path: String,
    },
    /// No protobuf, or a known field with another type.
    #[error("malformed protobuf: {0}")]
    Protobuf(#[from] WireError),
    /// No Thrift.
    #[error("malformed thrift: {0}")]
    Thrift(#[from] ThriftError),
    /// A span of one version of the model where the other is expected.
    #[error("a span of the other version of the model")]
    OtherVersion,
    /// Whichever version the list is read in, spans would lose most of what they hold.
    #[error("the list holds spans of both versions of the model: JSON_V1 and JSON_V2")]
    BothVersions,
    /// A span that breaks a rule.
    #[error("{reason} (span {index} of the list)")]
    Span {
        /// Its place in the list, from 0.
        index: usize,
        /// The rule.
        reason: SpanError,
    },
}

impl Error {
    /// The same without line and column.
    pub(crate) fn without_position(self) -> Self {
        match self {
            Self::Json { reason, path, .. } => Self::Json { reason, position: String::new(), path },
            other => other,
        }
    }
}

/// Tags that a span may have, and annotations: it is read as a whole, and the smallest take many times their bytes.
const MAX_ELEMENTS: usize = 1 << 16;

/// Checks that there is room after this many elements.
pub(crate) fn check_count(elements: usize) -> Result<(), SpanError> {
    if elements < MAX_ELEMENTS { Ok(()) } else { Err(SpanError::TooManyElements) }
}

/// Which rule a span breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    /// More than are kept in memory at a time.
    #[error("more than {MAX_ELEMENTS} tags or annotations")]
    TooManyElements,
    /// So many services that their bytes cannot fill them.
    #[error(transparent)]
    TooManyResources(#[from] TooManyGroups),
    /// JSON v2: the trace id is missing, zero, too long or no hex.
    #[error("valid traceId required")]
    TraceId,
    /// JSON v2: the id is missing, zero, too long or no hex.
    #[error("valid span id required")]
    SpanId,
    /// JSON v2: the parent's id is too long or no hex.
    #[error("valid parentId required")]
    ParentId,
    /// v2: an annotation without a time.
    #[error("valid annotation timestamp required")]
    AnnotationTimestamp,
    /// Protobuf: the trace id has neither 16 nor 8 bytes.
    #[error("invalid TraceID: has length {0} yet wanted length 16")]
    TraceIdLength(usize),
    /// Protobuf: the id is missing or zero.
    #[error("expected a non-nil SpanID")]
    NilSpanId,
    /// Protobuf: an id has not 8 bytes.
    #[error("invalid {field}: has length {length} yet wanted length 8")]
    SpanIdLength {
        /// Which id.
        field: &'static str,
        /// Its bytes.
        length: usize,
    },
    /// JSON v1: the trace id has neither 16 nor 32 digits.
    #[error("hex traceId span has wrong length (expected 16 or 32)")]
    HexTraceIdLength,
    /// JSON v1: an id has not 16 digits.
    #[error("hex Id has wrong length (expected 16)")]
    HexIdLength,
    /// JSON v1: an id is no hex.
    #[error("{0} is not a hex number")]
    NotHex(&'static str),
    /// v1: the trace id is zero.
    #[error("traceId is zero")]
    ZeroTraceId,
    /// v1: the id is zero.
    #[error("ID is zero")]
    ZeroId,
    /// A tag `otlp.link.N` that holds no link.
    #[error("tag otlp.link.{number}: {reason}")]
    Link {
        /// N.
        number: u8,
        /// What is wrong with it.
        reason: &'static str,
    },
}
