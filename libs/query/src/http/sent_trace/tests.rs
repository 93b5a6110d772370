//! Large traces: what clients are told before they get the first slice.

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use http_body_util::BodyExt as _;
use prost::Message as _;
use tactus_config::sections::overrides::Limits;
use tactus_proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use tower::ServiceExt as _;

use super::*;
use crate::http::call::{Asked, begin_calls};
use crate::http::router;
use crate::http::trace_forms::OtlpForm;
use crate::tests::doubles::RecentData;
use crate::tests::frontend_within;
use crate::trace_by_id::Limited;
use ::http::{HeaderMap, Request, StatusCode, Version};

const SPANS: usize = 400;
/// Of the trace, which is sent in three slices.
const BYTES: u64 = 4 << 20;
/// A sixteenth of it is sent at once.
const MEMORY: u64 = 32 << 20;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

/// The API, and below `/otlp` the download of the trace. `limit`: the bytes that a trace may have.
fn api_of_large_trace(limit: u64) -> Router {
    let span = |number: usize| Span {
        trace_id: vec![7; 16].into(),
        span_id: (number as u64 + 1).to_be_bytes().to_vec().into(),
        trace_state: "x".repeat(BYTES as usize / SPANS).into(),
        ..Span::default()
    };
    let spans = (0..SPANS).map(span).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let recent = Arc::new(RecentData::default());
    *recent.trace.lock() = TracesData { resource_spans }.encode_to_vec().into();
    let mut limits = Limits::built_in();
    limits.global.max_bytes_per_trace = limit;
    let frontend = frontend_within(&recent, limits, MEMORY, u64::MAX);
    let download = Router::new().route("/otlp", get(download));
    router(Arc::clone(&frontend)).merge(begin_calls(download, &frontend))
}

async fn download(Extension(call): Asked) -> Answered<Response> {
    let (id, query, when_too_large) = (TraceId([7; 16]), TraceQuery::default(), WhenTooLarge::Cut);
    let found = call.frontend.find_limited(&call.tenants, id, query, when_too_large, true).await?;
    let Limited::TooLarge(bytes) = found else { return Err(Error::NotFound.into()) };
    let large = Sent::Large { id, query, when_too_large, bytes };
    send(&call, large, OtlpForm::default(), JSON).await
}

async fn ask(
    api: &Router,
    path: &str,
    accept: &str,
    version: Version,
) -> (StatusCode, HeaderMap, String) {
    let request = Request::get(path).version(version).header("accept", accept);
    let answer = api.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("an answer that does not break off").to_bytes();
    (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
}

fn v1() -> String {
    format!("/api/traces/{}", "07".repeat(16))
}

#[tokio::test]
async fn large_trace_above_the_limit_is_refused_before_anything_is_sent() {
    let api = api_of_large_trace(BYTES - (1 << 20));
    for accept in [JSON, PROTOBUF] {
        let (status, _, body) = ask(&api, &v1(), accept, Version::HTTP_11).await;
        assert_eq!((status.as_u16(), &*body), (422, "trace exceeds max size (max bytes: 3145728)"));
    }
    for limit in [0, BYTES * 2, BYTES * 1_000] {
        let api = api_of_large_trace(limit);
        let (status, headers, body) = ask(&api, &v1(), JSON, Version::HTTP_11).await;
        assert_eq!((status.as_u16(), body.matches("spanId").count()), (200, SPANS), "{limit}");
        assert!(!headers.contains_key(PARTIAL), "{limit}");
    }
}

#[tokio::test]
async fn download_of_a_large_trace_that_is_cut_says_so_at_its_beginning() {
    for (limit, is_cut) in [(BYTES - (1 << 20), true), (BYTES * 2, false)] {
        let api = api_of_large_trace(limit);
        let (status, headers, body) = ask(&api, "/otlp", JSON, Version::HTTP_11).await;
        assert_eq!((status.as_u16(), headers.contains_key(PARTIAL)), (200, is_cut), "{limit}");
        assert_eq!(body.matches("spanId").count() < SPANS, is_cut, "{limit}");
    }
}

#[tokio::test]
async fn large_trace_in_protobuf_needs_a_client_that_sees_where_it_breaks_off() {
    let api = api_of_large_trace(0);
    let v2 = format!("/api/v2/traces/{}", "07".repeat(16));
    for path in [v1(), v2] {
        let (status, _, body) = ask(&api, &path, PROTOBUF, Version::HTTP_10).await;
        assert_eq!(status, StatusCode::HTTP_VERSION_NOT_SUPPORTED, "{path}");
        assert!(body.contains("proxy_http_version 1.1"), "{body}");
        for (accept, version) in [(PROTOBUF, Version::HTTP_11), (JSON, Version::HTTP_10)] {
            let (status, _, body) = ask(&api, &path, accept, version).await;
            assert!(status == 200 && body.len() > BYTES as usize, "{path} {accept}");
        }
    }
}
