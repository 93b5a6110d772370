//! The API over a real querier and the sample blocks; recent data comes from a double of the ingester's protocol.

mod api;
mod cancellation;
mod combined;
pub(crate) mod doubles;
mod errors;
mod explain;
mod limits;
mod mcp;
mod metrics;
mod metrics_jobs;
mod partial;
mod replicas;
mod results;
mod search;
mod service_graph;
mod serving_threads;
mod stored;
mod streaming;
mod tags;
mod tail_sampling;
mod trace_files;
mod traces;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use prost::Message as _;
use tactus_config::sections::overrides::Limits;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::otlp::any_value::Value::StringValue;
use tactus_proto::otlp::{
    AnyValue, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span,
};
use tactus_server::bodies::Bodies;
use tactus_server::tenancy::Tenancy;
use tactus_storage::{BlockMeta, Blocklist, Uuid};
use tactus_telemetry::metrics::Registry;
use tactus_work::memory::{Budget, QueryMemory};

use crate::{Frontend, JobQueue, QueuedParts, Settings};
use api::*;
use doubles::{BlockData, RecentData};

/// A time that no query can be about yet.
const FUTURE: &str = "start=4000000000&end=4000000060";

/// What a query asks does not depend on what runs already.
fn one_job_at_a_time() -> Settings {
    let mut settings = Settings::default();
    settings.section.search.concurrent_jobs = 1;
    settings
}

/// Blocks as a request of an ingester names them.
fn stored_ids(blocks: &[&str]) -> Bytes {
    blocks.iter().flat_map(|id| *Uuid::parse_str(id).unwrap().as_bytes()).collect()
}

/// A trace in OTLP: a resource of four megabytes with 10 000 scopes of one span.
pub(crate) fn large_resource_of_many_scopes() -> Bytes {
    let of_scope = |number: u64| {
        let name = number.to_string().into_bytes().into();
        let span = Span {
            trace_id: vec![7; 16].into(),
            span_id: number.to_be_bytes().to_vec().into(),
            ..Span::default()
        };
        ScopeSpans {
            scope: Some(InstrumentationScope { name, ..InstrumentationScope::default() }),
            spans: vec![span],
            ..ScopeSpans::default()
        }
    };
    let value = Some(AnyValue { value: Some(StringValue(vec![b'x'; 4 << 20].into())) });
    let attributes = vec![KeyValue { key: Bytes::from_static(b"key"), value }];
    let resource_spans = ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: (1..=10_000).map(of_scope).collect(),
        ..ResourceSpans::default()
    };
    TracesData { resource_spans: vec![resource_spans] }.encode_to_vec().into()
}

/// A frontend over recent data alone, with this many bytes for answers and for what queries hold.
pub(crate) fn frontend_within(
    recent: &Arc<RecentData>,
    limits: Limits,
    answer_bytes: u64,
    query_bytes: u64,
) -> Arc<Frontend> {
    let (settings, registry) = (Settings::default(), Registry::new());
    let memory = Bodies::within(&Budget::new(answer_bytes));
    let queue = JobQueue::new(&settings.section, &registry);
    let querier = Arc::new(BlockData::default());
    queue.add_local_worker(querier, Arc::clone(recent) as _, 4, Arc::clone(&memory));
    let limits = Arc::new(limits);
    let parts = QueuedParts {
        settings,
        tenancy: Tenancy::single(),
        limits: Arc::new(move |_| Arc::clone(&limits)),
        queue,
        blocklist: Arc::new(Blocklist::new()),
        memory,
        query_memory: QueryMemory::within(&Budget::new(query_bytes)),
    };
    Frontend::over_queue(parts, &registry)
}
