use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use ::http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use tactus_proto::google::rpc::{RetryInfo, Status as RpcStatus};
use tactus_proto::grpc::health::v1::health_check_response::ServingStatus;
use tactus_proto::grpc::health::v1::{HealthCheckRequest, health_client::HealthClient};
use tactus_proto::otlp::trace_service_client::TraceServiceClient;
use tactus_proto::otlp::{ExportTraceServiceRequest, ExportTraceServiceResponse, ResourceSpans};
use tactus_server::auth::{AuthSettings, Authenticator, hash_token};
use tactus_server::bodies::Bodies;
use tactus_server::tenancy::Tenancy;
use tactus_work::memory::Budget;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use super::*;
use crate::compression::Encoding;
use crate::grpc_receiver::{Receiver, grpc_port_at};
use crate::sink::PushError;
use crate::testing::{ONE_SPAN, Recorder, compress, metrics};

/// A port that serves for the length of a test, and a client of it.
struct Port {
    sink: Arc<Recorder>,
    client: TraceServiceClient<Channel>,
    shutdown: CancellationToken,
    listener: BoundListener,
}

fn default_settings() -> PortSettings {
    grpc_port_at(":4317")
}

async fn port_with(tenancy: Tenancy, sink: Arc<Recorder>) -> Port {
    let settings = PortSettings { tenancy, ..grpc_port_at("127.0.0.1:0") };
    let shutdown = CancellationToken::new();
    let listener =
        serve_otlp_grpc(settings, sink.clone(), &metrics().1, shutdown.clone()).await.unwrap();
    let url = format!("http://{}", listener.local_addr());
    let client = TraceServiceClient::connect(url).await.unwrap();
    Port { sink, client, shutdown, listener }
}

async fn port(sink: Arc<Recorder>) -> Port {
    port_with(Tenancy::single(), sink).await
}

fn one_span() -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(ONE_SPAN).unwrap()
}

/// Sends a request body as it is, past any client; the code, the text, and the response message.
async fn raw(headers: &[(&str, &str)], body: impl Into<Bytes>) -> (Code, String, Bytes) {
    let (answer, _) = raw_to(Recorder::accepting(), headers, body).await;
    answer
}

