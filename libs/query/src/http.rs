//! The query API over HTTP.

mod metrics;
mod tags;
mod ui;

use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use prost::Message as _;
use tactus_api::request::{SearchQuery, TraceQuery, parse_trace_id, trace_id_text};
use tactus_api::trace::WhenTooLarge;
use tactus_api::{Encoding, Error, QueryParams, Result, json};
use tactus_model::TenantId;
use tactus_server::http::text;

use crate::frontend::Frontend;
use crate::offload::offload;
use crate::queue::as_part_of_query;
use crate::search::SearchAnswer;
use crate::streaming::EventCall;
pub use ui::{ClusterStatus, ui_change_router, ui_router};

/// Set on answers that lack something because it could not be read.
const PARTIAL: HeaderName = HeaderName::from_static("x-tactus-partial");

/// Asked for by clients that read an answer while it grows.
const EVENT_STREAM: &str = "text/event-stream";

/// Asked for by clients that want series as [`json::compact_series`] writes them.
const SERIES: &str = "application/vnd.tactus.series+json";

/// Answers with more bytes, or more traces, are encoded away from the threads that serve connections.
const INLINE_SPANS: usize = 1_000;
const INLINE_TRACES: usize = 200;

const TRACES_V1: &str = "/api/traces/";
const TRACES_V2: &str = "/api/v2/traces/";

/// The routes of the API and of the pages, as `/status/endpoints` lists them.
pub const ENDPOINTS: &[&str] = &[
    "/api/traces/{traceID}",
    "/api/v2/traces/{traceID}",
    "/api/search",
    "/api/search/tags",
    "/api/v2/search/tags",
    "/api/search/tag/{tagName}/values",
    "/api/v2/search/tag/{tagName}/values",
    "/api/metrics/query_range",
    "/api/metrics/query",
    "/api/metrics/summary",
    "/api/service-graph",
    "/api/tail-sampling/dry-run",
    "/",
    "/ui",
    "/ui/",
    "/ui/{path}",
    "/ui/api/config",
    "/ui/api/check",
    "/ui/api/tail",
    "/ui/api/status",
    "/ui/api/queries",
    "/ui/api/queries/{id}",
    "/ui/api/typical",
    "/ui/api/differences",
    "/ui/api/trace-file",
    "/ui/api/traces/{id}/skeleton",
    "/ui/api/traces/{id}/spans",
    "/ui/api/traces/{id}/find",
    "/ui/api/traces/{id}/jaeger",
];

/// The routes of the query API, any method. Put a path prefix around it if there is one; it has no fallback.
pub fn router(frontend: Arc<Frontend>) -> Router {
    Router::new()
        // The templates name the route in metrics, as dashboards know them.
        .route("/api/traces/{traceID}", any(trace_v1))
        .route("/api/v2/traces/{traceID}", any(trace_v2))
        .route("/api/search", any(search))
        .route("/api/search/tags", any(tags::tags_v1))
        .route("/api/v2/search/tags", any(tags::tags_v2))
        // The name may hold slashes, so the handlers take it from the raw path.
        .route("/api/search/tag/{*name}", any(tags::tag_values_v1))
        .route("/api/v2/search/tag/{*name}", any(tags::tag_values_v2))
        .route("/api/metrics/query_range", any(metrics::range))
        .route("/api/metrics/query", any(metrics::instant))
        .route("/api/metrics/summary", any(metrics::summary))
        .route("/api/service-graph", any(metrics::service_graph))
        .with_state(frontend)
}

/// An answer that is ready to be sent.
struct Answer {
    body: Vec<u8>,
    encoding: Encoding,
    partial: bool,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        let content_type = HeaderValue::from_static(self.encoding.content_type());
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        if self.partial {
            response.headers_mut().insert(PARTIAL, HeaderValue::from_static("true"));
        }
        response
    }
}

/// What every handler starts with.
struct Call {
    frontend: Arc<Frontend>,
    tenants: Vec<TenantId>,
    encoding: Encoding,
    /// The client reads the answer while it grows.
    wants_events: bool,
    wants_compact_series: bool,
    uri: Uri,
}

impl Call {
    fn params(&self) -> QueryParams<'_> {
        QueryParams::parse(self.uri.query().unwrap_or_default())
    }

    /// Parses the parameters as [`Frontend::parse`] does.
    async fn parse<T: Send + 'static>(
        &self,
        parse: impl FnOnce(&QueryParams<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let params = self.uri.query().unwrap_or_default();
        self.frontend.parse_params(&self.tenants, params, parse).await
    }

    fn events(self) -> EventCall {
        EventCall { frontend: self.frontend, tenants: self.tenants }
    }
}

