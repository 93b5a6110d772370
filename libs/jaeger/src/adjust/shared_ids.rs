//! Takes apart the two halves of a call that share one span id, as Zipkin's senders write them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tactus_proto::otlp::span::SpanKind;
use tactus_proto::otlp::{ResourceSpans, Span};

use super::{spans, spans_mut};

/// Gives every server span that has the id of a client span an id of its own, below the client span; what hung below
/// the shared id hangs below the server span then.
pub(super) fn separate(trace: &mut [ResourceSpans]) {
    let is = |span: &Span, kind: SpanKind| span.kind == i32::from(kind);
    let clients: HashSet<Bytes> = spans(trace)
        .filter(|span| is(span, SpanKind::Client))
        .map(|span| span.span_id.clone())
        .collect();
    let is_shared = |span: &Span| is(span, SpanKind::Server) && clients.contains(&span.span_id);
    if !spans(trace).any(is_shared) {
        return;
    }
    let mut used: HashSet<Bytes> = spans(trace).map(|span| span.span_id.clone()).collect();
    let mut counter = 0u64;
    let mut new_ids: HashMap<Bytes, Bytes> = HashMap::new();
    let mut separated = HashSet::new();
    for (row, span) in spans_mut(trace).enumerate() {
        if !is_shared(span) {
            continue;
        }
        let id = loop {
            counter += 1;
            let id = Bytes::copy_from_slice(&counter.to_be_bytes());
            if used.insert(id.clone()) {
                break id;
            }
        };
        new_ids.insert(span.span_id.clone(), id.clone());
        separated.insert(row);
        span.parent_span_id = std::mem::replace(&mut span.span_id, id);
    }
    for (row, span) in spans_mut(trace).enumerate() {
        if let Some(parent) = new_ids.get(&span.parent_span_id)
            && !separated.contains(&row)
        {
            span.parent_span_id = parent.clone();
        }
    }
}
