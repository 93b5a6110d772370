//! Separates the client and the server span of a call that share one span id, as Zipkin's senders write them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use foldhash::fast::RandomState;

/// Kinds of spans, as OTLP numbers them.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// Gives each server span that shares the id of a client span an id of its own, below the client span. Children of the
/// shared id become children of the server span. Returns the new id and parent of each span that changes, by its index.
///
/// `spans`: id, parent and kind of each span of a trace. `new_id` turns a number into an id.
pub fn separate_shared_ids<I: Clone + Eq + Hash>(
    spans: impl Iterator<Item = (I, I, u64)> + Clone,
    new_id: impl Fn(u64) -> I,
) -> HashMap<usize, (I, I)> {
    let clients = spans.clone().filter(|(.., kind)| *kind == CLIENT);
    let clients: HashSet<I, RandomState> = clients.map(|(id, ..)| id).collect();
    let is_shared = |id: &I, kind| kind == SERVER && clients.contains(id);
    let mut changes = HashMap::new();
    if !spans.clone().any(|(id, _, kind)| is_shared(&id, kind)) {
        return changes;
    }
    let mut used: HashSet<I> = spans.clone().map(|(id, ..)| id).collect();
    let mut unused = (1..).map(new_id).filter(|id| used.insert(id.clone()));
    let mut new_ids = HashMap::new();
    for (place, (id, _, kind)) in spans.clone().enumerate() {
        if is_shared(&id, kind)
            && let Some(own) = unused.next()
        {
            new_ids.insert(id.clone(), own.clone());
            changes.insert(place, (own, id));
        }
    }
    for (place, (id, parent, _)) in spans.enumerate() {
        if let Some(parent) = new_ids.get(&parent) {
            changes.entry(place).or_insert_with(|| (id, parent.clone()));
        }
    }
    changes
}
