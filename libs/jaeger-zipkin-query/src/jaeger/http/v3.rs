//! The third version: OTLP in JSON.

mod messages;
mod params;

use std::collections::BTreeMap;

use axum::extract::Path;
use serde_json::json;
use tactus_jaeger::adjust::warn_on_root;
use tactus_otlp_json::OtlpJson;
use tactus_proto::opentelemetry::proto::trace::v1::ResourceSpans;
use tactus_query::offload;

use super::call;
use super::params::{boolean, invalid};
use crate::call::Answer;
use crate::jaeger::{FoundTraces, JaegerError, OperationsQuery, TraceSummary, parse_trace_id};
use crate::long_work::takes_long;
use messages::{ShownDependency, ShownSummary, operation};

/// A question of this version.
type Call = call::Call<3>;

/// Its answer.
type Answered = call::Answered<3>;

/// `/api/v3/services`.
pub(super) async fn services(call: Call) -> Answered {
    let services = call.shared.services(&call.tenants).await?;
    Ok(Answer::json(&json!({ "services": services }))?)
}

/// `/api/v3/operations`.
pub(super) async fn operations(call: Call) -> Answered {
    let params = call.params();
    let text =
        |name, alias| params.get(name).or_else(|| params.get(alias)).unwrap_or_default().to_owned();
    let query = OperationsQuery {
        service: text("service", "service"),
        span_kind: text("spanKind", "span_kind"),
    };
    if query.service.is_empty() {
        return Err(invalid("parameter 'service' is required").into());
    }
    let operations = call.shared.operations(&call.tenants, &query).await?;
    let operations: Vec<_> = operations.into_iter().map(operation).collect();
    Ok(Answer::json(&json!({ "operations": operations }))?)
}

/// `/api/v3/traces`.
pub(super) async fn find_traces(call: Call) -> Answered {
    let filter = params::filter(&call.params())?;
    let found = call.shared.find_traces(&call.tenants, &filter).await?;
    if found.traces.is_empty() {
        return Err(JaegerError::NotFound.into());
    }
    traces(&call, found).await
}

/// `/api/v3/traces/{traceID}`. A trace is looked for everywhere, whatever the times say.
pub(super) async fn trace(Path(id): Path<String>, call: Call) -> Answered {
    let params = call.params();
    let id = parse_trace_id(&id)
        .map_err(|error| invalid(format!("malformed parameter trace_id: {error}")))?;
    let raw = match boolean(&params, "rawTraces")? {
        Some(raw) => raw,
        None => boolean(&params, "raw_traces")?.unwrap_or(false),
    };
    params::times(&params)?;
    let trace = call.shared.trace(&call.tenants, id, raw).await?;
    traces(&call, FoundTraces { traces: vec![trace], ..FoundTraces::default() }).await
}

/// `/api/v3/trace-summaries`.
pub(super) async fn summaries(call: Call) -> Answered {
    let filter = params::filter(&call.params())?;
    let found = call.shared.find_traces(&call.tenants, &filter).await?;
    let shown = |trace| ShownSummary::from(TraceSummary::of(trace));
    let summaries: Vec<_> = found.traces.iter().map(shown).collect();
    Ok(Answer::json(&BTreeMap::from([("summaries", summaries)]))?.partial(found.partial))
}

/// `/api/v3/dependencies`.
pub(super) async fn dependencies(call: Call) -> Answered {
    let range = params::required_times(&call.params())?;
    let links = call.shared.dependencies(&call.tenants, range).await?;
    let dependencies: Vec<_> = links.into_iter().map(ShownDependency::from).collect();
    Ok(Answer::json(&BTreeMap::from([("dependencies", dependencies)]))?)
}

/// All traces in one message.
async fn traces(call: &Call, found: FoundTraces) -> Answered {
    let partial = found.partial;
    let taken: Vec<_> = found.traces.iter().map(|trace| trace.memory.clone()).collect();
    let _held = call.memory_to_write(&taken).await?;
    let data = found.traces.into_iter().flat_map(|mut trace| {
        warn_on_root(&mut trace.data.resource_spans, &trace.warnings);
        trace.data.resource_spans
    });
    let resource_spans: Vec<ResourceSpans> = data.collect();
    offload(takes_long(&resource_spans), move || {
        let data = BTreeMap::from([("resourceSpans", OtlpJson(&resource_spans))]);
        Ok(Answer::json(&BTreeMap::from([("result", data)]))?.partial(partial))
    })
    .await?
}
