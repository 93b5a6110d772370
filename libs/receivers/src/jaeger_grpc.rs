//! Jaeger's model over gRPC: `CollectorService/PostSpans`.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tactus_jaeger::to_otlp::post_spans_to_otlp;
use tactus_server::listener::BoundListener;
use tokio_util::sync::CancellationToken;

use crate::grpc_receiver::{SpanCall, serve_grpc_receiver};
use crate::metrics::ReceiverMetrics;
use crate::port::PortSettings;
use crate::sink::{PushOutcome, TraceSink};

/// Path of the call.
pub(crate) const POST_SPANS_PATH: &str = "/jaeger.api_v2.CollectorService/PostSpans";

/// Binds the port and serves it until `shutdown`. Errors: the address cannot be bound.
///
/// With [`PortSettings::others`] the port can carry the sampling service as well.
pub async fn serve_jaeger_grpc(
    settings: PortSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    serve_grpc_receiver::<PostSpans>("Jaeger gRPC", settings, sink, metrics, shutdown).await
}

pub(crate) struct PostSpans;

impl SpanCall for PostSpans {
    const PATH: &'static str = POST_SPANS_PATH;
    const HEALTH_NAMES: &'static [&'static str] = &["jaeger.api_v2.CollectorService"];
    const RECEIVER: &'static str = "jaeger";
    const SPAN_NAME: &'static str = "jaeger_grpc";
    const DECODES: bool = true;

    fn export_request(message: Bytes) -> Result<Bytes, String> {
        post_spans_to_otlp(&message).map_err(|error| error.to_string())
    }

    fn answer(_outcome: PushOutcome) -> Bytes {
        // The response has no field.
        Bytes::new()
    }
}

#[cfg(test)]
mod tests;
