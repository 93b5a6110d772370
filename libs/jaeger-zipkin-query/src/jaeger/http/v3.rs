//! The third version: OTLP in JSON.

mod messages;
mod params;

use ::http::{HeaderMap, Uri};
use axum::extract::{Path, State};
use axum::response::Response;
use tactus_jaeger::adjust::warn_on_root;
use tactus_proto::opentelemetry::proto::trace::v1::ResourceSpans;

use super::answer::Answer;
use super::params::{boolean, invalid};
use super::{Call, Shared, run};
use crate::jaeger::error::Result;
use crate::jaeger::{FoundTraces, JaegerError, OperationsQuery, TraceSummary, parse_trace_id};
use messages::{
    Dependencies, Operations, Services, ShownDependency, ShownOperation, ShownSummary, Summaries,
    Traces, refuse,
};
use tactus_query::offload;

/// Answers with more spans are encoded away from the threads that serve connections.
const INLINE_SPANS: usize = 500;

/// `/api/v3/services`.
pub(super) async fn services(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), refuse, async move |call: Call| {
        let services = call.queries.services(&call.tenants).await?;
        Answer::json(&Services { services }, false)
    })
    .await
}

/// `/api/v3/operations`.
pub(super) async fn operations(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), refuse, async move |call: Call| {
        let params = call.params();
        let text = |name, alias| {
            params.get(name).or_else(|| params.get(alias)).unwrap_or_default().to_owned()
        };
        let query = OperationsQuery {
            service: text("service", "service"),
            span_kind: text("spanKind", "span_kind"),
        };
        if query.service.is_empty() {
            return Err(invalid("parameter 'service' is required"));
        }
        let operations = call.queries.operations(&call.tenants, &query).await?;
        let operations = operations.into_iter().map(ShownOperation::from).collect();
        Answer::json(&Operations { operations }, false)
    })
    .await
}

/// `/api/v3/traces`.
pub(super) async fn find_traces(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), refuse, async move |call: Call| {
        let filter = params::filter(&call.params())?;
        let found = call.queries.find_traces(&call.tenants, &filter).await?;
        if found.traces.is_empty() {
            return Err(JaegerError::NotFound);
        }
        traces(found).await
    })
    .await
}

/// `/api/v3/traces/{traceID}`. A trace is looked for everywhere, whatever the times say.
pub(super) async fn trace(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), refuse, async move |call: Call| {
        let params = call.params();
        let id = parse_trace_id(&id)
            .map_err(|error| invalid(format!("malformed parameter trace_id: {error}")))?;
        let raw = match boolean(&params, "rawTraces")? {
            Some(raw) => raw,
            None => boolean(&params, "raw_traces")?.unwrap_or(false),
        };
        params::times(&params)?;
        let trace = call.queries.trace(&call.tenants, id, raw).await?;
        traces(FoundTraces { traces: vec![trace], ..FoundTraces::default() }).await
    })
    .await
}

/// `/api/v3/trace-summaries`.
pub(super) async fn summaries(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), refuse, async move |call: Call| {
        let filter = params::filter(&call.params())?;
        let found = call.queries.find_traces(&call.tenants, &filter).await?;
        let shown = |trace| ShownSummary::from(TraceSummary::of(trace));
        let summaries = found.traces.iter().map(shown).collect();
        Ok(Answer::json(&Summaries { summaries }, false)?.partial(found.partial))
    })
    .await
}

/// `/api/v3/dependencies`.
pub(super) async fn dependencies(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    run(shared, (uri, headers), refuse, async move |call: Call| {
        let range = params::required_times(&call.params())?;
        let links = call.queries.dependencies(&call.tenants, range).await?;
        let dependencies = links.into_iter().map(ShownDependency::from).collect();
        Answer::json(&Dependencies { dependencies }, false)
    })
    .await
}

/// All traces in one message.
async fn traces(found: FoundTraces) -> Result<Answer> {
    let partial = found.partial;
    let data = found.traces.into_iter().flat_map(|mut trace| {
        warn_on_root(&mut trace.data.resource_spans, &trace.warnings);
        trace.data.resource_spans
    });
    let resource_spans: Vec<ResourceSpans> = data.collect();
    let scopes = resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
    offload(spans > INLINE_SPANS, move || {
        Ok(Answer::json(&Traces::of(&resource_spans), false)?.partial(partial))
    })
    .await?
}
