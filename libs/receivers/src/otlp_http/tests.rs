use std::convert::Infallible;
use std::time::Duration;

use ::http::HeaderName;
use ::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, ORIGIN, RETRY_AFTER, VARY};
use http_body::Body;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use serde_json::{Value, json};
use tactus_proto::google::rpc::Status as RpcStatus;
use tactus_server::tenancy::Tenancy;

use super::*;
use crate::cors::CorsSettings;
use crate::http_receiver::INLINE_DECODE_BYTES;
use crate::sink::PushError;
use crate::testing::{ONE_SPAN, ONE_SPAN_JSON, Recorder, compress, metrics};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A response as a client sees it.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: impl ::http::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        assert_eq!(self.header(CONTENT_TYPE), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    fn rpc_status(&self) -> RpcStatus {
        assert_eq!(self.header(CONTENT_TYPE), "application/x-protobuf");
        RpcStatus::decode(self.body.clone()).unwrap()
    }
}

/// A port that is asked without a connection.
pub(super) struct Asked {
    port: HttpPort,
    receiver: Receiver,
}

fn receiver_with(
    settings: OtlpHttpSettings,
    sink: Arc<Recorder>,
    metrics: &ReceiverMetrics,
) -> Asked {
    let receiver = Receiver::new(settings.traces_path, sink, metrics);
    Asked { port: HttpPort::new(settings.http), receiver }
}

pub(super) fn receiver(settings: OtlpHttpSettings, sink: Arc<Recorder>) -> Asked {
    receiver_with(settings, sink, &metrics().1)
}

/// Defaults but for what `change` changes.
pub(super) fn changed(change: impl FnOnce(&mut HttpReceiverSettings)) -> OtlpHttpSettings {
    let mut settings = OtlpHttpSettings::default();
    change(&mut settings.http);
    settings
}

pub(super) fn post(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post("/v1/traces");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

pub(super) async fn ask(asked: &Asked, request: Request<Full<Bytes>>) -> Answer {
    answer(asked.port.handle(&asked.receiver, request).await).await
}

async fn answer<B>(response: Response<B>) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

/// Asks a receiver with default settings that accepts everything.
async fn ask_default(request: Request<Full<Bytes>>) -> Answer {
    ask(&receiver(OtlpHttpSettings::default(), Recorder::accepting()), request).await
}

#[tokio::test]
async fn protobuf_export_is_handed_on_as_sent() {
    let sink = Recorder::accepting();
    let receiver = receiver(OtlpHttpSettings::default(), sink.clone());
    let answer = ask(&receiver, post(&[PROTOBUF], ONE_SPAN)).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &[0x0a, 0x00][..]));
    assert_eq!(answer.header(CONTENT_TYPE), "application/x-protobuf");
    assert_eq!(sink.pushes.lock()[0].0, "single-tenant");
    // The very bytes of the request, not a copy.
    assert_eq!(sink.bodies()[0].as_ptr(), ONE_SPAN.as_ptr());
}

#[tokio::test]
async fn json_export_is_handed_on_as_protobuf() {
    let sink = Recorder::accepting();
    let receiver = receiver(OtlpHttpSettings::default(), sink.clone());
    let charset = ("content-type", "application/json; charset=utf-8");
    let answer = ask(&receiver, post(&[charset], ONE_SPAN_JSON)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "partialSuccess": {} })));
    let expected = read_export_request(ONE_SPAN_JSON.as_bytes()).unwrap();
    assert_eq!(sink.bodies(), [expected]);
}

#[tokio::test]
async fn large_json_is_decoded_off_the_thread_with_the_same_result() {
    let sink = Recorder::accepting();
    let receiver = receiver(OtlpHttpSettings::default(), sink.clone());
    let json = format!("{}{ONE_SPAN_JSON}", " ".repeat(INLINE_DECODE_BYTES));
    assert_eq!(ask(&receiver, post(&[JSON], json)).await.status, 200);
    assert_eq!(sink.bodies().len(), 1);
}

#[tokio::test]
async fn bad_json_is_a_bad_request_in_json() {
    for (from, to) in [("SPAN_KIND_SERVER", "SERVER"), ("\"0000000000000003\"", "\"03\"")] {
        let answer = ask_default(post(&[JSON], ONE_SPAN_JSON.replace(from, to))).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(3)));
    }
    assert_eq!(ask_default(post(&[JSON], "")).await.status, 400);
    assert_eq!(ask_default(post(&[JSON], "{}")).await.status, 200);
}

