use axum::extract::Path;
use axum::routing::{any, get, post};
use bytes::Bytes;
use tactus_telemetry::metrics::Registry;

use super::*;
use crate::testing::{ask, client, get as get_request, http2_client, read, socket};
use crate::text_answer::PLAIN_TEXT;

fn app() -> Router {
    Router::new()
        .route("/api/traces/{traceID}", get(|| async { "trace" }))
        .route("/large", get(|| async { "x".repeat(2000) }))
        .route("/body", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/slow", get(std::future::pending::<()>))
        .fallback(not_found)
}

fn with(settings: &HttpSettings) -> (Router, Registry) {
    let registry = Registry::new();
    let metrics = RequestMetrics::register(&registry);
    (with_middleware(app(), settings, metrics), registry)
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

#[test]
fn clean_path_removes_double_slashes_and_dots_only() {
    for (path, clean) in [
        ("/", None),
        ("/api/search", None),
        ("/api/search/", None),
        ("/api/.hidden/a..b", None),
        ("/api/a%2F%2Fb", None),
        ("//", Some("/")),
        ("//api//search", Some("/api/search")),
        ("/api/./search", Some("/api/search")),
        ("/api/x/../search/", Some("/api/search/")),
        ("/api/x/..", Some("/api")),
        ("/../..", Some("/")),
    ] {
        assert_eq!(clean_path(path).as_deref(), clean, "{path}");
    }
}

#[tokio::test]
async fn unknown_path_has_the_known_text() {
    let (app, _) = with(&HttpSettings::default());
    let (status, headers, body) = ask(&app, request("GET", "/nowhere")).await;
    assert_eq!((status, &*body), (404, "404 page not found\n"));
    assert_eq!(headers["content-type"], PLAIN_TEXT);
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn encoded_path_means_the_decoded_one_if_no_route_has_it() {
    let name = |Path(name): Path<String>| async move { name };
    let app = Router::new()
        .route("/api/echo", any(|| async { "echo" }))
        .route("/api/of/{name}", any(name));
    let settings = HttpSettings::default();
    let metrics = RequestMetrics::register(&Registry::new());
    let app = with_middleware(app.fallback(not_found), &settings, metrics);
    for (path, expected) in [
        ("/api%2Fecho", (200, "echo")),
        ("/%61pi/ech%6f?q=%2F", (200, "echo")),
        ("/api/of/a%2Fb", (200, "a/b")),
        ("/api%2Fof%2Fa%2520b", (200, "a%20b")),
        ("/api%2Fof%2Fa%2Fb", (404, "404 page not found\n")),
        ("/api%2Fnowhere", (404, "404 page not found\n")),
    ] {
        let (status, _, body) = ask(&app, request("GET", path)).await;
        assert_eq!((status, &*body), expected, "{path}");
    }
    let (status, headers, _) = ask(&app, request("GET", "/api/x%2F..%2Fecho?q=1")).await;
    assert_eq!((status, &headers["location"]), (301, &HeaderValue::from_static("/api/echo?q=1")));
}

#[tokio::test]
async fn wrong_method_is_405_without_a_body() {
    let (app, _) = with(&HttpSettings::default());
    let (status, _, body) = ask(&app, request("PUT", "/body")).await;
    assert_eq!((status, &*body), (405, ""));
}

#[tokio::test]
async fn requests_are_measured_by_route_template() {
    let (app, registry) = with(&HttpSettings::default());
    ask(&app, request("GET", "/api/traces/1")).await;
    ask(&app, request("GET", "/api/traces/2")).await;
    ask(&app, request("GET", "/api%2Ftraces/3")).await;
    ask(&app, request("BREW", "/nowhere/else")).await;
    ask(&app, request("BREW", "/nowhere%2Felse")).await;
    let text = registry.encode();
    for series in [
        r#"{method="GET",route="api_traces_traceid",status_code="200",ws="false"} 3"#,
        r#"{method="other",route="notfound",status_code="404",ws="false"} 2"#,
    ] {
        let line = format!("tempo_request_duration_seconds_count{series}\n");
        assert!(text.contains(&line), "{text}");
    }
    let inflight = r#"tempo_inflight_requests{method="GET",route="api_traces_traceid"} 0"#;
    assert!(text.contains(inflight), "{text}");
}

#[tokio::test]
async fn request_left_by_its_client_is_measured_as_499() {
    let (app, registry) = with(&HttpSettings::default());
    let left = ask(&app, request("GET", "/slow"));
    let left = tokio::time::timeout(Duration::from_millis(5), left).await;
    assert!(left.is_err());
    assert!(registry.encode().contains(r#"route="slow",status_code="499""#));
}

#[tokio::test(start_paused = true)]
async fn request_over_the_time_limit_is_unavailable() {
    let request_timeout = Some(Duration::from_secs(30));
    let (app, _) = with(&HttpSettings { request_timeout, ..Default::default() });
    let (status, _, body) = ask(&app, request("GET", "/slow")).await;
    assert_eq!((status, &*body), (503, "unable to process request in the configured timeout"));
}

#[tokio::test]
async fn request_body_over_the_limit_is_too_large() {
    let (app, _) = with(&HttpSettings { max_request_bytes: 10, ..Default::default() });
    let body = |text: &'static str| Request::post("/body").body(Body::from(text)).unwrap();
    assert_eq!(ask(&app, body("1234567890")).await.2, "10");
    assert_eq!(ask(&app, body("12345678901")).await.0, 413);
    let mut announced = body("");
    announced.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("11"));
    let (status, _, text) = ask(&app, announced).await;
    assert_eq!((status, &*text), (413, "http: request body too large"));
}

#[tokio::test(start_paused = true)]
async fn request_body_that_does_not_come_breaks_off() {
    let body_timeout = Some(Duration::from_secs(30));
    let (app, _) = with(&HttpSettings { body_timeout, ..Default::default() });
    let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, io::Error>>());
    let request = Request::post("/body").body(silent).unwrap();
    let (status, _, body) = ask(&app, request).await;
    assert_eq!(status, 400, "{body}");
}

#[tokio::test]
async fn large_body_is_compressed_if_the_client_accepts_it() {
    let (app, _) = with(&HttpSettings::default());
    for (accepted, used) in [("gzip", Some("gzip")), ("gzip, zstd", Some("zstd")), ("br", None)] {
        let mut request = request("GET", "/large");
        request.headers_mut().insert("accept-encoding", HeaderValue::from_static(accepted));
        let (status, headers, body) = ask(&app, request).await;
        let encoding = headers.get("content-encoding").map(|value| value.to_str().unwrap());
        assert_eq!((status, encoding), (200, used));
        assert_eq!(headers["vary"], "Accept-Encoding");
        assert_eq!(body.len() == 2000, used.is_none());
    }
    let mut small = request("GET", "/api/traces/1");
    small.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    assert!(!ask(&app, small).await.1.contains_key("content-encoding"));
}

#[tokio::test]
async fn path_prefix_is_put_before_the_api_only_if_there_is_one() {
    for prefix in ["/tempo", "tempo/"] {
        let app = with_path_prefix(prefix, app());
        assert_eq!(ask(&app, request("GET", "/tempo/api/traces/1")).await.0, 200);
        assert_eq!(ask(&app, request("GET", "/api/traces/1")).await.0, 404);
        let (status, headers, _) = ask(&folder_of_prefix(prefix), request("GET", "/tempo/")).await;
        assert_eq!((status, &headers["location"]), (302, &HeaderValue::from_static("../tempo")));
    }
    assert_eq!(ask(&folder_of_prefix("/"), request("GET", "/")).await.0, 404);
    assert_eq!(ask(&with_path_prefix("", app()), request("GET", "/api/traces/1")).await.0, 200);
}

#[tokio::test]
async fn one_port_speaks_both_versions_cleans_paths_and_routes_grpc() {
    let metrics = RequestMetrics::register(&Registry::new());
    let grpc = Router::new().fallback(|| async { "grpc" });
    let shutdown = CancellationToken::new();
    let settings = HttpSettings::default();
    let port = serve_http(socket().await, settings, app(), Some(grpc), metrics, shutdown).unwrap();
    let url = format!("http://{}", port.local_addr());
    let http2 = http2_client();
    for client in [&client(), &http2] {
        let response = client.request(get_request(&format!("{url}/api/traces/1"))).await.unwrap();
        assert_eq!(read(response).await.2, "trace");
        for (dirty, clean) in
            [("/api//traces/1?q=a//b", "/api/traces/1?q=a//b"), ("//\\host", "/%5Chost")]
        {
            let dirty = get_request(&format!("{url}{dirty}"));
            let (status, headers, body) = read(client.request(dirty).await.unwrap()).await;
            assert_eq!((status, &*body), (301, ""));
            assert_eq!(headers["location"], clean);
        }
    }
    let mut call = get_request(&format!("{url}/tempopb.StreamingQuerier/Search"));
    call.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
    assert_eq!(read(http2.request(call.clone()).await.unwrap()).await.2, "grpc");
    assert_eq!(read(client().request(call).await.unwrap()).await.0, 404);
}
