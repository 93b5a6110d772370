//! Files that are uploaded to be looked at.

use std::sync::Arc;

use ::http::{HeaderMap, Uri};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use tactus_api::Error;
use tactus_jaeger::json::{UploadError, traces_of_upload};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;

use super::answer::is_pretty;
use super::params::invalid;
use super::{Call, Shared, envelope, run};
use crate::jaeger::error::{JaegerError, Result};
use crate::jaeger::{FoundTrace, FoundTraces};
use tactus_query::offload;

/// `/api/transform`: OTLP's JSON as traces of v1.
pub(super) async fn transform(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let frontend = Arc::clone(&shared.frontend);
    run(shared, (uri, headers), envelope::refuse, async move |call: Call| {
        let file = frontend.receive_file(body).await?;
        let found = offload(true, move || traces(&call, &file.bytes)).await??;
        let (found, pretty) = found;
        envelope::traces(found, pretty).await
    })
    .await
}

fn traces(call: &Call, file: &[u8]) -> Result<(FoundTraces, bool)> {
    let max_spans = call.queries.frontend.settings.trace_files.max_spans;
    let traces = traces_of_upload(file, max_spans).map_err(|error| match error {
        UploadError::TooManySpans { .. } => {
            let text = format!("{error} (limit: query_frontend.trace_files.max_spans)");
            JaegerError::Query(Error::LimitExceeded(text))
        }
        error => invalid(format!("cannot unmarshal OTLP: {error}")),
    })?;
    let adjusted = traces.into_iter().map(|(id, resource_spans)| {
        let trace = FoundTrace { id, data: TracesData { resource_spans }, warnings: Vec::new() };
        call.queries.adjusted(trace)
    });
    let found = FoundTraces { traces: adjusted.collect(), ..FoundTraces::default() };
    Ok((found, is_pretty(&call.params())))
}