#[tokio::test]
async fn every_content_encoding_is_decompressed() {
    for (name, encoding) in [
        ("gzip", Encoding::Gzip),
        ("zstd", Encoding::Zstd),
        ("zlib", Encoding::Zlib),
        ("deflate", Encoding::Zlib),
        ("deflate", Encoding::Deflate),
        ("snappy", Encoding::Snappy),
        ("snappy", Encoding::SnappyFramed),
        ("x-snappy-framed", Encoding::SnappyFramed),
        ("lz4", Encoding::Lz4),
    ] {
        let sink = Recorder::accepting();
        let receiver = receiver(OtlpHttpSettings::default(), sink.clone());
        let headers = [PROTOBUF, ("content-encoding", name)];
        let answer = ask(&receiver, post(&headers, compress(encoding, ONE_SPAN))).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(sink.bodies(), [ONE_SPAN], "{name}");
    }
    let identity = [PROTOBUF, ("content-encoding", "identity")];
    assert_eq!(ask_default(post(&identity, ONE_SPAN)).await.status, 200);
}

#[tokio::test]
async fn unknown_content_encoding_is_refused_before_the_path() {
    let brotli = ("content-encoding", "br");
    let mut elsewhere = post(&[PROTOBUF, brotli], ONE_SPAN);
    *elsewhere.uri_mut() = "/elsewhere".parse().unwrap();
    let answer = ask_default(elsewhere).await;
    assert_eq!(answer.status, 400);
    let status = answer.rpc_status();
    assert_eq!((status.code, &*status.message), (3, "unsupported Content-Encoding: br"));

    let answer = ask_default(post(&[brotli], ONE_SPAN)).await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(3)));

    let answer = ask_default(post(&[brotli, ("content-type", "text/plain")], ONE_SPAN)).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.body, r#"{"code": 13, "message": "failed to marshal error message"}"#);
}

#[tokio::test]
async fn content_encoding_that_is_not_configured_is_refused() {
    let settings = changed(|http| http.encodings = vec![String::new()]);
    let receiver = receiver(settings, Recorder::accepting());
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    let answer = ask(&receiver, post(&headers, compress(Encoding::Gzip, ONE_SPAN))).await;
    assert_eq!(answer.rpc_status().message, "unsupported Content-Encoding: gzip");
}

#[tokio::test]
async fn wrong_path_method_and_media_type_have_their_texts() {
    let mut request = post(&[PROTOBUF], ONE_SPAN);
    *request.uri_mut() = "/v1/metrics".parse().unwrap();
    let answer = ask_default(request).await;
    assert_eq!((answer.status, &answer.body[..]), (404, &b"404 page not found\n"[..]));

    let mut request = post(&[], "");
    *request.method_mut() = Method::GET;
    let answer = ask_default(request).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.body, "405 method not allowed, supported: [POST]");
    assert_eq!(answer.header(CONTENT_TYPE), "text/plain");

    for headers in [&[("content-type", "text/plain")][..], &[]] {
        let answer = ask_default(post(headers, ONE_SPAN)).await;
        assert_eq!(answer.status, 415);
        assert_eq!(
            answer.body,
            "415 unsupported media type, supported: [application/json, application/x-protobuf]"
        );
    }
}

#[tokio::test]
async fn body_over_the_limit_is_refused_compressed_or_not() {
    let settings = changed(|http| http.port.max_body_bytes = 1000);
    let receiver = receiver(settings, Recorder::accepting());
    let plain = ask(&receiver, post(&[PROTOBUF], vec![0; 1001])).await;
    let bomb = compress(Encoding::Gzip, &vec![0; 100_000]);
    assert!(bomb.len() < 1000);
    let bomb = ask(&receiver, post(&[PROTOBUF, ("content-encoding", "gzip")], bomb)).await;
    for answer in [plain, bomb] {
        assert_eq!(answer.status, 400);
        let status = answer.rpc_status();
        assert_eq!((status.code, &*status.message), (3, "http: request body too large"));
    }
}

#[tokio::test]
async fn truncated_gzip_is_a_bad_request() {
    let body = compress(Encoding::Gzip, ONE_SPAN);
    let body = body[..body.len() - 4].to_vec();
    let answer = ask_default(post(&[PROTOBUF, ("content-encoding", "gzip")], body)).await;
    assert_eq!((answer.status, answer.rpc_status().code), (400, 3));
}

