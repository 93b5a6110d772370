//! The third version: OTLP in JSON.

mod messages;
mod params;

use std::collections::BTreeMap;
use std::iter::once;

use prost::Message as _;
use serde_json::json;
use tactus_api::Error;
use tactus_api::json::JsonStyle;
use tactus_api::trace::CombinedTrace;
use tactus_jaeger::adjust::warn_on_root;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;

use super::call::{self, Segment};
use super::params::{boolean, invalid};
use crate::call::Answer;
use crate::chunks::of_otlp;
use crate::jaeger::{
    FoundTraces, JaegerError, OperationsQuery, ShownTrace, kind_name, parse_trace_id,
};

use messages::{dependency, operation};

/// Larger traces are written in parts of this many bytes of OTLP, each with its resources.
const CHUNK_BYTES: usize = 256 << 10;

/// A question of this version.
type Call = call::Call<3>;

/// Its answer.
type Answered = call::Answered<3>;

/// `/api/v3/services`.
pub(super) async fn services(call: Call) -> Answered {
    let services = call.shared.services(&call.tenants).await?;
    Ok(Answer::json(&json!({ "services": services.list }))?.partial(services.partial))
}

/// `/api/v3/operations`.
pub(super) async fn operations(call: Call) -> Answered {
    let params = call.params();
    let text =
        |name, alias| params.get(name).or_else(|| params.get(alias)).unwrap_or_default().to_owned();
    let mut query = OperationsQuery {
        service: text("service", "service"),
        span_kind: text("spanKind", "span_kind"),
    };
    if query.service.is_empty() {
        return Err(invalid("parameter 'service' is required").into());
    }
    // A kind that is not known is shown as internal, as OTLP says, so that it is found as such.
    let is_internal = query.span_kind == kind_name(SpanKind::Internal);
    if is_internal {
        query.span_kind.clear();
    }
    let mut operations = call.shared.operations(&call.tenants, &query).await?;
    for operation in &mut operations.list {
        if operation.kind == SpanKind::Unspecified {
            operation.kind = SpanKind::Internal;
        }
    }
    operations.list.retain(|operation| !is_internal || operation.kind == SpanKind::Internal);
    operations.list.sort();
    operations.list.dedup();
    let shown: Vec<_> = operations.list.into_iter().map(operation).collect();
    Ok(Answer::json(&json!({ "operations": shown }))?.partial(operations.partial))
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
pub(super) async fn trace(Segment(id): Segment<3>, call: Call) -> Answered {
    let params = call.params();
    let id = parse_trace_id(&id)
        .map_err(|error| invalid(format!("malformed parameter trace_id: {error}")))?;
    let raw = match boolean(&params, "rawTraces")? {
        Some(raw) => raw,
        None => boolean(&params, "raw_traces")?.unwrap_or(false),
    };
    params::times(&params)?;
    let found = call.shared.trace(&call.tenants, id, raw).await?;
    traces(&call, found.marked_by_lacking_spans()).await
}

/// `/api/v3/trace-summaries`.
pub(super) async fn summaries(call: Call) -> Answered {
    let filter = params::filter(&call.params())?;
    let found = call.shared.find_traces(&call.tenants, &filter).await?;
    let partial = found.partial;
    let summaries = call.shared.summaries(&call.tenants, found).await?;
    Ok(Answer::json(&BTreeMap::from([("summaries", summaries)]))?.partial(partial))
}

/// `/api/v3/dependencies`.
pub(super) async fn dependencies(call: Call) -> Answered {
    let range = params::required_times(&call.params())?;
    let links = call.shared.dependencies(&call.tenants, range).await?;
    let dependencies: Vec<_> = links.list.into_iter().map(dependency).collect();
    let answer = Answer::json(&json!({ "dependencies": dependencies }))?;
    Ok(answer.partial(links.partial))
}

/// All traces in one message.
async fn traces(call: &Call, found: FoundTraces) -> Answered {
    let FoundTraces { traces, raw, partial, decoding, .. } = found;
    let to_send = call.to_send(&traces, decoding).await?;
    let mut has_spans = false;
    let elements = call.shared.shown(traces, raw).flat_map(elements_of_trace).map(move |piece| {
        let mut piece = piece?;
        if std::mem::replace(&mut has_spans, true) {
            piece.insert(0, b',');
        }
        Ok(piece)
    });
    let begin = once(Ok(b"{\"result\":{\"resourceSpans\":[".to_vec()));
    let pieces = begin.chain(elements).chain(once(Ok(b"]}}".to_vec())));
    Ok(Answer::of_json(to_send.body(pieces).await?).partial(partial))
}

/// Elements of the list of resources, some in each piece.
fn elements_of_trace(
    trace: tactus_api::Result<ShownTrace>,
) -> Box<dyn Iterator<Item = tactus_api::Result<Vec<u8>>> + Send> {
    let mut trace = match trace {
        Ok(trace) => trace,
        Err(error) => return Box::new(once(Err(error))),
    };
    warn_on_root(&mut trace.data.resource_spans, &trace.warnings);
    Box::new(of_otlp(trace.data, CHUNK_BYTES).map(|(chunk, _)| {
        CombinedTrace::of_message(&chunk.encode_to_vec().into())
            .and_then(|chunk| chunk.to_json_elements(JsonStyle::Otlp))
            .map_err(|error| Error::Internal(error.to_string()))
    }))
}
