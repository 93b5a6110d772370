//! The first version: an envelope around everything.

use axum::body::Body;
use serde_json::{Value, json};
use tactus_api::Error;
use tactus_jaeger::json::{UploadError, traces_of_upload};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use tactus_query::offload;
use tactus_work::{UNITS_OF_WRITTEN_SPAN, tick};

use super::call::{self, Segment, is_pretty};
use super::params::{self, Search, boolean, invalid, millis};
use crate::jaeger::types::Result;
use crate::jaeger::{
    Dependency, JaegerError, JaegerQueries, Operation, OperationsQuery, ShownTrace, TimeRange,
    kind_name, parse_trace_id,
};
use crate::sending::ToSend;

/// A question of this version.
type Call = call::Call<1>;

/// Its answer.
type Answered = call::Answered<1>;

/// Length of the window of dependencies when the caller does not say.
const DEPENDENCIES_LENGTH_NANOS: u64 = 24 * 3600 * 1_000_000_000;

/// `/api/services`.
pub(super) async fn services(call: Call) -> Answered {
    let services = call.shared.services(&call.tenants).await?;
    call::counted_list(services, is_pretty(&call.params()))
}

/// `/api/services/{service}/operations`.
pub(super) async fn operation_names(Segment(service): Segment<1>, call: Call) -> Answered {
    let names = call.shared.operation_names(&call.tenants, &service).await?;
    call::counted_list(names, is_pretty(&call.params()))
}

/// An operation, as an answer shows it.
fn operation(Operation { name, kind }: Operation) -> Value {
    // A kind that is not known is an empty text here, though searches know it by a name.
    let kind = if kind == SpanKind::Unspecified { "" } else { kind_name(kind) };
    json!({ "name": name, "spanKind": kind })
}

/// `/api/operations`.
pub(super) async fn operations(call: Call) -> Answered {
    let params = call.params();
    let text = |name| params.get(name).unwrap_or_default().to_owned();
    let query = OperationsQuery { service: text("service"), span_kind: text("spanKind") };
    if query.service.is_empty() {
        return Err(invalid("parameter 'service' is required").into());
    }
    let operations = call.shared.operations(&call.tenants, &query).await?;
    let shown = operations.map(|list| list.into_iter().map(operation).collect());
    call::counted_list::<Value>(shown, is_pretty(&params))
}

/// `/api/traces`.
pub(super) async fn find_traces(call: Call) -> Answered {
    let params = call.params();
    let found = match params::search(&params, tactus_clock::unix_nanos())? {
        Search::Filter(filter) => call.shared.find_traces(&call.tenants, &filter).await?,
        Search::Ids { ids, raw } => call.shared.traces(&call.tenants, &ids, raw).await?,
    };
    call::traces(&call, found).await
}

/// `/api/traces/{traceID}`. A trace is looked for everywhere, whatever `start` and `end` say.
pub(super) async fn trace(Segment(id): Segment<1>, call: Call) -> Answered {
    let params = call.params();
    let id = parse_trace_id(&id)?;
    let raw = boolean(&params, "raw")?.unwrap_or(false);
    for name in ["start", "end"] {
        params::micros(&params, name)?;
    }
    let found = call.shared.trace(&call.tenants, id, raw).await?;
    call::traces(&call, found.marked_by_lacking_spans()).await
}

/// `/api/archive/{traceID}`.
pub(super) async fn archive(Segment(id): Segment<1>, _: Call) -> Answered {
    parse_trace_id(&id)?;
    Err(JaegerError::Unsupported("archive span storage was not configured".to_owned()).into())
}

/// What Jaeger answers with sample data.
pub(super) async fn not_served(call: Call) -> Answered {
    Err(JaegerError::Unsupported(format!("{} is not served", call.uri.path())).into())
}

/// `/api/dependencies`.
pub(super) async fn dependencies(call: Call) -> Answered {
    let params = call.params();
    let end = millis(&params, "endTs")?.unwrap_or_else(tactus_clock::unix_nanos);
    let length = millis(&params, "lookback")?.unwrap_or(DEPENDENCIES_LENGTH_NANOS);
    let range = TimeRange { start: end.saturating_sub(length), end };
    let service = params.get("service");
    let is_wanted = |link: &Dependency| {
        service.is_none_or(|service| link.parent == service || link.child == service)
    };
    let links = call.shared.dependencies(&call.tenants, range).await?;
    let shown: Vec<_> = links.list.into_iter().filter(is_wanted).collect();
    Ok(call::data(shown, is_pretty(&params))?.partial(links.partial))
}

/// `/api/transform`: OTLP's JSON as traces of v1.
pub(super) async fn transform(call: Call, body: Body) -> Answered {
    let pretty = is_pretty(&call.params());
    let file = call.shared.frontend.receive_file(body).await?;
    let (queries, bytes) = (call.shared.clone(), file.decoded_bytes());
    let traces = offload(true, move || traces(&queries, &file.bytes)).await??;
    let bodies = &call.shared.frontend.memory;
    let to_send = ToSend::decoded(bodies, call.tenants.clone(), bytes).await?;
    Ok(call::written(to_send, traces.into_iter().map(Ok), None, pretty).await?)
}

fn traces(queries: &JaegerQueries, file: &[u8]) -> Result<Vec<ShownTrace>> {
    let max_spans = queries.frontend.settings.section.trace_files.max_spans;
    let traces = traces_of_upload(file, max_spans).map_err(|error| match error {
        UploadError::TooManySpans { .. } => {
            let text = format!("{error} (limit: query_frontend.trace_files.max_spans)");
            JaegerError::Query(Error::LimitExceeded(text))
        }
        error => invalid(format!("cannot unmarshal OTLP: {error}")),
    })?;
    let adjusted = traces.into_iter().map(|(id, resource_spans)| {
        let scopes = resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
        let spans = u32::try_from(spans).unwrap_or(u32::MAX);
        if tick(UNITS_OF_WRITTEN_SPAN.saturating_mul(spans)) {
            return Err(JaegerError::Query(Error::Cancelled));
        }
        let data = TracesData { resource_spans };
        Ok(queries.adjusted(ShownTrace { id, data, warnings: Vec::new() }))
    });
    adjusted.collect()
}