#[tokio::test]
async fn sink_errors_have_their_statuses() {
    let seconds = Duration::from_secs;
    let text = || "why".to_owned();
    for (error, http, code, retry_after) in [
        (PushError::Malformed(text()), 400, 3, ""),
        (PushError::Invalid(text()), 400, 3, ""),
        (PushError::RateLimited { message: text(), retry_after: seconds(5) }, 429, 8, "5"),
        (PushError::RateLimited { message: text(), retry_after: seconds(0) }, 429, 8, ""),
        (PushError::Unavailable { message: text(), retry_after: seconds(1) }, 503, 14, "1"),
        (PushError::Internal(text()), 500, 13, ""),
    ] {
        let receiver = receiver(OtlpHttpSettings::default(), Recorder::new(Err(error.clone())));
        let answer = ask(&receiver, post(&[PROTOBUF], ONE_SPAN)).await;
        let status = answer.rpc_status();
        assert_eq!(
            (answer.status, status.code, &*status.message, answer.header(RETRY_AFTER)),
            (http, code, "why", retry_after),
            "{error:?}"
        );
        assert_eq!(status.details.len(), usize::from(!retry_after.is_empty()));
    }
}

#[tokio::test]
async fn rejected_spans_are_told_as_partial_success() {
    let outcome = PushOutcome {
        accepted_spans: 1,
        rejected_spans: 12,
        message: "TRACE_TOO_LARGE: 12 spans".to_owned(),
    };
    let receiver = receiver(OtlpHttpSettings::default(), Recorder::new(Ok(outcome)));
    let answer = ask(&receiver, post(&[JSON], ONE_SPAN_JSON)).await;
    let partial = json!({ "rejectedSpans": "12", "errorMessage": "TRACE_TOO_LARGE: 12 spans" });
    assert_eq!((answer.status, answer.json()), (200, json!({ "partialSuccess": partial })));
    let answer = ask(&receiver, post(&[PROTOBUF], ONE_SPAN)).await;
    assert_eq!(&answer.body[..], b"\x0a\x1d\x08\x0c\x12\x19TRACE_TOO_LARGE: 12 spans");
}

