//! Request metrics of the HTTP and gRPC ports, with labels of bounded variety.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::middleware::Next;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tactus_telemetry::metrics::{Gauge, GaugeVec, HistogramVec, Registry};
use tactus_telemetry::request_span;
use tactus_telemetry::self_tracing::TRACEPARENT;
use tonic::Code;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::request_log::{LoggedRequest, RequestLog};
use crate::tenancy::TENANT_HEADER;

/// Header or trailer with the result of a gRPC call.
const GRPC_STATUS: &str = "grpc-status";

/// Value of the label `method` of gRPC requests.
const GRPC_METHOD: &str = "gRPC";

/// Route label of HTTP requests that match no route.
const UNMATCHED: &str = "notfound";

/// Route label of calls of gRPC that no service has, or that none saw because they were refused before.
const OTHER: &str = "other";

/// Templates of requests that come all the time, so that their traces would only be noise.
const UNTRACED: [&str; 2] = ["/metrics", "/ready"];

/// Calls whose messages are requests.
const UNTRACED_CALLS: [&str; 1] = ["/tactus.v1.Pushes/Stream"];

/// Buckets of request durations, in seconds.
const BUCKETS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

/// `tempo_request_duration_seconds` and `tempo_inflight_requests`.
#[derive(Clone)]
pub struct RequestMetrics {
    durations: HistogramVec<4>,
    inflight: GaugeVec<2>,
    /// The prefix of route templates.
    prefix: &'static str,
    /// The log of requests, if it is on.
    log: Option<RequestLog>,
}

impl RequestMetrics {
    /// Registers the metrics, or takes those that are registered already.
    pub fn register(registry: &Registry) -> Self {
        Self {
            durations: registry.histogram_vec(
                "tempo_request_duration_seconds",
                "Time from the head of a request to the end of its response.",
                ["method", "route", "status_code", "ws"],
                &BUCKETS,
            ),
            inflight: registry.gauge_vec(
                "tempo_inflight_requests",
                "Requests that have begun and not ended.",
                ["method", "route"],
            ),
            prefix: "",
            log: None,
        }
    }

    /// The same metrics for a port whose requests have lines in a log. Calls that come as messages of a longer one have none.
    #[must_use]
    pub fn with_log(self, log: RequestLog) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Counts work that came by another way than a request of its own, under a route of HTTP.
    pub fn record(&self, route: &'static str, status: StatusCode, time: Duration) {
        let labels = [Method::GET.as_str(), route, status.as_str(), "false"];
        self.durations.with(labels).observe_duration(time);
    }

    /// Counts a call of gRPC that comes as a message of a longer one, as one of its own. `service`, `method`: as in its path.
    /// `traceparent`: of the caller, if it is traced.
    pub fn call(&self, service: &'static str, method: &str, traceparent: Option<&str>) -> Call {
        let path = format!("{service}/{method}");
        let route = known_route(&path).map_or_else(|| Cow::Owned(path.clone()), Cow::Borrowed);
        let inflight = self.inflight.with([GRPC_METHOD, service]);
        let span = call_span(&path, traceparent, None);
        Call(Flight::start(self.clone(), inflight, GRPC_METHOD, route, span))
    }

    /// The same metrics for a port with an API of its own, whose routes may have the names of those of another port:
    /// they are counted as if they were below `prefix`.
    #[must_use]
    pub fn below(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }
}

/// Turns a route template into a label: runs of other characters than letters and digits become
/// `_`; lower case. `/api/traces/{traceID}` is `api_traces_traceid`.
///
/// Names of tags may have slashes, so their template ends in a wildcard. Its label is that of Tempo's template.
pub(crate) fn route_label(template: &str) -> String {
    if let Some(before) = template.strip_suffix("/tag/{*name}") {
        return route_label(&format!("{before}/tag/tagName/values"));
    }
    let words =
        template.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let label = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
    if label.is_empty() { "root".to_owned() } else { label }
}

/// The route of a method of ours under the name that dashboards of Tempo select; `None`: it has none.
fn known_route(path: &str) -> Option<&'static str> {
    Some(match path {
        "/tactus.v1.Ingester/Push" => "/tempopb.Pusher/PushBytesV2",
        "/tactus.v1.Ingester/FindTrace" => "/tempopb.Querier/FindTraceByID",
        "/tactus.v1.Ingester/Search" => "/tempopb.Querier/SearchRecent",
        "/tactus.v1.Ingester/Tags" => "/tempopb.Querier/SearchTagsV2",
        "/tactus.v1.Ingester/TagValues" => "/tempopb.Querier/SearchTagValuesV2",
        "/tactus.v1.Ingester/Metrics" => "/tempopb.Querier/QueryRange",
        "/tactus.v1.MetricsGenerator/Generate" => "/tempopb.MetricsGenerator/PushSpans",
        _ => return None,
    })
}

