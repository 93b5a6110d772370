//! Jaeger's Thrift over HTTP: `POST /api/traces` with a batch.

use std::io;
use std::sync::Arc;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use tactus_jaeger::span::batch_to_otlp;
use tactus_server::listener::BoundListener;
use tactus_telemetry::html_escaped;
use tokio_util::sync::CancellationToken;

use crate::batch_http::{BatchFormat, BatchReceiver, Decoded};
use crate::body::BodyError;
use crate::http_receiver::{HttpReceiverSettings, serve_http_receiver};
use crate::metrics::ReceiverMetrics;
use crate::refusal::Refusal;
use crate::sink::TraceSink;

/// Path of batches.
pub(crate) const TRACES_PATH: &str = "/api/traces";

const TRANSPORT: &str = "collector_http";

/// Media types of the bodies that are understood.
const MEDIA_TYPES: [&str; 2] = ["application/x-thrift", "application/vnd.apache.thrift.binary"];

/// Binds the port and serves it until `shutdown`. Errors: the address cannot be bound.
///
/// With [`PortSettings::others`](crate::PortSettings::others) the port can carry the sampling endpoint as well.
pub async fn serve_jaeger_http(
    settings: HttpReceiverSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let receiver = BatchReceiver::new(ThriftBatches, sink, metrics);
    serve_http_receiver("Jaeger Thrift HTTP", settings, receiver, shutdown).await
}

/// Bodies that hold a batch.
pub(crate) struct ThriftBatches;

impl BatchFormat for ThriftBatches {
    type Kind = ();
    const RECEIVER: &'static str = "jaeger";
    const SPAN_NAME: &'static str = "jaeger_http";
    const TRANSPORTS: &'static [&'static str] = &[TRANSPORT];

    fn has_path(&self, path: &str) -> bool {
        path == TRACES_PATH
    }

    fn kind(&self, _path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let value = String::from_utf8_lossy(value);
        let media_type = value.split(';').next().unwrap_or_default().trim();
        let reason = match media_type {
            "" => "no media type",
            _ if media_type.contains(char::is_whitespace) => "whitespace in the media type",
            _ if MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(media_type)) => {
                return Ok(());
            }
            other => return Err(Refusal::invalid(format!("Unsupported content type: {other}"))),
        };
        Err(Refusal::invalid(format!("Cannot parse content type: {reason}")))
    }

    fn decode(&self, (): (), body: Bytes) -> Result<Decoded, Refusal> {
        let unprocessable =
            |reason: String| Refusal::invalid(format!("Unable to process request body: {reason}"));
        let request = batch_to_otlp(body).map_err(|error| unprocessable(error.to_string()))?;
        Ok(Decoded { request, transport: TRANSPORT })
    }

    fn unreadable(&self, error: &BodyError) -> Refusal {
        let mut refusal = Refusal::invalid(format!("Unable to process request body: {error}"));
        refusal.http = match error {
            BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        refusal
    }

    fn not_stored(&self, message: String) -> String {
        format!("Cannot submit Jaeger batch: {message}")
    }

    /// As clients know it: escaped for pages, with a final newline.
    fn error_body(&self, message: &str) -> String {
        html_escaped(message) + "\n"
    }
}

#[cfg(test)]
mod tests;