#[tokio::test]
async fn tenant_is_taken_from_the_header_when_multitenancy_is_on() {
    let settings = changed(|http| http.port.tenancy = Tenancy::by_header(true));
    let sink = Recorder::accepting();
    let receiver = receiver(settings, sink.clone());
    let answer = ask(&receiver, post(&[PROTOBUF, ("X-Scope-OrgID", "acme")], ONE_SPAN)).await;
    assert_eq!((answer.status, &*sink.pushes.lock()[0].0), (200, "acme"));

    let answer = ask(&receiver, post(&[PROTOBUF], ONE_SPAN)).await;
    let status = answer.rpc_status();
    assert_eq!((answer.status, status.code, &*status.message), (401, 16, "no org id"));

    let twice = [PROTOBUF, ("x-scope-orgid", "a"), ("x-scope-orgid", "b")];
    assert_eq!(ask(&receiver, post(&twice, ONE_SPAN)).await.status, 400);
    let list = [PROTOBUF, ("x-scope-orgid", "a|b")];
    assert_eq!(ask(&receiver, post(&list, ONE_SPAN)).await.status, 400);
    // Nothing to store, so nobody to ask for.
    for (format, body) in
        [(PROTOBUF, ""), (PROTOBUF, "\n\0"), (JSON, "{}"), (JSON, r#"{"resourceSpans":[{}]}"#)]
    {
        assert_eq!(ask(&receiver, post(&[format], body)).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn cors_answers_preflight_and_decorates_answers() {
    let cors =
        CorsSettings { allowed_origins: vec!["https://app".to_owned()], ..Default::default() };
    let receiver = receiver(changed(|http| http.cors = cors), Recorder::accepting());
    let mut request =
        post(&[("origin", "https://app"), ("access-control-request-method", "POST")], "");
    *request.method_mut() = Method::OPTIONS;
    let answer = ask(&receiver, request).await;
    assert_eq!((answer.status, answer.header(ACCESS_CONTROL_ALLOW_ORIGIN)), (204, "https://app"));
    for (origin, allowed) in [("https://app", "https://app"), ("https://other", "")] {
        let answer = ask(&receiver, post(&[PROTOBUF, (ORIGIN.as_str(), origin)], ONE_SPAN)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header(VARY), "Origin");
        assert_eq!(answer.header(ACCESS_CONTROL_ALLOW_ORIGIN), allowed);
    }
}

#[tokio::test]
async fn options_without_cors_is_a_wrong_method() {
    let mut request = post(&[("origin", "https://app")], "");
    *request.method_mut() = Method::OPTIONS;
    assert_eq!(ask_default(request).await.status, 405);
}

#[tokio::test]
async fn configured_headers_are_on_every_response() {
    let header = (HeaderName::from_static("x-test"), HeaderValue::from_static("1"));
    let settings = changed(|http| http.response_headers = vec![header]);
    let receiver = receiver(settings, Recorder::accepting());
    for request in [post(&[PROTOBUF], ONE_SPAN), post(&[], ONE_SPAN)] {
        assert_eq!(ask(&receiver, request).await.header("x-test"), "1");
    }
}

#[tokio::test]
async fn spans_are_counted_as_accepted_or_refused() {
    let limited = PushError::RateLimited { message: String::new(), retry_after: Duration::ZERO };
    let malformed = PushError::Malformed(String::new());
    let (registry, metrics) = metrics();
    for answer in
        [Ok(PushOutcome { accepted_spans: 3, ..Default::default() }), Err(limited), Err(malformed)]
    {
        let sink = Recorder::new(answer);
        let receiver = receiver_with(OtlpHttpSettings::default(), sink, &metrics);
        ask(&receiver, post(&[PROTOBUF], ONE_SPAN)).await;
    }
    let text = registry.encode();
    let labels = r#"{receiver="otlp/otlp_receiver",transport="http"}"#;
    assert!(text.contains(&format!("tempo_receiver_accepted_spans{labels} 3\n")), "{text}");
    assert!(text.contains(&format!("tempo_receiver_refused_spans{labels} 1\n")), "{text}");
}

#[tokio::test]
async fn port_serves_and_drains() {
    let sink = Recorder::accepting();
    let settings = changed(|http| http.port.address = "127.0.0.1:0".to_owned());
    let shutdown = CancellationToken::new();
    let port =
        serve_otlp_http(settings, sink.clone(), &metrics().1, shutdown.clone()).await.unwrap();
    let url = format!("http://{}/v1/traces", port.local_addr());

    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    // Larger than every buffer on the way, so that it comes in many chunks.
    let large: Vec<u8> = ONE_SPAN.iter().copied().cycle().take(ONE_SPAN.len() * 50_000).collect();
    for body in [Bytes::from_static(ONE_SPAN), Bytes::from(large)] {
        let request = Request::post(&url).header(PROTOBUF.0, PROTOBUF.1);
        let request = request.body(Full::new(body.clone())).unwrap();
        let answer = answer(client.request(request).await.unwrap()).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &[0x0a, 0x00][..]));
        assert!(sink.bodies().last().unwrap() == &body);
    }
    shutdown.cancel();
    port.stopped().await;
    let request = Request::post(&url).body(Full::default()).unwrap();
    assert!(client.request(request).await.is_err());
}

#[tokio::test]
async fn chunked_body_is_read_over_the_network() {
    let sink = Recorder::accepting();
    let settings = changed(|http| {
        http.port.address = "127.0.0.1:0".to_owned();
        http.port.max_body_bytes = 1 << 20;
    });
    let shutdown = CancellationToken::new();
    let port = serve_otlp_http(settings, sink.clone(), &metrics().1, shutdown).await.unwrap();
    let url = format!("http://{}/v1/traces", port.local_addr());
    let client = Client::builder(TokioExecutor::new()).build_http();
    for (chunks, status) in [(3, 200), (100_000, 400)] {
        let frame = || Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(ONE_SPAN)));
        let frames: Vec<_> = (0..chunks).map(|_| frame()).collect();
        let body = StreamBody::new(tokio_stream::iter(frames));
        let request = Request::post(&url).header(PROTOBUF.0, PROTOBUF.1).body(body).unwrap();
        let answer = answer(client.request(request).await.unwrap()).await;
        assert_eq!(answer.status, status);
    }
    assert_eq!(sink.bodies(), [ONE_SPAN.repeat(3)]);
}
