//! The service graph over HTTP.

use ::http::{HeaderMap, Uri};
use axum::extract::State;
use axum::response::Response;
use tactus_api::Encoding;
use tactus_api::request::metrics_range;

use super::{Answer, Shared, answer};
use crate::frontend::unix_nanos_now;
use crate::http::Call;
use crate::service_graph::{GraphWindow, response_json};
use crate::trace_by_id::offload;

/// Graphs with more edges are encoded away from the threads that serve connections.
const INLINE_EDGES: usize = 1_000;

/// `/api/service-graph`: `start` and `end`, or `since`, and a filter `q`.
pub(super) async fn graph(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let params = call.params();
        let (start_unix_nanos, end_unix_nanos) = metrics_range(&params, unix_nanos_now())?;
        let window = GraphWindow { start_unix_nanos, end_unix_nanos };
        let found = call.frontend.service_graph(&call.tenants, window, params.get("q")).await?;
        let partial = found.partial;
        let is_large = found.edges.len() > INLINE_EDGES;
        let body = offload(is_large, move || response_json(&found, window)).await??;
        Ok(Answer { body, encoding: Encoding::Json, partial })
    })
    .await
}