/// Finds the tenants, runs a handler, and turns errors into answers.
async fn answer<R: IntoResponse, F: Future<Output = Result<R>>>(
    frontend: Arc<Frontend>,
    uri: Uri,
    headers: HeaderMap,
    handle: impl FnOnce(Call) -> F,
) -> Response {
    let tenants = match frontend.tenancy.read_tenants(&headers) {
        Ok(tenants) => tenants,
        Err(error) => return error.into_response(),
    };
    let url = uri.path_and_query().map_or("", |url| url.as_str());
    if let Err(error) = frontend.check_url(url) {
        return error_response(&error);
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let encoding = Encoding::negotiate(accept);
    let accepted = || media_types(accept.unwrap_or_default());
    // Clients that speak other protocols name event streams beside JSON, which they get.
    let wants_events = accepted().next() == Some(EVENT_STREAM);
    let wants_compact_series = accepted().any(|media| media == SERIES);
    let of = tenants.clone();
    let call = Call { frontend, tenants, encoding, wants_events, wants_compact_series, uri };
    let result = as_part_of_query(&of, Box::pin(handle(call))).await;
    result.map_or_else(|error| error_response(&error), IntoResponse::into_response)
}

/// The media types of an `Accept` header, as written.
fn media_types(accept: &str) -> impl Iterator<Item = &str> {
    accept.split(',').filter_map(|range| range.split(';').next()).map(str::trim)
}

fn error_response(error: &Error) -> Response {
    let status = error.http_status();
    if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
        tracing::warn!(%error, %status, "query failed");
    }
    if *error == Error::NotFound {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        return response;
    }
    text(status, error.to_string())
}

type Shared = State<Arc<Frontend>>;

async fn trace_v1(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let id = trace_id_text(call.uri.path(), TRACES_V1).ok_or(Error::NotFound)?;
        let (id, query) = (parse_trace_id(&id)?, TraceQuery::parse(&call.params())?);
        let found =
            call.frontend.find_trace(&call.tenants, id, query, WhenTooLarge::Refuse).await?;
        let partial = found.facts.partial;
        if found.trace.is_empty() {
            // "Not found" would be a lie if nobody can know.
            return Err(if partial {
                Error::Internal(found.facts.message)
            } else {
                Error::NotFound
            });
        }
        let encoding = plain(call.encoding);
        let body = offload(found.trace.spans() > INLINE_SPANS, move || match encoding {
            Encoding::Protobuf => Ok(found.trace.to_protobuf_v1()),
            _ => found.trace.to_json_v1(),
        });
        let body = body.await?.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Answer { body, encoding, partial })
    })
    .await
}

async fn trace_v2(
    State(frontend): Shared,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if method == Method::POST && uri.path() == "/api/v2/traces/diff" {
        return error_response(&Error::NotImplemented("traces diff not supported".to_owned()));
    }
    answer(frontend, uri, headers, async move |call: Call| {
        let id = trace_id_text(call.uri.path(), TRACES_V2).ok_or(Error::NotFound)?;
        let (id, query) = (parse_trace_id(&id)?, TraceQuery::parse(&call.params())?);
        let found = call.frontend.find_trace(&call.tenants, id, query, WhenTooLarge::Cut).await?;
        let (partial, encoding) = (found.facts.partial, call.encoding);
        let body = offload(found.trace.spans() > INLINE_SPANS, move || match encoding {
            Encoding::Protobuf => Ok(found.trace.to_protobuf_v2(&found.facts)),
            Encoding::Json => found.trace.to_json_v2(&found.facts),
            Encoding::Llm => found.trace.to_llm_json(&found.facts),
        });
        let body = body.await?.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Answer { body, encoding, partial })
    })
    .await
}

async fn search(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let limits = call.frontend.settings.search_limits();
        let query = call.parse(move |params| SearchQuery::parse(params, &limits)).await?;
        if call.wants_events {
            return Ok(call.events().search(query));
        }
        let found = call.frontend.search(&call.tenants, &query).await?;
        let SearchAnswer { response, partial, explanation } = found;
        // The message has no field for an explanation.
        let encoding = match explanation {
            Some(_) => Encoding::Json,
            None => plain(call.encoding),
        };
        let body = offload(response.traces.len() > INLINE_TRACES, move || match encoding {
            Encoding::Protobuf => response.encode_to_vec(),
            _ => json::search_response(&response, explanation.as_deref()),
        });
        Ok(Answer { body: body.await?, encoding, partial }.into_response())
    })
    .await
}

/// The encoding of an answer that has no form for language models.
fn plain(encoding: Encoding) -> Encoding {
    if encoding == Encoding::Llm { Encoding::Json } else { encoding }
}