/// Middleware of the HTTP router.
pub(crate) async fn observe_http(
    State(metrics): State<RequestMetrics>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) if metrics.prefix.is_empty() => Cow::Owned(route_label(path.as_str())),
        Some(path) => Cow::Owned(route_label(&format!("{}{}", metrics.prefix, path.as_str()))),
        None => Cow::Borrowed(UNMATCHED),
    };
    let method = method_label(request.method());
    let span = http_span(&request, method);
    let inflight = metrics.inflight.with([method, &route]);
    let logged = metrics.log.as_ref().and_then(|log| log.begin(&request));
    let mut flight = Flight::start(metrics, inflight, method, route, span.clone());
    flight.logged = logged;
    let response = next.run(request).instrument(span).await;
    flight.outcome = Outcome::Http(response.status());
    flight.follow(response)
}

/// In the extensions of a call of gRPC: whether it came as far as the services.
#[derive(Debug, Clone, Default)]
struct Reached(Arc<AtomicBool>);

/// Middleware next to the gRPC services, of which [`observe_grpc`] is around everything.
pub(crate) async fn note_reached(request: Request<Body>, next: Next) -> Response<Body> {
    if let Some(Reached(reached)) = request.extensions().get::<Reached>() {
        reached.store(true, Relaxed);
    }
    next.run(request).await
}

/// Middleware of the gRPC router.
pub(crate) async fn observe_grpc(
    State(metrics): State<RequestMetrics>,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    // Whether the method exists is not known yet, only whether the service does.
    let service = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().trim_end_matches("/{*rest}"),
        None => OTHER,
    };
    let inflight = metrics.inflight.with([GRPC_METHOD, service]);
    let path = request.uri().path();
    let route = known_route(path).map_or_else(|| Cow::Owned(path.to_owned()), Cow::Borrowed);
    let span = grpc_span(&request);
    let logged = metrics.log.as_ref().and_then(|log| log.begin(&request));
    let mut flight = Flight::start(metrics, inflight, GRPC_METHOD, route, span.clone());
    flight.logged = logged;
    let reached = Reached::default();
    flight.reached = Some(reached.clone());
    request.extensions_mut().insert(reached);
    let response = next.run(request).instrument(span).await;
    flight.note_grpc_status(response.headers());
    flight.follow(response)
}

/// The span of an HTTP request; none for probes and scrapes, which come all the time.
fn http_span(request: &Request<Body>, method: &str) -> Span {
    let template = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str(),
        None => return Span::none(),
    };
    if UNTRACED.contains(&template) {
        return Span::none();
    }
    request_span!(
        format!("{method} {template}"),
        header(request, TRACEPARENT),
        "http.request.method" = method,
        "http.route" = template,
        tenant = header(request, TENANT_HEADER),
        "http.response.status_code" = Empty,
    )
}

/// The span of a gRPC call; none for probes, and for calls that last: a trace has to end.
fn grpc_span(request: &Request<Body>) -> Span {
    let path = request.uri().path();
    if path.starts_with("/grpc.") || UNTRACED_CALLS.contains(&path) {
        return Span::none();
    }
    call_span(path, header(request, TRACEPARENT), header(request, TENANT_HEADER))
}

fn call_span(path: &str, traceparent: Option<&str>, tenant: Option<&str>) -> Span {
    let method = path.trim_start_matches('/');
    request_span!(
        method,
        traceparent,
        // The sender of a push has decided whether it is traced.
        ingest = method.ends_with("/Push") || method.ends_with("/Export"),
        "rpc.system" = "grpc",
        tenant = tenant,
        "rpc.grpc.status_code" = Empty,
    )
}

fn header<'a>(request: &'a Request<Body>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        // The method is the client's choice, so the rest shares one label.
        _ => "other",
    }
}

/// A call of [`RequestMetrics::call`] that has begun; counted when it is dropped.
pub struct Call(Flight);

impl Call {
    /// The span of this request. Work on its behalf belongs to it.
    pub fn span(&self) -> Span {
        self.0.span.clone()
    }

    /// It ended with this status.
    pub fn end(mut self, code: Code) {
        self.0.outcome = Outcome::Grpc(code);
    }
}

enum Outcome {
    /// No answer yet: if it ends like this, the client has left.
    Open,
    Http(StatusCode),
    Grpc(Code),
}

