//! Changes the tree before it is read: old keys, keys that stand in for others, flat limits; and the old cache section,
//! if a file is written again.

use crate::yaml::{Content, Key, Node};

mod flat;

pub(crate) use flat::{Layout, flat_to_scoped, name_other_places, name_right_places, rewrite_main};

/// A key of the file whose value is looked for elsewhere, or nowhere.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rewritten {
    pub(crate) from: Vec<String>,
    /// Where the value is now; nothing if it is left out.
    pub(crate) to: Option<Vec<String>>,
    /// What the log says of it.
    pub(crate) warning: Option<String>,
}

/// The keys of a dotted path.
pub(crate) fn keys(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// Applies all rewrites but that of limits to the root of the main file; adds to `rewritten`.
pub(crate) fn rewrite(root: &mut Node, rewritten: &mut Vec<Rewritten>) {
    take_removed(root, rewritten);
    stand_in_for_compactor(root, rewritten);
    enable_null_protocols(root);
}

/// Where a Tempo 3 file has what `compactor.compaction` has here; of a key that several have, the first counts.
const STAND_INS: [&[&str]; 2] = [
    &["backend_scheduler", "provider", "compaction", "compaction"],
    &["backend_worker", "compaction"],
];

/// How many keys of a path name a section that stands in for the compactor's, where that is not in the file.
pub(crate) fn stands_in(path: &[String]) -> Option<usize> {
    let begins =
        |place: &&[&str]| path.len() >= place.len() && place.iter().zip(path).all(|(a, b)| a == b);
    STAND_INS.iter().copied().find(begins).map(<[&str]>::len)
}

/// A Tempo 3 file keeps its retention in another section: without this, spans of a month would be
/// deleted after the default two weeks.
fn stand_in_for_compactor(root: &mut Node, rewritten: &mut Vec<Rewritten>) {
    let has_compactor = root.get("compactor").is_some_and(|node| !node.is_null());
    let to = ["compactor", "compaction"];
    for place in STAND_INS {
        let Some(entries) = at(root, place).and_then(Node::entries).cloned() else {
            continue;
        };
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        if has_compactor {
            let warning =
                format!("{} ignored, since the file has a section compactor", place.join("."));
            rewritten.push(Rewritten { from: owned(place), to: None, warning: Some(warning) });
            continue;
        }
        for (key, node) in entries {
            put(root, &[to[0], to[1], &key.text], node, key.line);
        }
        rewritten.push(Rewritten { from: owned(place), to: Some(owned(&to)), warning: None });
    }
}

/// A receiver's protocol with nothing after the colon is on, while null elsewhere is "not set".
fn enable_null_protocols(root: &mut Node) {
    let receivers = root.get_mut("distributor").and_then(|node| node.get_mut("receivers"));
    for (_, receiver) in receivers.and_then(Node::entries_mut).into_iter().flatten() {
        let protocols = receiver.get_mut("protocols").and_then(Node::entries_mut);
        for (_, protocol) in protocols.into_iter().flatten() {
            if protocol.is_null() {
                protocol.content = Content::Map(Vec::new());
            }
        }
    }
}

/// The node at a path of keys.
fn at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, key| node.get(key))
}

/// Takes the node at a path out of the tree, with its key.
pub(crate) fn take(node: &mut Node, path: &[&str]) -> Option<(Key, Node)> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(node, |node, key| node.get_mut(key))?;
    let entries = parent.entries_mut()?;
    let position = entries.iter().position(|(key, _)| key.text == *last)?;
    Some(entries.remove(position))
}

/// Puts `value` at a path, making the mappings on the way; never replaces what is there already.
/// False when the place is taken or a scalar is in the way.
pub(crate) fn put(node: &mut Node, path: &[&str], value: Node, line: usize) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    if node.is_null() {
        node.content = Content::Map(Vec::new());
    }
    let Some(entries) = node.entries_mut() else { return false };
    let existing = entries.iter().position(|(key, _)| key.text == *first);
    match (existing, rest.is_empty()) {
        (Some(position), false) => put(&mut entries[position].1, rest, value, line),
        (Some(_), true) => false,
        (None, true) => {
            entries.push((Key::new(first, line), value));
            true
        }
        (None, false) => {
            let mut child = Node::map(line, Vec::new());
            let done = put(&mut child, rest, value, line);
            entries.push((Key::new(first, line), child));
            done
        }
    }
}

