//! Keys that have no effect in this release. A release that adds a part removes its line here.

use crate::field::Field;
use crate::idle::{NO_EFFECT, belongs};
use crate::sections::root::Config;
use crate::show::rows;
use crate::yaml::inline;
use std::collections::HashMap;

/// A part that does not exist yet.
struct Part {
    /// The key of the part; everything below belongs to it.
    key: &'static str,
    /// What is missing, as a sentence names it.
    name: &'static str,
    /// One warning for the part instead of one for each of its keys.
    whole: bool,
}

const fn each(key: &'static str, name: &'static str) -> Part {
    Part { key, name, whole: false }
}

const fn whole(key: &'static str, name: &'static str) -> Part {
    Part { key, name, whole: true }
}

const LOCAL_BLOCKS: &str = "local blocks, ingesters answer queries about recent spans";

/// The table to shorten.
const MISSING: &[Part] = &[
    whole("metrics_generator.processor.local_blocks", LOCAL_BLOCKS),
    whole("metrics_generator.traces_storage", LOCAL_BLOCKS),
    whole("metrics_generator.traces_query_storage", LOCAL_BLOCKS),
    whole("overrides.defaults.metrics_generator.processor.local_blocks", LOCAL_BLOCKS),
    whole("distributor.receivers.opencensus", "OpenCensus receiver"),
    each("storage.trace.s3.tls_server_name", "check of another server name"),
];

/// Stores of blocks that this release can open.
pub(crate) const BACKENDS: &[&str] = &["local", "s3", "gcs", "azure"];
/// Block versions that this release writes.
pub(crate) const WRITABLE_BLOCKS: &[&str] = &["vParquet4", "vParquet5"];
/// Block versions that exist.
pub(crate) const KNOWN_BLOCKS: &[&str] =
    &["v2", "vParquet", "vParquet2", "vParquet3", "vParquet4", "vParquet5"];
/// Why keys have no effect whose own line in the manual does not say it; the first that fits counts.
const REASONS: &[(&str, &str)] = &[
    ("ingest", KAFKA),
    ("block_builder", KAFKA),
    ("live_store", KAFKA),
    ("live_store_client", KAFKA),
    ("ingester.partition_ring", KAFKA),
    ("querier.partition_ring", KAFKA),
    ("querier.query_live_store", KAFKA),
    ("distributor.kafka_config", KAFKA),
    ("partition_ring_live_store", KAFKA),
    ("metrics_generator.ring_mode", KAFKA),
    ("metrics_generator.leave_consumer_group_on_shutdown", KAFKA),
    ("metrics_generator.ingest_concurrency", KAFKA),
    ("metrics_generator.disable_grpc", KAFKA),
    ("backend_scheduler", "compactors find their work in the bucket, there is no scheduler"),
    ("backend_scheduler_client", "compactors find their work in the bucket, there is no scheduler"),
    ("backend_worker", "compactors find their work in the bucket, there is no scheduler"),
    ("enable_go_runtime_metrics", GO),
    ("memory", GO),
    ("span_profiling", GO),
    ("memberlist", "gossip here is another protocol, which needs no such setting"),
    ("compactor.ring", "a compactor shares work at once, its jobs are the same whoever does them"),
    ("metrics_generator.storage.wal", "what waits for remote write is in a queue of our own"),
    ("metrics_generator.storage.remote_write[].metadata_config", "metadata goes with the samples"),
    ("metrics_generator.disable_local_blocks", LOCAL_BLOCKS_REASON),
    ("metrics_generator.processor.local_blocks", LOCAL_BLOCKS_REASON),
    ("metrics_generator.traces_storage", LOCAL_BLOCKS_REASON),
    ("metrics_generator.traces_query_storage", LOCAL_BLOCKS_REASON),
    (
        "metrics_generator.processor.span_metrics.subprocessors",
        "the processors of a tenant say the same",
    ),
    (
        "metrics_generator.processor.service_graphs.workers",
        "the thread that takes the spans of a tenant finds their calls, too",
    ),
    ("storage.trace.wal", "the write-ahead log has a form of its own"),
    ("storage.trace.block", "for blocks of version v2, which are not written"),
    ("storage.trace.search", "for blocks of version v2, which are not read"),
    ("compactor.compaction", "for blocks of version v2, which are not merged"),
    ("storage.trace.s3.signature_v2", "requests are signed by version 4"),
    (
        "overrides.user_configurable_overrides.client.s3.signature_v2",
        "requests are signed by version 4",
    ),
    (
        "storage.trace.s3.native_aws_auth_enabled",
        "credentials are looked for in the same places without it",
    ),
    (
        "overrides.user_configurable_overrides.client.s3.native_aws_auth_enabled",
        "credentials are looked for in the same places without it",
    ),
    ("query_frontend.rf1_after", "each span counts once, however many copies there are"),
    ("query_frontend.skip_ast_transformations", "the query engine has its own rewrites"),
    (
        "overrides.defaults.read.metrics_spanonly_fetch",
        "the query engine reads only the columns that it needs",
    ),
    ("tail_sampling", "memory is bounded by ingester.max_live_bytes"),
    ("usage_report", "no usage is reported"),
];

