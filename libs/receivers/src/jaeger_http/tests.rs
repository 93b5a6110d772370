use std::time::Duration;

use ::http::header::RETRY_AFTER;
use ::http::{Method, Request};
use axum::{Router, routing::get};
use http_body_util::{BodyExt, Full};
use tactus_server::tenancy::Tenancy;

use super::*;
use crate::compression::Encoding;
use crate::http_receiver::HttpPort;
use crate::sink::PushError;
use crate::testing::{ONE_SPAN, ONE_SPAN_THRIFT, Recorder, bytes, compress, metrics};

const THRIFT: (&str, &str) = ("content-type", "application/x-thrift");

/// A response as a client sees it.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

fn default_settings() -> HttpReceiverSettings {
    HttpReceiverSettings::at(":14268")
}

async fn ask_with(
    settings: HttpReceiverSettings,
    sink: Arc<Recorder>,
    request: Request<Full<Bytes>>,
) -> Answer {
    let receiver = BatchReceiver::new(ThriftBatches, sink, &metrics().1);
    let response = HttpPort::new(settings).handle(&receiver, request).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

async fn ask(request: Request<Full<Bytes>>) -> Answer {
    ask_with(default_settings(), Recorder::accepting(), request).await
}

fn post(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post("/api/traces?format=jaeger.thrift");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

fn batch() -> Bytes {
    bytes(ONE_SPAN_THRIFT)
}

/// As our own encoder writes it: the scope is there and empty in both.
fn is_one_span(bodies: &[Bytes]) {
    use prost::Message;
    use tactus_proto::otlp::ExportTraceServiceRequest;
    let [body] = bodies else { panic!("{} bodies", bodies.len()) };
    let decode = |bytes: &[u8]| ExportTraceServiceRequest::decode(Bytes::copy_from_slice(bytes));
    assert_eq!(decode(body), decode(ONE_SPAN));
}

#[tokio::test]
async fn batch_is_handed_on_as_otlp() {
    for content_type in [
        "application/x-thrift",
        "application/vnd.apache.thrift.binary",
        "Application/X-Thrift; charset=utf-8",
    ] {
        let sink = Recorder::accepting();
        let request = post(&[("content-type", content_type)], batch());
        let answer = ask_with(default_settings(), sink.clone(), request).await;
        assert_eq!((answer.status, &*answer.body), (202, ""), "{content_type}");
        is_one_span(&sink.bodies());
    }
}

#[tokio::test]
async fn compressed_batch_is_taken() {
    let sink = Recorder::accepting();
    let body = compress(Encoding::Gzip, &batch());
    let request = post(&[THRIFT, ("content-encoding", "gzip")], body);
    assert_eq!(ask_with(default_settings(), sink.clone(), request).await.status, 202);
    is_one_span(&sink.bodies());
}

#[tokio::test]
async fn batch_without_spans_is_taken_whoever_asks() {
    let mut settings = default_settings();
    settings.port.tenancy = Tenancy::by_header(false);
    let sink = Recorder::accepting();
    let body = bytes("0c00010b000100000003737663000f00020c0000000000");
    assert_eq!(ask_with(settings, sink.clone(), post(&[THRIFT], body)).await.status, 202);
    assert_eq!(sink.bodies().len(), 0);
}

#[tokio::test]
async fn what_is_no_batch_has_its_answer() {
    let thrift = |body: &str| post(&[THRIFT], bytes(body));
    let with_type = |value| post(&[("content-type", value)], batch());
    for (request, status, body) in [
        (with_type("text/plain"), 400, "Unsupported content type: text/plain\n"),
        (with_type("a<b>/c"), 400, "Unsupported content type: a&lt;b&gt;/c\n"),
        (post(&[], batch()), 400, "Cannot parse content type: no media type\n"),
        (with_type("a b/c"), 400, "Cannot parse content type: whitespace in the media type\n"),
        (thrift(""), 400, "Unable to process request body: unexpected end of the Thrift data\n"),
        (
            thrift("00"),
            400,
            "Unable to process request body: Required field process of Batch is not set\n",
        ),
        (
            post(&[THRIFT, ("content-encoding", "br")], batch()),
            400,
            "unsupported Content-Encoding: br\n",
        ),
    ] {
        let answer = ask(request).await;
        assert_eq!((answer.status, &*answer.body), (status, body));
        assert_eq!(answer.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn body_that_cannot_be_read_is_told_so() {
    let mut settings = default_settings();
    settings.port.max_body_bytes = 100;
    let answer = ask_with(settings, Recorder::accepting(), post(&[THRIFT], batch())).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.body, "Unable to process request body: http: request body too large\n");
    let answer = ask(post(&[THRIFT, ("content-encoding", "gzip")], batch())).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.starts_with("Unable to process request body: "), "{answer:?}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let mut request = post(&[THRIFT], batch());
    *request.uri_mut() = "/api/other".parse().unwrap();
    let answer = ask(request).await;
    assert_eq!((answer.status, &*answer.body), (404, "404 page not found\n"));
    let mut request = post(&[THRIFT], batch());
    *request.method_mut() = Method::GET;
    let answer = ask(request).await;
    assert_eq!((answer.status, &*answer.body), (405, ""));
}

#[tokio::test]
async fn other_paths_go_to_the_other_routes() {
    let others = Router::new().route("/api/sampling", get(|| async { "strategy" }));
    let mut settings = default_settings();
    settings.port.others = Some(others);
    for (path, status, body) in [("/api/sampling?service=a", 200, "strategy"), ("/x", 404, "")] {
        let request = Request::get(path).body(Full::default()).unwrap();
        let answer = ask_with(settings.clone(), Recorder::accepting(), request).await;
        assert_eq!((answer.status, &*answer.body), (status, body));
    }
    let answer = ask_with(settings, Recorder::accepting(), post(&[THRIFT], batch())).await;
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn sink_errors_have_their_statuses() {
    let text = || "why <".to_owned();
    let seconds = Duration::from_secs;
    for (error, status, retry_after) in [
        (PushError::Malformed(text()), 400, None),
        (PushError::Invalid(text()), 400, None),
        (PushError::RateLimited { message: text(), retry_after: seconds(5) }, 429, Some("5")),
        (PushError::Unavailable { message: text(), retry_after: seconds(0) }, 503, None),
        (PushError::Internal(text()), 500, None),
    ] {
        let sink = Recorder::new(Err(error));
        let answer = ask_with(default_settings(), sink, post(&[THRIFT], batch())).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.body, "Cannot submit Jaeger batch: why &lt;\n");
        let found = answer.headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap());
        assert_eq!(found, retry_after);
    }
}

#[tokio::test]
async fn tenant_is_taken_from_the_header_when_multitenancy_is_on() {
    let mut settings = default_settings();
    settings.port.tenancy = Tenancy::by_header(false);
    let sink = Recorder::accepting();
    let request = post(&[THRIFT, ("x-scope-orgid", "acme")], batch());
    assert_eq!(ask_with(settings.clone(), sink.clone(), request).await.status, 202);
    assert_eq!(sink.pushes.lock()[0].0, "acme");
    let answer = ask_with(settings, sink, post(&[THRIFT], batch())).await;
    assert_eq!((answer.status, &*answer.body), (401, "Cannot submit Jaeger batch: no org id\n"));
}

#[tokio::test]
async fn large_batch_is_decoded_off_the_thread() {
    let sink = Recorder::accepting();
    // Longer than what is decoded at once: what comes after the batch is ignored.
    let body = [&batch()[..], &[0; 100_000]].concat();
    assert_eq!(ask_with(default_settings(), sink.clone(), post(&[THRIFT], body)).await.status, 202);
    is_one_span(&sink.bodies());
}

#[tokio::test]
async fn spans_are_counted() {
    let (registry, metrics) = metrics();
    let receiver = BatchReceiver::new(ThriftBatches, Recorder::accepting(), &metrics);
    let port = HttpPort::new(default_settings());
    port.handle(&receiver, post(&[THRIFT], batch())).await;
    let labels = r#"{receiver="jaeger/jaeger_receiver",transport="collector_http"}"#;
    let text = registry.encode();
    assert!(text.contains(&format!("tempo_receiver_accepted_spans{labels} 1\n")), "{text}");
}
