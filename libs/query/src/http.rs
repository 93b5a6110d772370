//! The query API over HTTP.

mod call;
mod metrics;
mod sent_trace;
mod tags;
mod trace_forms;
mod ui;

use std::ops::ControlFlow;
use std::sync::Arc;

use ::http::header::ALLOW;
use ::http::{Method, StatusCode, Version};
use axum::Router;
use axum::extract::Extension;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use tactus_api::request::{SearchQuery, TraceQuery, parse_trace_id, trace_id_text};
use tactus_api::trace::WhenTooLarge;
use tactus_api::{Encoding, Error, json};
use tactus_model::TraceId;
use tactus_server::http::text;

use crate::frontend::Frontend;
use crate::metrics::{SEARCH, TRACES};
use crate::offload::offload;
use crate::search::SearchAnswer;
use crate::trace_by_id::{FoundTrace, Limited};
pub(crate) use call::{Answer, Answered, Asked, Call, Failure, PARTIAL, begin_calls};
use sent_trace::{Sent, send};
use trace_forms::ApiForm;
pub use ui::{ClusterStatus, ui_change_router, ui_router};

/// A body of unknown length ends with the connection in HTTP/1.0, and protobuf that breaks off between two fields is a
/// message: a trace that could not be sent to its end would look complete.
const NEEDS_HTTP_11: &str = "the trace is sent in pieces, which protobuf needs HTTP/1.1 or later for: set \
                             proxy_http_version 1.1 in an nginx in front, or ask for JSON";

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

/// The routes of the query API, for any method. The caller adds the path prefix, if any, and the fallback.
pub fn router(frontend: Arc<Frontend>) -> Router {
    let routes = Router::new()
        // Metrics use these templates as route names, which existing dashboards expect.
        .route("/api/traces/{traceID}", any(trace_v1))
        .route("/api/v2/traces/{traceID}", any(trace_v2))
        .route("/api/search", any(search))
        .route("/api/search/tags", any(tags::tags_v1))
        .route("/api/v2/search/tags", any(tags::tags_v2))
        // The name may contain slashes, so the handlers take it from the raw path.
        .route("/api/search/tag/{*name}", any(tags::tag_values_v1))
        .route("/api/v2/search/tag/{*name}", any(tags::tag_values_v2))
        .route("/api/metrics/query_range", any(metrics::range))
        .route("/api/metrics/query", any(metrics::instant))
        .route("/api/metrics/summary", any(metrics::summary))
        .route("/api/service-graph", any(metrics::service_graph));
    begin_calls(routes, &frontend)
}

async fn trace_v1(Extension(call): Asked) -> Answered<Response> {
    let id = trace_id_text(call.uri.path(), TRACES_V1).ok_or(Error::NotFound)?;
    let (id, query) = call.parsed(TRACES, trace_query(&call, &id))?;
    let encoding = call.plain_encoding();
    let form = ApiForm::new(false, encoding);
    let found = match find_or_send(&call, id, query, WhenTooLarge::Refuse, form).await? {
        ControlFlow::Continue(found) => found,
        ControlFlow::Break(sent) => return Ok(sent),
    };
    let partial = found.facts.partial;
    if found.trace.is_empty() {
        // "Not found" would be wrong if some data could not be read.
        let error = if partial { Error::Internal(found.facts.message) } else { Error::NotFound };
        return Err(error.into());
    }
    let bytes = match encoding {
        Encoding::Protobuf => found.trace.bytes(),
        _ => found.trace.bytes_by_scope(),
    };
    let _held = found.memory.and_answer(&call.frontend.memory, bytes, encoding).await?;
    let body = offload(found.trace.takes_long(), move || match encoding {
        Encoding::Protobuf => Ok(found.trace.with_valid_text().to_protobuf_v1()),
        _ => found.trace.into_json_v1(),
    });
    let body = body.await?.map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Answer::new(body, encoding, partial).into_response())
}