const KAFKA: &str = "spans go to ingesters, there is no Kafka between";
const GO: &str = "for the runtime of Go";
const LOCAL_BLOCKS_REASON: &str = "ingesters answer queries about recent spans";
/// Of all other keys.
const NO_COUNTERPART: &str = "nothing here corresponds to it";

/// Why a key has no effect, and the key of the part that it is of, if it is known and has none. `path` as in the manual:
/// items of lists are `[]`.
pub(crate) fn no_effect<'a>(path: &'a str, meaning: &str) -> Option<(&'a str, String)> {
    if let Some(part) = MISSING.iter().find(|part| belongs(path, part.key)) {
        let key = if part.whole { part_key(path, part.key) } else { path };
        return Some((key, format!("this release has no {}", part.name)));
    }
    let reason = meaning.strip_prefix(NO_EFFECT)?;
    let known = || REASONS.iter().find(|(key, _)| belongs(path, key)).map(|(_, reason)| *reason);
    let reason = match reason.strip_prefix(": ") {
        Some(reason) => reason,
        None => known().unwrap_or(NO_COUNTERPART),
    };
    Some((path, reason.to_owned()))
}

/// One warning for each key that was set to something other than its default and does nothing.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let rows = rows();
    // Rows know the defaults of keys inside optional parts; only leaves know entries of maps.
    let mut defaults: HashMap<String, String> =
        rows.iter().map(|row| (row.path.clone(), row.default.clone())).collect();
    Config::default().show().leaves("", &mut |path, value| {
        defaults.insert(path.to_owned(), inline(value));
    });
    let without_effect: Vec<&str> = rows
        .iter()
        .filter(|row| row.meaning.starts_with(NO_EFFECT))
        .map(|row| row.path.as_str())
        .collect();
    let mut found: Vec<String> = Vec::new();
    let mut add = |text: String| {
        if !found.contains(&text) {
            found.push(text);
        }
    };
    let mut leaves: Vec<(String, String)> = Vec::new();
    config.show().leaves("", &mut |path, value| leaves.push((path.to_owned(), inline(value))));
    for (path, value) in leaves {
        if defaults.get(&path) == Some(&value) {
            continue;
        }
        if let Some(part) = MISSING.iter().find(|part| belongs(&path, part.key)) {
            let key = if part.whole { part_key(&path, part.key) } else { path.as_str() };
            let verb = if part.whole { "are" } else { "is" };
            let subject = if part.whole { "the keys of " } else { "" };
            add(format!(
                "{subject}{key} {verb} set but without effect: this release has no {}",
                part.name
            ));
        } else if let Some(key) = without_effect.iter().find(|key| belongs(&path, key)) {
            add(format!("{key} is set but has no effect"));
        }
    }
    found
}

/// `key` with the instance name that `path` has after it.
fn part_key<'a>(path: &'a str, key: &str) -> &'a str {
    let rest = &path[key.len()..];
    let end = rest.find('.').unwrap_or(rest.len());
    &path[..key.len() + end]
}

#[cfg(test)]
mod tests;