async fn raw_to(
    sink: Arc<Recorder>,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> ((Code, String, Bytes), Arc<Recorder>) {
    let receiver = Receiver::<Export>::new(default_settings(), sink.clone(), &metrics().1);
    let mut request = Request::post(EXPORT_PATH).header("content-type", "application/grpc+proto");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let response = receiver.handle(request).await;
    assert_eq!(response.status(), 200);
    if let Some(status) = tonic::Status::from_header_map(response.headers()) {
        return ((status.code(), status.message().to_owned(), Bytes::new()), sink);
    }
    let collected = response.into_body().collect().await.unwrap();
    let status = tonic::Status::from_header_map(collected.trailers().unwrap()).unwrap();
    ((status.code(), status.message().to_owned(), collected.to_bytes()), sink)
}

fn framed(flag: u8, payload: &[u8]) -> Vec<u8> {
    [&[flag][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn export_hands_on_the_bytes_and_answers_with_an_empty_partial_success() {
    let mut port = port(Recorder::accepting()).await;
    let response = port.client.export(one_span()).await.unwrap();
    let partial_success = Some(Default::default());
    assert_eq!(*response.get_ref(), ExportTraceServiceResponse { partial_success });
    assert_eq!(port.sink.bodies(), [ONE_SPAN]);
    port.shutdown.cancel();
    port.listener.stopped().await;
    assert_eq!(port.client.export(one_span()).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn large_message_arrives_whole() {
    let mut port = port(Recorder::accepting()).await;
    let mut request = one_span();
    let span = request.resource_spans[0].clone();
    request.resource_spans.resize(30_000, span);
    port.client.export(request.clone()).await.unwrap();
    assert!(port.sink.bodies()[0] == request.encode_to_vec());
}

#[tokio::test]
async fn compressed_messages_are_accepted() {
    let port = port(Recorder::accepting()).await;
    for encoding in
        [CompressionEncoding::Gzip, CompressionEncoding::Deflate, CompressionEncoding::Zstd]
    {
        let client = port.client.clone();
        let mut client = client.send_compressed(encoding).accept_compressed(encoding);
        client.export(one_span()).await.unwrap();
    }
    assert_eq!(port.sink.bodies(), [ONE_SPAN; 3]);
}

#[tokio::test]
async fn framed_snappy_message_is_accepted() {
    let body = framed(1, &compress(Encoding::SnappyFramed, ONE_SPAN));
    let (answer, sink) = raw_to(Recorder::accepting(), &[("grpc-encoding", "snappy")], body).await;
    assert_eq!(answer, (Code::Ok, String::new(), Bytes::from_static(b"\0\0\0\0\x02\x0a\0")));
    assert_eq!(sink.bodies(), [ONE_SPAN]);
}

#[tokio::test]
async fn message_with_the_flag_off_is_plain_whatever_the_encoding() {
    let (code, _, _) = raw(&[("grpc-encoding", "gzip")], framed(0, ONE_SPAN)).await;
    assert_eq!(code, Code::Ok);
}

#[tokio::test]
async fn unknown_encoding_is_unimplemented() {
    let (code, text, _) = raw(&[("grpc-encoding", "br")], framed(1, ONE_SPAN)).await;
    let expected = r#"grpc: Decompressor is not installed for grpc-encoding "br""#;
    assert_eq!((code, &*text), (Code::Unimplemented, expected));
}

#[tokio::test]
async fn message_over_the_limit_is_resource_exhausted() {
    let mut body = framed(0, b"");
    body[1..5].copy_from_slice(&4_194_305_u32.to_be_bytes());
    let (code, text, _) = raw(&[], body).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert_eq!(text, "grpc: received message larger than max (4194305 vs. 4194304)");

    let bomb = framed(1, &compress(Encoding::Gzip, &vec![0; 5 << 20]));
    let (code, text, _) = raw(&[("grpc-encoding", "gzip")], bomb).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert_eq!(text, "grpc: received message after decompression larger than max 4194304");
}

#[tokio::test]
async fn damaged_framing_is_internal() {
    let truncated = &framed(0, ONE_SPAN)[..50];
    let two_messages = [framed(0, ONE_SPAN), framed(0, ONE_SPAN)].concat();
    let bad_gzip = framed(1, b"no gzip");
    for (headers, body) in [
        (&[][..], b"".to_vec()),
        (&[], b"\0\0".to_vec()),
        (&[], truncated.to_vec()),
        (&[], two_messages),
        (&[], framed(2, ONE_SPAN)),
        (&[], framed(1, ONE_SPAN)),
        (&[("grpc-encoding", "gzip")], bad_gzip),
    ] {
        assert_eq!(raw(headers, body.clone()).await.0, Code::Internal, "{body:?}");
    }
}

#[tokio::test]
async fn undecodable_message_is_internal() {
    let sink = Recorder::new(Err(PushError::Malformed("field 1 is cut off".to_owned())));
    let ((code, text, _), _) = raw_to(sink, &[], framed(0, b"\x0a\xff")).await;
    assert_eq!(code, Code::Internal);
    assert_eq!(text, "grpc: error unmarshalling request: field 1 is cut off");
}

#[tokio::test]
async fn message_without_spans_succeeds_without_the_sink() {
    let (answer, sink) = raw_to(Recorder::accepting(), &[], framed(0, b"")).await;
    assert_eq!((answer.0, sink.bodies().len()), (Code::Ok, 0));
}

#[tokio::test]
async fn rate_limit_carries_retry_info() {
    let sink = Recorder::new(Err(PushError::RateLimited {
        message: "RATE_LIMITED: x".to_owned(),
        retry_after: Duration::from_secs(5),
    }));
    let status = port(sink).await.client.export(one_span()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "RATE_LIMITED: x"));
    let details = RpcStatus::decode(status.details()).unwrap();
    let info = RetryInfo::decode(&*details.details[0].value).unwrap();
    assert_eq!(info.retry_delay.unwrap().seconds, 5);
}

#[tokio::test]
async fn sink_errors_have_their_codes() {
    let text = || "why".to_owned();
    let unavailable = PushError::Unavailable { message: text(), retry_after: Duration::ZERO };
    for (error, code) in [
        (PushError::Invalid(text()), Code::InvalidArgument),
        (unavailable, Code::Unavailable),
        (PushError::Internal(text()), Code::Internal),
    ] {
        let (answer, _) = raw_to(Recorder::new(Err(error)), &[], framed(0, ONE_SPAN)).await;
        assert_eq!((answer.0, &*answer.1), (code, "why"));
    }
}

#[tokio::test]
async fn tenant_is_taken_from_the_metadata_when_multitenancy_is_on() {
    let mut port = port_with(Tenancy::by_header(true), Recorder::accepting()).await;
    let status = port.client.export(one_span()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "no org id"));
    let no_spans = ExportTraceServiceRequest { resource_spans: vec![ResourceSpans::default()] };
    port.client.export(no_spans).await.unwrap();
    for (tenant, code) in [("acme", Code::Ok), ("a/b", Code::InvalidArgument)] {
        let mut request = tonic::Request::new(one_span());
        request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
        let result = port.client.export(request).await;
        assert_eq!(result.map_or_else(|status| status.code(), |_| Code::Ok), code);
    }
    assert_eq!(port.sink.pushes.lock()[0].0, "acme");
}

#[tokio::test]
async fn other_paths_methods_and_content_types_are_refused() {
    let (sink, metrics) = (Recorder::accepting(), metrics().1);
    let receiver = Receiver::<Export>::new(default_settings(), sink, &metrics);
    let request = |method, path: &str, content_type| {
        let request = Request::builder().method(method).uri(path);
        request.header("content-type", content_type).body(Full::<Bytes>::default()).unwrap()
    };
    let unknown = request(
        "POST",
        "/opentelemetry.proto.collector.trace.v1.TraceService/X",
        "application/grpc",
    );
    let response = receiver.handle(unknown).await;
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
    assert_eq!((response.status().as_u16(), status.code()), (200, Code::Unimplemented));
    let get = receiver.handle(request("GET", EXPORT_PATH, "application/grpc")).await;
    assert_eq!(get.status(), 405);
    let json = receiver.handle(request("POST", EXPORT_PATH, "application/json")).await;
    assert_eq!(json.status(), 415);
}

/// With one caller, who may write to one tenant.
fn settings_for_writers(directory: &Path) -> PortSettings {
    let file = directory.join("users.yaml");
    let token = hash_token("writer-token");
    let users =
        format!("users: [{{name: w, token_sha256: {token}, tenants: [a], roles: [write]}}]");
    std::fs::write(&file, users).unwrap();
    let tenancy = Tenancy::by_header(false);
    let auth = Authenticator::load(AuthSettings::new(file, tenancy.clone())).unwrap();
    PortSettings { tenancy, auth: Some(auth), ..grpc_port_at("127.0.0.1:0") }
}

#[tokio::test]
async fn spans_are_taken_from_writers_only() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings_for_writers(directory.path());
    let sink = Recorder::accepting();
    let receiver = Receiver::<Export>::new(settings, sink.clone(), &metrics().1);
    for (credentials, tenant, code) in [
        ("Bearer writer-token", "", Code::Ok),
        ("Bearer writer-token", "b", Code::PermissionDenied),
        ("Bearer wrong", "a", Code::Unauthenticated),
        ("", "a", Code::Unauthenticated),
    ] {
        let mut request = Request::post(EXPORT_PATH).header("content-type", "application/grpc");
        for (name, value) in [("authorization", credentials), ("x-scope-orgid", tenant)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let body = Full::new(Bytes::from(framed(0, ONE_SPAN)));
        let response = receiver.handle(request.body(body).unwrap()).await;
        let status = tonic::Status::from_header_map(response.headers());
        assert_eq!(status.map_or(Code::Ok, |status| status.code()), code, "{credentials} {tenant}");
    }
    assert_eq!(sink.pushes.lock()[0].0, "a");
    assert_eq!(sink.bodies().len(), 1);
}

#[tokio::test]
async fn health_is_told_to_whoever_asks_and_ends_with_the_port() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings_for_writers(directory.path());
    let (shutdown, sink) = (CancellationToken::new(), Recorder::accepting());
    let listener = serve_otlp_grpc(settings, sink, &metrics().1, shutdown.clone()).await.unwrap();
    let url = format!("http://{}", listener.local_addr());
    let mut health = HealthClient::connect(url).await.unwrap();
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "opentelemetry.proto.collector.trace.v1.TraceService"] {
        let answer = health.check(request(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    assert_eq!(health.check(request("x")).await.unwrap_err().code(), Code::NotFound);
    let mut known = health.watch(request("")).await.unwrap().into_inner();
    let mut unknown = health.watch(request("x")).await.unwrap().into_inner();
    assert_eq!(known.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let first = unknown.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    shutdown.cancel();
    assert_eq!(known.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(known.message().await.unwrap().is_none());
    assert!(unknown.message().await.unwrap().is_none());
    listener.stopped().await;
}

#[tokio::test]
async fn question_about_health_counts_and_has_to_come_in_time() {
    let bodies = Bodies::within(&Budget::new(50_000));
    let settings = PortSettings {
        bodies: Arc::clone(&bodies),
        read_timeout: Some(Duration::from_secs(2)),
        ..grpc_port_at("127.0.0.1:0")
    };
    let (shutdown, sink) = (CancellationToken::new(), Recorder::accepting());
    let listener = serve_otlp_grpc(settings, sink, &metrics().1, shutdown).await.unwrap();
    let url = format!("http://{}/grpc.health.v1.Health/Check", listener.local_addr());
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let _held = bodies.hold_message(10_000).await.unwrap();
    for (line, code) in [(10_000, Code::Unavailable), (10, Code::DeadlineExceeded)] {
        let never = tokio_stream::pending::<Result<Bytes, Infallible>>();
        let request = Request::post(&url).header("content-type", "application/grpc");
        let request = request.header("line", "x".repeat(line));
        let request = request.body(axum::body::Body::from_stream(never)).unwrap();
        let response = client.request(request).await.unwrap();
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), code, "{line}");
        let names_limit = status.message().contains("distributor.max_inflight_bytes");
        assert_eq!(names_limit, code == Code::Unavailable, "{status}");
    }
}
