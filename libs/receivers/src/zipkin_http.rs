//! Zipkin over HTTP: `POST /api/v2/spans` and `/api/v1/spans`, with JSON, protobuf or Thrift. The path says in which version
//! of the model the spans are where the body does not.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderValue, Method};
use bytes::Bytes;
use tactus_server::listener::BoundListener;
use tactus_zipkin::{DecodeOptions, Format, MediaType, Version, decode};
use tokio_util::sync::CancellationToken;

use crate::batch_http::{BatchFormat, BatchReceiver, Decoded};
use crate::http_receiver::{HttpReceiverSettings, serve_http_receiver};
use crate::metrics::ReceiverMetrics;
use crate::refusal::Refusal;
use crate::sink::TraceSink;

/// Paths of spans of the first model.
const PATHS_V1: [&str; 1] = ["/api/v1/spans"];

/// Paths of spans of the second model; the short ones are what gateways in front of Tempo are configured with.
const PATHS_V2: [&str; 3] = ["/api/v2/spans", "/spans", "/"];

/// How the port behaves.
#[derive(Debug, Clone)]
pub struct ZipkinHttpSettings {
    /// The port. With [`PortSettings::others`](crate::PortSettings::others) it can carry the query API as well: what is
    /// no POST of spans goes there.
    pub http: HttpReceiverSettings,
    /// Tags that read as numbers or booleans become such attributes.
    pub parse_string_tags: bool,
}

impl Default for ZipkinHttpSettings {
    fn default() -> Self {
        Self { http: HttpReceiverSettings::at(":9411"), parse_string_tags: false }
    }
}

/// Binds the port and serves it until `shutdown`. Errors: the address cannot be bound.
pub async fn serve_zipkin_http(
    settings: ZipkinHttpSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let spans = ZipkinSpans { parse_string_tags: settings.parse_string_tags };
    let receiver = BatchReceiver::new(spans, sink, metrics);
    serve_http_receiver("Zipkin HTTP", settings.http, receiver, shutdown).await
}

/// Bodies that hold a list of spans.
pub(crate) struct ZipkinSpans {
    parse_string_tags: bool,
}

impl BatchFormat for ZipkinSpans {
    type Kind = (Version, MediaType);
    const RECEIVER: &'static str = "zipkin";
    const SPAN_NAME: &'static str = "zipkin_http";
    const TRANSPORTS: &'static [&'static str] = Format::WORDS;

    fn has_path(&self, path: &str) -> bool {
        version_of(path).is_some()
    }

    /// `GET /api/v2/spans` asks for names; version 1 has nothing to ask for.
    fn takes(&self, method: &Method, path: &str) -> bool {
        match version_of(path) {
            Some(Version::V1) => true,
            Some(Version::V2) => !matches!(*method, Method::GET | Method::HEAD),
            None => false,
        }
    }

    fn kind(&self, path: &str, headers: &HeaderMap) -> Result<Self::Kind, Refusal> {
        let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        Ok((version_of(path).unwrap_or(Version::V2), MediaType::of(content_type)))
    }

    fn decode(&self, kind: Self::Kind, body: Bytes) -> Result<Decoded, Refusal> {
        let (version, media_type) = kind;
        let format = Format::detect(version, media_type, &body);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let options = DecodeOptions {
            parse_string_tags: self.parse_string_tags,
            now_unix_nanos: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        };
        let (format, request) =
            decode(format, &body, &options).map_err(|error| Refusal::invalid(error.to_string()))?;
        Ok(Decoded { request, transport: format.transport() })
    }
}

/// Of the spans that are posted to this path, which may have slashes too many: those of a base address that ends in one.
fn version_of(path: &str) -> Option<Version> {
    // That of a CONNECT is empty.
    let is = |known: &&str| path.starts_with('/') && parts(path).eq(parts(known));
    if PATHS_V1.iter().any(is) {
        Some(Version::V1)
    } else if PATHS_V2.iter().any(is) {
        Some(Version::V2)
    } else {
        None
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests;
