use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use ::http::{Request, Response};
use axum::Router;
use axum::routing::{any, get};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tactus_proto::otlp::{ExportTraceServiceRequest, Span};
use tactus_server::tenancy::Tenancy;

use super::*;
use crate::compression::Encoding;
use crate::http_receiver::{Answer, HttpPort};
use crate::sink::PushError;
use crate::testing::{Recorder, compress, metrics};

const V2: &str = "/api/v2/spans";
const V1: &str = "/api/v1/spans";
const SPAN: &str = r#"[{"traceId":"1","id":"2","timestamp":1,"tags":{"n":"1"}}]"#;
const SPAN_V1: &str = r#"[{"traceId":"0000000000000001","id":"0000000000000002"}]"#;

struct Asked {
    port: HttpPort,
    receiver: BatchReceiver<ZipkinSpans>,
    sink: Arc<Recorder>,
}

impl Asked {
    fn new(settings: ZipkinHttpSettings, sink: Arc<Recorder>) -> Self {
        let spans = ZipkinSpans { parse_string_tags: settings.parse_string_tags };
        let receiver = BatchReceiver::new(spans, sink.clone(), &metrics().1);
        Self { port: HttpPort::new(settings.http), receiver, sink }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (u16, String) {
        let (status, _, body) = self.send_whole(request).await;
        (status, body)
    }

    async fn send_whole(&self, request: Request<Full<Bytes>>) -> (u16, HeaderMap, String) {
        let answer: Answer = self.port.handle(&self.receiver, request).await;
        let (head, body) = Response::into_parts(answer);
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The only span of the last push.
    fn span(&self) -> Span {
        let body = self.sink.bodies().pop().unwrap();
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        request.resource_spans[0].scope_spans[0].spans[0].clone()
    }
}

fn accepting() -> Asked {
    Asked::new(ZipkinHttpSettings::default(), Recorder::accepting())
}

fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

fn get_of(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

fn protobuf() -> Vec<u8> {
    b"\x0a\x44\x0a\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\x1a\x08\0\0\0\0\0\0\0\x03\x20\x02\x2a\x02op\
      \x31\x00\x40\x1e\x18\x24\x0a\x06\x00\x38\xdc\x0b\x42\x05\x0a\x03svc\x5a\x0d\x0a\x05error\x12\x04true"
        .to_vec()
}

#[tokio::test]
async fn spans_are_taken_on_every_path_and_answered_with_nothing() {
    for (path, content_type, body) in [
        (V2, "application/json", SPAN.into()),
        (V2, "text/plain", SPAN.into()),
        (V2, "application/x-protobuf; charset=utf-8", protobuf()),
        (V2, "application/octet-stream", protobuf()),
        ("/", "application/json", SPAN.into()),
        ("/spans", "application/json", SPAN.into()),
        (V1, "application/json", SPAN_V1.into()),
        ("//api/v2/spans", "application/json", SPAN.into()),
        ("/api/v2/spans/", "application/json", SPAN.into()),
        ("//", "application/json", SPAN.into()),
        ("/api//v1/spans/", "application/json", SPAN_V1.into()),
    ] {
        let asked = accepting();
        let answer = asked.send(post(path, &[("content-type", content_type)], body)).await;
        assert_eq!(answer, (202, String::new()), "{path} {content_type}");
        assert_eq!(asked.span().trace_id.len(), 16);
    }
}

#[tokio::test]
async fn protobuf_span_is_pushed_as_otlp() {
    let asked = accepting();
    let headers = [("content-type", "application/x-protobuf"), ("x-b3-flags", "1")];
    assert_eq!(asked.send(post(V2, &headers, protobuf())).await.0, 202);
    assert_eq!(asked.sink.bodies(), [crate::testing::ONE_SPAN]);
}

#[tokio::test]
async fn nothing_is_success_whoever_asks() {
    let mut settings = ZipkinHttpSettings::default();
    settings.http.port.tenancy = Tenancy::by_header(false);
    let asked = Asked::new(settings, Recorder::accepting());
    for (path, body) in [(V2, ""), (V2, "[]"), (V2, " \n"), (V1, ""), (V1, "[]")] {
        assert_eq!(asked.send(post(path, &[], body)).await, (202, String::new()), "{path} {body}");
    }
    let (status, text) = asked.send(post(V2, &[], SPAN)).await;
    assert_eq!(status, 401);
    assert!(text.contains("no org id"), "{text}");
    let tenant = [("x-scope-orgid", "acme")];
    assert_eq!(asked.send(post(V2, &tenant, SPAN)).await.0, 202);
    assert_eq!(asked.sink.pushes.lock()[0].0, "acme");
}

#[tokio::test]
async fn damage_is_a_bad_request_in_plain_text() {
    let asked = accepting();
    for (path, body, expected) in [
        (V2, "[{", "EOF while parsing"),
        (V2, "{}", "invalid type: map"),
        (V2, r#"[{"id":"1"}]"#, "valid traceId required"),
        (V1, "[{}]", "hex traceId span has wrong length (expected 16 or 32)"),
        (V2, "\n\u{1}", "malformed protobuf"),
    ] {
        let (status, headers, text) = asked.send_whole(post(path, &[], body)).await;
        assert_eq!(
            (status, headers[CONTENT_TYPE].as_bytes()),
            (400, &b"text/plain; charset=utf-8"[..])
        );
        assert!(text.contains(expected), "{text}");
    }
    assert!(asked.sink.bodies().is_empty());
}

#[tokio::test]
async fn body_over_the_limit_is_too_large_compressed_or_not() {
    let mut settings = ZipkinHttpSettings::default();
    settings.http.port.max_body_bytes = 200;
    let asked = Asked::new(settings, Recorder::accepting());
    let large = format!("[{}]", " ".repeat(1_000));
    let gzip = [("content-encoding", "gzip")];
    let bomb = compress(Encoding::Gzip, large.as_bytes());
    assert!(bomb.len() < 200);
    assert_eq!(asked.send(post(V2, &[], large)).await.0, 413);
    assert_eq!(asked.send(post(V2, &gzip, bomb)).await.0, 413);
    let span = compress(Encoding::Gzip, SPAN.as_bytes());
    assert_eq!(asked.send(post(V2, &gzip, span)).await.0, 202);
    assert_eq!(asked.send(post(V2, &gzip, SPAN)).await.0, 400);
}

#[tokio::test]
async fn sink_errors_have_their_statuses() {
    let text = || "why".to_owned();
    for (error, status, retry_after) in [
        (PushError::Invalid(text()), 400, None),
        (
            PushError::RateLimited { message: text(), retry_after: Duration::from_secs(5) },
            429,
            Some("5"),
        ),
        (PushError::RateLimited { message: text(), retry_after: Duration::ZERO }, 429, None),
        (PushError::Unavailable { message: text(), retry_after: Duration::ZERO }, 503, None),
        (PushError::Internal(text()), 500, None),
    ] {
        let asked = Asked::new(ZipkinHttpSettings::default(), Recorder::new(Err(error.clone())));
        let (found, headers, body) = asked.send_whole(post(V2, &[], SPAN)).await;
        assert_eq!((found, &*body), (status, "why"), "{error:?}");
        let found = headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap());
        assert_eq!(found, retry_after, "{error:?}");
    }
}

#[tokio::test]
async fn string_tags_are_parsed_if_asked() {
    for parse_string_tags in [false, true] {
        let settings = ZipkinHttpSettings { parse_string_tags, ..ZipkinHttpSettings::default() };
        let asked = Asked::new(settings, Recorder::accepting());
        assert_eq!(asked.send(post(V2, &[], SPAN)).await.0, 202);
        let value = asked.span().attributes[0].value.clone().unwrap().value.unwrap();
        let is_int = matches!(value, tactus_proto::otlp::any_value::Value::IntValue(1));
        assert_eq!(is_int, parse_string_tags);
    }
}

#[tokio::test]
async fn large_body_is_decoded_off_the_thread_with_the_same_result() {
    let asked = accepting();
    let body = format!("{}{SPAN}", " ".repeat(100_000));
    assert_eq!(asked.send(post(V2, &[], body)).await.0, 202);
    assert_eq!(asked.span().attributes.len(), 1);
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let asked = accepting();
    for path in [V2, V1, "/"] {
        assert_eq!(asked.send(get_of(path)).await.0, 405, "{path}");
    }
    assert_eq!(asked.send(post("/api/v3/spans", &[], SPAN)).await.0, 404);
}

#[tokio::test]
async fn query_api_answers_what_is_no_post_of_spans() {
    let others = Router::new()
        .route(V2, get(async || "names"))
        .route("/api/v2/services", any(async || "services"))
        .fallback(async || (::http::StatusCode::NOT_FOUND, "other"));
    let mut settings = ZipkinHttpSettings::default();
    settings.http.port.others = Some(others);
    let asked = Asked::new(settings, Recorder::accepting());
    assert_eq!(asked.send(get_of(V2)).await, (200, "names".to_owned()));
    assert_eq!(asked.send(get_of("/api/v2/services")).await, (200, "services".to_owned()));
    assert_eq!(asked.send(get_of("/nowhere")).await, (404, "other".to_owned()));
    assert_eq!(asked.send(post(V2, &[], SPAN)).await.0, 202);
    assert_eq!(asked.span().trace_id.len(), 16);
}

#[tokio::test]
async fn spans_are_counted_by_format() {
    let (registry, metrics) = metrics();
    let spans = ZipkinSpans { parse_string_tags: false };
    let receiver = BatchReceiver::new(spans, Recorder::accepting(), &metrics);
    let port = HttpPort::new(HttpReceiverSettings::at(""));
    let thrift: &[u8] = b"\x0c\0\0\0\x01\x0a\0\x01\0\0\0\0\0\0\0\x01\x0a\0\x04\0\0\0\0\0\0\0\x02\0";
    for (path, body) in [
        (V2, Bytes::from(SPAN)),
        (V2, protobuf().into()),
        (V1, Bytes::from(SPAN_V1)),
        (V1, Bytes::from_static(thrift)),
    ] {
        let answer = port.handle(&receiver, post(path, &[], body)).await;
        assert_eq!(answer.status(), 202);
        assert!(answer.headers().get(CONTENT_LENGTH).is_none());
    }
    let text = registry.encode();
    for transport in ["http_v1_json", "http_v1_thrift", "http_v2_json", "http_v2_proto"] {
        let labels = format!(r#"{{receiver="zipkin/zipkin_receiver",transport="{transport}"}}"#);
        assert!(text.contains(&format!("tempo_receiver_accepted_spans{labels} 1\n")), "{text}");
    }
}
