//! Sends recorded spans in batches.

use std::io::Write;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tactus_proto::otlp::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans,
    ScopeSpans, Span, any_value::Value,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::context::{SpanContext, TRACEPARENT};
use super::settings::{Protocol, Settings};
use crate::error_text;
use crate::metrics::{Counter, Registry};

/// Tries of one batch.
const TRIES: u32 = 3;
/// Pause before the second try; the next is longer.
const PAUSE: Duration = Duration::from_secs(1);
/// What is on its way or left at the end may take this long in all.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A connection of gRPC is asked for a sign of life if a call gets no answer for so long. Not between calls: receivers built on
/// grpc-go close a connection that is asked without one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long that may stay unanswered. With the interval less than the timeout of a call, which would end the asking.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// Sends what the layer records until it is told to stop.
#[derive(Debug)]
pub struct Exporter {
    settings: Settings,
    resource: Resource,
    receiver: mpsc::Receiver<Span>,
    sent: Counter,
    failed: Counter,
}

impl Exporter {
    pub(super) fn new(
        settings: Settings,
        receiver: mpsc::Receiver<Span>,
        failed: Counter,
        registry: &Registry,
    ) -> Self {
        let attribute = |(key, value): &(String, String)| KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(AnyValue {
                value: Some(Value::StringValue(Bytes::copy_from_slice(value.as_bytes()))),
            }),
        };
        let attributes = settings.resource.iter().map(attribute).collect();
        let resource = Resource { attributes, ..Resource::default() };
        let sent =
            registry.counter("tactus_self_tracing_sent_spans_total", "Own spans that were sent.");
        Self { settings, resource, receiver, sent, failed }
    }

    /// Sends batches until `stop`, and then what is left. A receiver that does not answer costs spans and nothing
    /// else.
    pub async fn run(mut self, stop: CancellationToken) {
        let client = match client(&self.settings) {
            Ok(client) => client,
            Err(reason) => {
                tracing::error!(reason, "self-tracing is off");
                return;
            }
        };
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.send_all(&client, &stop) => {}
            () = too_late => tracing::warn!("not all own spans could be sent before the end"),
        }
    }

    async fn send_all(&mut self, client: &reqwest::Client, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let batch = self.collect(stop).await;
            if batch.is_empty() {
                break;
            }
            // When it is time to stop the batch is still sent, once.
            self.send(client, batch, stop).await;
        }
        self.receiver.close();
        loop {
            let mut batch = Vec::new();
            if self.receiver.recv_many(&mut batch, self.settings.batch_spans).await == 0 {
                return;
            }
            self.send(client, batch, stop).await;
        }
    }

    /// The next batch: full, or as large as it grew within the delay or until `stop`. Empty when no more can come or
    /// it is time to stop.
    async fn collect(&mut self, stop: &CancellationToken) -> Vec<Span> {
        let limit = self.settings.batch_spans;
        let mut batch = Vec::new();
        tokio::select! {
            () = stop.cancelled() => return batch,
            _ = self.receiver.recv_many(&mut batch, limit) => {}
        }
        let due = Instant::now() + self.settings.delay;
        while !batch.is_empty() && batch.len() < limit {
            let room = limit - batch.len();
            tokio::select! {
                () = stop.cancelled() => break,
                more = timeout_at(due, self.receiver.recv_many(&mut batch, room)) => {
                    if !matches!(more, Ok(1..)) {
                        break;
                    }
                }
            }
        }
        batch
    }

    async fn send(&self, client: &reqwest::Client, batch: Vec<Span>, stop: &CancellationToken) {
        let count = batch.len() as u64;
        let body = self.body(batch);
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            match self.post(client, body.clone()).await {
                Ok(()) => return self.sent.inc_by(count),
                Err(Failure { reason, again }) => {
                    if !again || attempt == TRIES || stop.is_cancelled() {
                        self.failed.inc_by(count);
                        crate::log_limited!(
                            warn,
                            reason,
                            spans = count,
                            "own spans are not accepted"
                        );
                        return;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause *= 2;
        }
    }

    fn body(&self, spans: Vec<Span>) -> Bytes {
        let scope = InstrumentationScope {
            name: Bytes::from_static(b"tactus"),
            ..InstrumentationScope::default()
        };
        let scope_spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let message = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![scope_spans],
                ..ResourceSpans::default()
            }],
        }
        .encode_to_vec();
        let message = if self.settings.gzip { gzip(&message) } else { message };
        match self.settings.protocol {
            Protocol::Http => message.into(),
            Protocol::Grpc => {
                let mut frame = BytesMut::with_capacity(message.len() + 5);
                frame.put_u8(self.settings.gzip.into());
                // A batch is far below 4 GiB.
                frame.put_u32(message.len() as u32);
                frame.extend_from_slice(&message);
                frame.freeze()
            }
        }
    }

    async fn post(&self, client: &reqwest::Client, body: Bytes) -> Result<(), Failure> {
        // Whoever receives this must not trace it: it may be us.
        let untraced = SpanContext { sampled: false, ..SpanContext::root() };
        let request =
            client.post(&self.settings.url).header(TRACEPARENT, untraced.header()).body(body);
        let response = request
            .send()
            .await
            .map_err(|error| Failure { reason: error_text(&error.without_url()), again: true })?;
        let status = response.status();
        if !status.is_success() {
            let again = matches!(status.as_u16(), 429 | 502..=504);
            return Err(Failure { reason: format!("the receiver answers {status}"), again });
        }
        // A gRPC call that fails at once says so in the head of the answer.
        match response.headers().get("grpc-status").and_then(|status| status.to_str().ok()) {
            None | Some("0") => Ok(()),
            Some(code) => {
                let message = response.headers().get("grpc-message").and_then(|m| m.to_str().ok());
                let reason = format!("gRPC status {code}: {}", message.unwrap_or_default());
                // Deadline exceeded, resource exhausted, aborted, unavailable.
                Err(Failure { reason, again: matches!(code, "4" | "8" | "10" | "14") })
            }
        }
    }
}

