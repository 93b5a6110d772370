//! The cache that `storage.trace.cache` names, as an entry of the `cache` section. A start reads both; only what is
//! written anew is rewritten.

use super::{Rewritten, keys, put, take};
use crate::yaml::{Content, Key, Node};

/// Moves the keys of the old cache into `cache.caches`, where it has these roles.
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
