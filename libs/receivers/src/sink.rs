//! The sink for received spans.

use std::time::Duration;

use ::http::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use tactus_model::TenantId;
use tactus_telemetry::request_span;
use tactus_telemetry::self_tracing::TRACEPARENT;
use tracing::Instrument;

/// Takes export requests; implemented by the distributor.
#[async_trait]
pub trait TraceSink: Send + Sync + 'static {
    /// Takes the bytes of one OTLP `ExportTraceServiceRequest`, not yet decoded or validated.
    ///
    /// Returns when the spans are as safe as the sink promises. The future is dropped when the
    /// client goes away. A request without spans must succeed.
    async fn push(&self, tenant: TenantId, export_request: Bytes)
    -> Result<PushOutcome, PushError>;

    /// As [`Self::push`], of spans that no metrics generator is to count.
    async fn push_uncounted(
        &self,
        tenant: TenantId,
        export_request: Bytes,
    ) -> Result<PushOutcome, PushError> {
        self.push(tenant, export_request).await
    }
}

/// With this header, whatever its value, a client asks for no generated metrics of its spans.
const NO_GENERATE_METRICS: &str = "no-generate-metrics";

/// Pushes, as a span of our own if self-tracing is on and this push is to be traced.
pub(crate) async fn push_traced(
    sink: &dyn TraceSink,
    receiver: &'static str,
    headers: &HeaderMap,
    tenant: TenantId,
    export_request: Bytes,
) -> Result<PushOutcome, PushError> {
    let span = request_span!(
        "push",
        headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()),
        ingest = true,
        receiver,
        tenant = tenant.as_str(),
        bytes = export_request.len(),
    );
    let push = match headers.contains_key(NO_GENERATE_METRICS) {
        false => sink.push(tenant, export_request),
        true => sink.push_uncounted(tenant, export_request),
    };
    let result = push.instrument(span.clone()).await;
    if result.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    result
}

/// What became of the spans of a request that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Spans taken: stored, or dropped by a rule of the operator.
    pub accepted_spans: u64,
    /// Spans dropped although the request succeeded; the client must not send them again.
    pub rejected_spans: u64,
    /// Why they were dropped; shown to the client. May be a mere warning if none were.
    pub message: String,
}

/// Why no span of a request was stored. Messages are shown to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The bytes are no export request. HTTP 400; gRPC INTERNAL, as decoders of gRPC answer.
    #[error("{0}")]
    Malformed(String),
    /// The request breaks a rule, as a trace id of the wrong length. HTTP 400, INVALID_ARGUMENT.
    #[error("{0}")]
    Invalid(String),
    /// The tenant sends too much. HTTP 429, RESOURCE_EXHAUSTED.
    #[error("{message}")]
    RateLimited {
        /// What the client reads.
        message: String,
        /// When to try again. Zero: no hint; gRPC clients then drop the spans.
        retry_after: Duration,
    },
    /// The spans cannot be stored now. HTTP 503, UNAVAILABLE.
    #[error("{message}")]
    Unavailable {
        /// What the client reads.
        message: String,
        /// When to try again. Zero: no hint.
        retry_after: Duration,
    },
    /// A defect of ours. HTTP 500, INTERNAL: clients drop the spans.
    #[error("{0}")]
    Internal(String),
}