struct Failure {
    reason: String,
    /// Another try may do.
    again: bool,
}

fn client(settings: &Settings) -> Result<reqwest::Client, String> {
    // The client would panic without one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err("no TLS provider is installed in this process".to_owned());
    }
    let mut headers = HeaderMap::new();
    for (key, value) in &settings.headers {
        let invalid = || format!("OTEL_EXPORTER_OTLP_HEADERS: {key} cannot be a header");
        let name = HeaderName::try_from(key).map_err(|_| invalid())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    let content_type = match settings.protocol {
        Protocol::Http => "application/x-protobuf",
        Protocol::Grpc => "application/grpc",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Where a redirect leads, nobody takes spans, and our headers must not be known.
    let redirects = reqwest::redirect::Policy::none();
    let mut client = reqwest::Client::builder().timeout(settings.timeout).redirect(redirects);
    match settings.protocol {
        Protocol::Http if settings.gzip => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Protocol::Http => {}
        Protocol::Grpc => {
            headers.insert("te", HeaderValue::from_static("trailers"));
            if settings.gzip {
                headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
            }
            client = client
                .http2_prior_knowledge()
                .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
                .http2_keep_alive_timeout(KEEPALIVE_TIMEOUT);
        }
    }
    if let Some(path) = &settings.certificate {
        let refuse = |reason: String| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {path}: {reason}");
        let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| refuse(error.to_string()))?;
        client = client.tls_certs_only(certificates);
    } else if settings.url.starts_with("http://") {
        // A machine without certificates will do.
        client = client.tls_certs_only([]);
    }
    client.default_headers(headers).build().map_err(|error| error_text(&error))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to a Vec cannot fail.
    let _ = packed.write_all(bytes);
    packed.finish().unwrap_or_default()
}