async fn trace_v2(method: Method, Extension(call): Asked) -> Answered<Response> {
    if call.uri.path() == "/api/v2/traces/diff" {
        return match method {
            Method::POST => {
                Err(Error::NotImplemented("traces diff not supported".to_owned()).into())
            }
            _ => Ok((StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")]).into_response()),
        };
    }
    let id = trace_id_text(call.uri.path(), TRACES_V2).ok_or(Error::NotFound)?;
    let (id, query) = call.parsed(TRACES, trace_query(&call, &id))?;
    let encoding = call.encoding;
    let form = ApiForm::new(true, encoding);
    let found = match find_or_send(&call, id, query, WhenTooLarge::Cut, form).await? {
        ControlFlow::Continue(found) => found,
        ControlFlow::Break(sent) => return Ok(sent),
    };
    let partial = found.facts.partial;
    let (memory, bytes) = (&call.frontend.memory, found.trace.bytes());
    let _held = found.memory.and_answer(memory, bytes, encoding).await?;
    let body = offload(found.trace.takes_long(), move || match encoding {
        Encoding::Protobuf => Ok(found.trace.with_valid_text().to_protobuf_v2(&found.facts)),
        Encoding::Json => found.trace.to_json_v2(&found.facts),
        Encoding::Llm => found.trace.to_llm_json(&found.facts),
    });
    let body = body.await?.map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Answer::new(body, encoding, partial).into_response())
}

fn trace_query(call: &Call, id: &str) -> Result<(TraceId, TraceQuery), Error> {
    Ok((parse_trace_id(id)?, TraceQuery::parse(&call.params())?))
}

/// A trace, or the answer with one that is too large to be written at once, in this form.
async fn find_or_send(
    call: &Call,
    id: TraceId,
    query: TraceQuery,
    when_too_large: WhenTooLarge,
    form: Option<ApiForm>,
) -> Answered<ControlFlow<Response, FoundTrace>> {
    let (frontend, tenants) = (&call.frontend, &call.tenants);
    let found = frontend.find_limited(tenants, id, query, when_too_large, form.is_some()).await?;
    let (sent, form) = match (found, form) {
        (Limited::Whole(found), Some(form)) if form.is_long(&found) => (Sent::Known(found), form),
        (Limited::Whole(found), _) => return Ok(ControlFlow::Continue(found)),
        (Limited::TooLarge(bytes), form) => {
            let form = form.ok_or(Error::TooManyBytes)?;
            if call.version < Version::HTTP_11 && form.encoding() == Encoding::Protobuf {
                let refused = text(StatusCode::HTTP_VERSION_NOT_SUPPORTED, NEEDS_HTTP_11);
                return Ok(ControlFlow::Break(refused));
            }
            (Sent::Large { id, query, when_too_large, bytes }, form)
        }
    };
    let content_type = form.encoding().content_type();
    send(call, sent, form, content_type).await.map(ControlFlow::Break)
}

async fn search(Extension(call): Asked) -> Answered<Response> {
    let limits = call.frontend.settings.search_limits();
    let query = call.parse(move |params| SearchQuery::parse(params, &limits)).await;
    let query = call.parsed(SEARCH, query)?;
    if call.wants_events {
        return Ok(call.events().search(query));
    }
    let found = call.frontend.search(&call.tenants, &query).await?;
    let _written = found.memory_of_written(&call.frontend.memory, call.encoding).await?;
    let is_long = found.is_long();
    let SearchAnswer { response, partial, explanation, memory: _held } = found;
    let answer = offload(is_long, move || match explanation.as_deref() {
        // The message has no field for an explanation.
        Some(text) => {
            Answer::new(json::search_response(&response, Some(text)), Encoding::Json, partial)
        }
        None => call.message(partial, &response, |response| json::search_response(response, None)),
    });
    Ok(answer.await?.into_response())
}