/// A request between its head and the end of its response; counted when dropped.
struct Flight {
    metrics: RequestMetrics,
    inflight: Gauge,
    method: &'static str,
    route: Cow<'static, str>,
    outcome: Outcome,
    started: Instant,
    span: Span,
    logged: Option<LoggedRequest>,
    /// `None`: its route is known.
    reached: Option<Reached>,
}

impl Flight {
    fn start(
        metrics: RequestMetrics,
        inflight: Gauge,
        method: &'static str,
        route: Cow<'static, str>,
        span: Span,
    ) -> Self {
        inflight.inc();
        let started = Instant::now();
        let outcome = Outcome::Open;
        let (logged, reached) = (None, None);
        Self { metrics, inflight, method, route, outcome, started, span, logged, reached }
    }

    /// Tells the span how the request ended.
    fn close_span(&self) {
        let failed = match self.outcome {
            Outcome::Open => false,
            Outcome::Http(status) => {
                self.span.record("http.response.status_code", status.as_u16());
                status.is_server_error()
            }
            Outcome::Grpc(code) => {
                self.span.record("rpc.grpc.status_code", code as i32);
                !matches!(code, Code::Ok | Code::Cancelled)
            }
        };
        if failed {
            self.span.record("otel.status_code", "ERROR");
        }
    }

    fn note_grpc_status(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(GRPC_STATUS) {
            self.outcome = Outcome::Grpc(Code::from_bytes(status.as_bytes()));
        }
    }

    fn follow(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| Body::new(ObservedBody { body, flight: self }))
    }

    /// The status as the log shows it: a number of HTTP, or the name of a code of gRPC.
    fn status_text(&self) -> Cow<'static, str> {
        match self.outcome {
            Outcome::Grpc(code) => format!("{code:?}").into(),
            _ => self.labels().1,
        }
    }

    /// The labels `route` and `status_code`.
    fn labels(&self) -> (&str, Cow<'static, str>) {
        // Names of methods that do not exist are the client's choice.
        let is_unknown = matches!(self.outcome, Outcome::Grpc(Code::Unimplemented))
            || self.reached.as_ref().is_some_and(|Reached(reached)| !reached.load(Relaxed));
        let route = if is_unknown { OTHER } else { &*self.route };
        let status: Cow<'static, str> = match self.outcome {
            Outcome::Open if self.method == GRPC_METHOD => "cancel".into(),
            Outcome::Open => "499".into(),
            Outcome::Http(status) => status.as_u16().to_string().into(),
            Outcome::Grpc(Code::Ok) => "success".into(),
            Outcome::Grpc(Code::Cancelled) => "cancel".into(),
            Outcome::Grpc(_) => "error".into(),
        };
        (route, status)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.inflight.dec();
        self.close_span();
        if let Some(logged) = &self.logged {
            logged.end(&self.status_text(), self.started.elapsed());
        }
        let (route, status_code) = self.labels();
        let labels = [self.method, route, &status_code, "false"];
        let durations = self.metrics.durations.with(labels);
        // Within the span, whose trace becomes an exemplar.
        self.span.in_scope(|| durations.observe_duration(self.started.elapsed()));
    }
}

/// A response body that carries its request's record to the end.
struct ObservedBody {
    body: Body,
    flight: Flight,
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.flight.note_grpc_status(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{known_route, route_label};

    #[test]
    fn methods_of_ours_have_routes_that_dashboards_select() {
        assert_eq!(known_route("/tactus.v1.Ingester/Push"), Some("/tempopb.Pusher/PushBytesV2"));
        assert_eq!(known_route("/tempopb.StreamingQuerier/Search"), None);
        // Renamed methods must exist.
        let methods = include_str!("../../../proto/tactus/v1/ingester.proto");
        for method in ["Push", "FindTrace", "Search", "Tags", "TagValues", "Metrics"] {
            assert!(methods.contains(&format!("rpc {method}(")), "{method}");
            assert!(known_route(&format!("/tactus.v1.Ingester/{method}")).is_some(), "{method}");
        }
    }

    #[test]
    fn route_label_follows_the_template() {
        for (template, label) in [
            ("/api/traces/{traceID}", "api_traces_traceid"),
            ("/api/v2/search/tag/{*name}", "api_v2_search_tag_tagname_values"),
            ("/tempo/api/search/tag/{*name}", "tempo_api_search_tag_tagname_values"),
            ("/api/metrics/query_range", "api_metrics_query_range"),
            ("/ready", "ready"),
            ("/", "root"),
            ("/status/{*rest}", "status_rest"),
        ] {
            assert_eq!(route_label(template), label);
        }
    }
}
