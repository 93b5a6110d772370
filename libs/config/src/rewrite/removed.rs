//! Keys that earlier releases had: dropped or moved, with a warning.

use super::{Rewritten, keys, put, take};
use crate::yaml::Node;

/// An old key and, when its value still means something, the key that has it now.
struct Removed {
    key: &'static str,
    now: Option<&'static str>,
}

const fn ignored(key: &'static str) -> Removed {
    Removed { key, now: None }
}

const fn moved(key: &'static str, now: &'static str) -> Removed {
    Removed { key, now: Some(now) }
}

const REMOVED: &[Removed] = &[
    ignored("search_enabled"),
    ignored("metrics_generator_enabled"),
    ignored("use_otel_tracer"),
    ignored("autocomplete_filtering_enabled"),
    moved("query_frontend.query_shards", "query_frontend.trace_by_id.query_shards"),
    moved("querier.query_timeout", "querier.trace_by_id.query_timeout"),
    ignored("query_frontend.tolerate_failed_blocks"),
    ignored("query_frontend.querier_forget_delay"),
    ignored("query_frontend.trace_by_id.hedge_requests_at"),
    ignored("query_frontend.trace_by_id.hedge_requests_up_to"),
    ignored("querier.search.prefer_self"),
    ignored("querier.search.external_hedge_requests_at"),
    ignored("querier.search.external_hedge_requests_up_to"),
    ignored("querier.search.external_backend"),
    ignored("querier.search.google_cloud_run"),
    ignored("querier.search.external_endpoints"),
    ignored("compactor.compaction.chunk_size_bytes"),
    ignored("compactor.compaction.flush_size_bytes"),
    ignored("compactor.compaction.iterator_buffer_size"),
    ignored("ingester.use_flatbuffer_search"),
    ignored("storage.trace.wal.encoding"),
    ignored("storage.trace.wal.completedfilepath"),
    ignored("storage.trace.wal.blocksfilepath"),
    ignored("storage.trace.block.encoding"),
    ignored("storage.trace.block.index_downsample_bytes"),
    ignored("storage.trace.block.index_page_size_bytes"),
    moved(
        "storage.trace.block.row_group_size_bytes",
        "storage.trace.block.parquet_row_group_size_bytes",
    ),
    moved("storage.trace.s3.insecure_skip_verify", "storage.trace.s3.tls_insecure_skip_verify"),
    moved("storage.trace.azure.storage-account-name", "storage.trace.azure.storage_account_name"),
    moved("storage.trace.azure.storage-account-key", "storage.trace.azure.storage_account_key"),
    moved("storage.trace.azure.container-name", "storage.trace.azure.container_name"),
    moved("storage.trace.azure.endpoint-suffix", "storage.trace.azure.endpoint_suffix"),
    moved("storage.trace.azure.max-buffers", "storage.trace.azure.max_buffers"),
    moved("storage.trace.azure.buffer-size", "storage.trace.azure.buffer_size"),
    moved("storage.trace.azure.hedge-requests-at", "storage.trace.azure.hedge_requests_at"),
    moved("storage.trace.azure.hedge-requests-up-to", "storage.trace.azure.hedge_requests_up_to"),
    ignored("storage.trace.azure.use_v2_sdk"),
    moved("distributor.log_received_traces", "distributor.log_received_spans.enabled"),
    moved("distributor.max_span_attr_byte", "distributor.max_attribute_bytes"),
    ignored("backend_scheduler.tenant_measurement_interval"),
    ignored("backend_scheduler.provider.compaction.backoff"),
];

/// Takes the old keys out of the tree, putting values where they belong now. A key under its new
/// name is stronger than the same key under its old one.
pub(super) fn rewrite(root: &mut Node, rewritten: &mut Vec<Rewritten>) {
    for Removed { key, now } in REMOVED {
        let path: Vec<&str> = key.split('.').collect();
        let Some((found, value)) = take(root, &path) else { continue };
        let (to, text) = match now {
            None => (None, format!("deprecated key {key} ignored")),
            Some(now) => {
                let path: Vec<&str> = now.split('.').collect();
                if put(root, &path, value, found.line) {
                    (Some(keys(now)), format!("deprecated key {key} taken as {now}"))
                } else {
                    (None, format!("deprecated key {key} ignored, since {now} is set"))
                }
            }
        };
        rewritten.push(Rewritten { from: keys(key), to, warning: Some(text) });
    }
}