/// Keys that earlier releases had, each with the key that has its value now; without one, it is ignored.
const REMOVED: &[(&str, &str)] = &[
    ("search_enabled", ""),
    ("metrics_generator_enabled", ""),
    ("use_otel_tracer", ""),
    ("autocomplete_filtering_enabled", ""),
    ("query_frontend.query_shards", "query_frontend.trace_by_id.query_shards"),
    ("querier.query_timeout", "querier.trace_by_id.query_timeout"),
    ("query_frontend.tolerate_failed_blocks", ""),
    ("query_frontend.querier_forget_delay", ""),
    ("query_frontend.trace_by_id.hedge_requests_at", ""),
    ("query_frontend.trace_by_id.hedge_requests_up_to", ""),
    ("querier.search.prefer_self", ""),
    ("querier.search.external_hedge_requests_at", ""),
    ("querier.search.external_hedge_requests_up_to", ""),
    ("querier.search.external_backend", ""),
    ("querier.search.google_cloud_run", ""),
    ("querier.search.external_endpoints", ""),
    ("compactor.compaction.chunk_size_bytes", ""),
    ("compactor.compaction.flush_size_bytes", ""),
    ("compactor.compaction.iterator_buffer_size", ""),
    ("ingester.use_flatbuffer_search", ""),
    ("storage.trace.wal.encoding", ""),
    ("storage.trace.wal.completedfilepath", ""),
    ("storage.trace.wal.blocksfilepath", ""),
    ("storage.trace.block.encoding", ""),
    ("storage.trace.block.index_downsample_bytes", ""),
    ("storage.trace.block.index_page_size_bytes", ""),
    (
        "storage.trace.block.row_group_size_bytes",
        "storage.trace.block.parquet_row_group_size_bytes",
    ),
    ("storage.trace.s3.insecure_skip_verify", "storage.trace.s3.tls_insecure_skip_verify"),
    ("storage.trace.azure.storage-account-name", "storage.trace.azure.storage_account_name"),
    ("storage.trace.azure.storage-account-key", "storage.trace.azure.storage_account_key"),
    ("storage.trace.azure.container-name", "storage.trace.azure.container_name"),
    ("storage.trace.azure.endpoint-suffix", "storage.trace.azure.endpoint_suffix"),
    ("storage.trace.azure.max-buffers", "storage.trace.azure.max_buffers"),
    ("storage.trace.azure.buffer-size", "storage.trace.azure.buffer_size"),
    ("storage.trace.azure.hedge-requests-at", "storage.trace.azure.hedge_requests_at"),
    ("storage.trace.azure.hedge-requests-up-to", "storage.trace.azure.hedge_requests_up_to"),
    ("storage.trace.azure.use-managed-identity", "storage.trace.azure.use_managed_identity"),
    ("storage.trace.azure.user-assigned-id", "storage.trace.azure.user_assigned_id"),
    ("storage.trace.azure.use_v2_sdk", ""),
    ("distributor.log_received_traces", "distributor.log_received_spans.enabled"),
    ("distributor.max_span_attr_byte", "distributor.max_attribute_bytes"),
    ("distributor.search_tags_deny_list", ""),
    ("backend_scheduler.tenant_measurement_interval", ""),
    ("backend_scheduler.provider.compaction.backoff", ""),
];

/// What the log says of a key that has no effect any more.
fn ignored(key: &str) -> String {
    format!("deprecated key {key} ignored")
}

/// Takes the old keys out of the tree, putting values where they belong now. A key under its new
/// name is stronger than the same key under its old one.
fn take_removed(root: &mut Node, rewritten: &mut Vec<Rewritten>) {
    for (key, now) in REMOVED {
        let path: Vec<&str> = key.split('.').collect();
        let Some((found, value)) = take(root, &path) else { continue };
        let (to, text) = match *now {
            "" => (None, ignored(key)),
            now => {
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

/// Moves the keys of the cache that `storage.trace.cache` names into `cache.caches`, where it has these roles. A start reads
/// both; only what is written anew is rewritten.
pub(crate) fn old_cache(root: &mut Node, roles: &[String], rewritten: &mut Vec<Rewritten>) {
    let trace = ["storage", "trace"];
    let old = |key: &'static str| [trace[0], trace[1], key];
    let Some((key, kind)) = take(root, &old("cache")) else { return };
    let Content::Scalar(name) = &kind.content else { return };
    let line = key.line;
    let roles = roles.iter().map(|role| Node::scalar(role, true)).collect();
    let roles = Node { line, content: Content::List(roles) };
    let mut entry = vec![(Key::new("roles", line), roles)];
    let note = |from: &str, to: Option<&str>, rewritten: &mut Vec<Rewritten>| {
        rewritten.push(Rewritten { from: keys(from), to: to.map(keys), warning: None });
    };
    let others = root.get("cache").and_then(|cache| cache.get("caches"));
    let position = match others.map(|caches| &caches.content) {
        Some(Content::List(caches)) => caches.len(),
        _ => 0,
    };
    let place = format!("cache.caches.{position}");
    note("storage.trace.cache", Some(&place), rewritten);
    for server in ["memcached", "redis"] {
        let Some((_, settings)) = take(root, &old(server)) else { continue };
        let used = server == name.text;
        let from = format!("storage.trace.{server}");
        let to = format!("{place}.{server}");
        note(&from, used.then_some(&to), rewritten);
        if used {
            entry.push((Key::new(server, line), settings));
        }
    }
    if entry.len() == 1 {
        entry.push((Key::new(&name.text, line), Node::map(line, Vec::new())));
    }
    if take(root, &["storage", "trace", "search", "cache_control"]).is_some() {
        note("storage.trace.search.cache_control", Some(&format!("{place}.roles")), rewritten);
    }
    if let Some((_, background)) = take(root, &old("background_cache")) {
        let placed = put(root, &["cache", "background"], background, line);
        let to = placed.then_some("cache.background");
        note("storage.trace.background_cache", to, rewritten);
    }
    let entry = Node::map(line, entry);
    let caches = root.get_mut("cache").and_then(|cache| cache.get_mut("caches"));
    match caches.map(|caches| &mut caches.content) {
        Some(Content::List(caches)) => caches.push(entry),
        _ => {
            take(root, &["cache", "caches"]);
            let caches = Node { line, content: Content::List(vec![entry]) };
            put(root, &["cache", "caches"], caches, line);
        }
    }
}

#[cfg(test)]
mod tests;
