//! The first version: an envelope around everything.

use ::http::{HeaderMap, Uri};
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;

use super::answer::is_pretty;
use super::params::{self, Search, boolean, invalid, millis};
use super::{Call, Shared, envelope, run};
use crate::jaeger::kind::kind_name;
use crate::jaeger::{
    Dependency, FoundTraces, JaegerError, Operation, OperationsQuery, TimeRange, parse_trace_id,
};
use tactus_query::unix_nanos_now;

/// Length of the window of dependencies when the caller does not say.
const DEPENDENCIES_LENGTH_NANOS: u64 = 24 * 3600 * 1_000_000_000;

/// `/api/services`.
pub(super) async fn services(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), envelope::refuse, async move |call: Call| {
        let services = call.queries.services(&call.tenants).await?;
        envelope::counted_list(&services, is_pretty(&call.params()))
    })
    .await
}

/// `/api/services/{service}/operations`.
pub(super) async fn operation_names(
    State(shared): State<Shared>,
    Path(service): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), envelope::refuse, async move |call: Call| {
        let names = call.queries.operation_names(&call.tenants, &service).await?;
        envelope::counted_list(&names, is_pretty(&call.params()))
    })
    .await
}

/// An operation, as an answer shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownOperation {
    name: String,
    span_kind: &'static str,
}

impl From<Operation> for ShownOperation {
    fn from(operation: Operation) -> Self {
        let Operation { name, kind } = operation;
        // A kind that is not known is an empty text here, though searches know it by a name.
        let span_kind = if kind == SpanKind::Unspecified { "" } else { kind_name(kind) };
        Self { name, span_kind }
    }
}

/// `/api/operations`.
pub(super) async fn operations(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), envelope::refuse, async move |call: Call| {
        let params = call.params();
        let text = |name| params.get(name).unwrap_or_default().to_owned();
        let query = OperationsQuery { service: text("service"), span_kind: text("spanKind") };
        if query.service.is_empty() {
            return Err(invalid("parameter 'service' is required"));
        }
        let operations = call.queries.operations(&call.tenants, &query).await?;
        let shown: Vec<_> = operations.into_iter().map(ShownOperation::from).collect();
        envelope::counted_list(&shown, is_pretty(&params))
    })
    .await
}

/// `/api/traces`.
pub(super) async fn find_traces(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), envelope::refuse, async move |call: Call| {
        let params = call.params();
        let found = match params::search(&params, unix_nanos_now())? {
            Search::Filter(filter) => call.queries.find_traces(&call.tenants, &filter).await?,
            Search::Ids { ids, raw } => call.queries.traces(&call.tenants, &ids, raw).await?,
        };
        envelope::traces(found, is_pretty(&params)).await
    })
    .await
}

/// `/api/traces/{traceID}`. A trace is looked for everywhere, whatever `start` and `end` say.
pub(super) async fn trace(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), envelope::refuse, async move |call: Call| {
        let params = call.params();
        let id = parse_trace_id(&id)?;
        let raw = boolean(&params, "raw")?.unwrap_or(false);
        let trace = call.queries.trace(&call.tenants, id, raw).await?;
        let found = FoundTraces { traces: vec![trace], ..FoundTraces::default() };
        envelope::traces(found, is_pretty(&params)).await
    })
    .await
}

/// `/api/archive/{traceID}`.
pub(super) async fn archive(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), envelope::refuse, async move |_| {
        parse_trace_id(&id)?;
        Err(JaegerError::Unsupported("archive span storage was not configured".to_owned()))
    })
    .await
}

/// What Jaeger answers with sample data.
pub(super) async fn not_served(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path().to_owned();
    run(shared, (uri, headers), envelope::refuse, async move |_| {
        Err(JaegerError::Unsupported(format!("{path} is not served")))
    })
    .await
}

/// Calls between services, as an answer shows them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownDependency {
    parent: String,
    child: String,
    call_count: u64,
}

/// `/api/dependencies`.
pub(super) async fn dependencies(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), envelope::refuse, async move |call: Call| {
        let params = call.params();
        let end = millis(&params, "endTs")?.unwrap_or_else(unix_nanos_now);
        let length = millis(&params, "lookback")?.unwrap_or(DEPENDENCIES_LENGTH_NANOS);
        let range = TimeRange { start: end.saturating_sub(length), end };
        let service = params.get("service");
        let is_wanted = |link: &Dependency| {
            service.is_none_or(|service| link.parent == service || link.child == service)
        };
        let links = call.queries.dependencies(&call.tenants, range).await?;
        let shown: Vec<_> = links
            .into_iter()
            .filter(is_wanted)
            .map(|Dependency { parent, child, call_count }| ShownDependency {
                parent,
                child,
                call_count,
            })
            .collect();
        envelope::data(shown, is_pretty(&params))
    })
    .await
}
