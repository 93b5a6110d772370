//! OTLP over gRPC: `TraceService/Export`.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tactus_model::TenantId;
use tactus_proto::otlp::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use tactus_server::listener::BoundListener;
use tokio_util::sync::CancellationToken;

use crate::grpc_receiver::{SpanCall, serve_grpc_receiver};
use crate::metrics::ReceiverMetrics;
use crate::otlp_http::encode_success;
use crate::port::PortSettings;
use crate::refusal::Refusal;
use crate::sink::{PushOutcome, TraceSink};

/// Path of the export call.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Binds the port and serves it until `shutdown`. Errors: the address cannot be bound.
pub async fn serve_otlp_grpc(
    settings: PortSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    serve_grpc_receiver::<Export>("OTLP gRPC", settings, sink, metrics, shutdown).await
}

/// Pushes an export request that came by another port; answers as `TraceService/Export` does.
///
/// Errors: the status that the client is to see.
pub async fn export(
    sink: &dyn TraceSink,
    tenant: TenantId,
    export_request: Bytes,
) -> Result<ExportTraceServiceResponse, tonic::Status> {
    let outcome = sink.push(tenant, export_request).await;
    let outcome = outcome.map_err(|error| Refusal::from(error).to_grpc_status())?;
    let partial_success = ExportTracePartialSuccess {
        rejected_spans: i64::try_from(outcome.rejected_spans).unwrap_or(i64::MAX),
        error_message: outcome.message,
    };
    Ok(ExportTraceServiceResponse { partial_success: Some(partial_success) })
}

/// The call whose message is an export request already.
pub(crate) struct Export;

impl SpanCall for Export {
    const PATH: &'static str = EXPORT_PATH;
    const HEALTH_NAMES: &'static [&'static str] =
        &["opentelemetry.proto.collector.trace.v1.TraceService"];
    const RECEIVER: &'static str = "otlp";
    const SPAN_NAME: &'static str = "otlp_grpc";
    const DECODES: bool = false;

    fn export_request(message: Bytes) -> Result<Bytes, String> {
        Ok(message)
    }

    fn answer(outcome: PushOutcome) -> Bytes {
        let rejected_spans = i64::try_from(outcome.rejected_spans).unwrap_or(i64::MAX);
        encode_success(rejected_spans, outcome.message)
    }
}

#[cfg(test)]
mod tests;
