//! Takes apart the two halves of a call that share one span id, as Zipkin's senders write them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use foldhash::fast::RandomState;
use tactus_model::SpanId;
use tactus_model::wire::{FieldValue, Reader, put_message_field, put_varint};

use super::span_entry::SpanEntry;

const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// Gives every server span that has the id of a client span an id of its own, below the client span; what hung below
/// the shared id hangs below the server span then.
pub(super) fn separate_shared_ids(spans: &mut [SpanEntry]) {
    let clients: HashSet<SpanId, RandomState> =
        spans.iter().filter(|span| span.kind == CLIENT).map(|span| span.id).collect();
    let is_shared = |span: &SpanEntry| span.kind == SERVER && clients.contains(&span.id);
    if !spans.iter().any(is_shared) {
        return;
    }
    let mut used: HashSet<SpanId> = spans.iter().map(|span| span.id).collect();
    let mut counter = 0u64;
    let mut new_ids = HashMap::new();
    let mut separated = HashSet::new();
    for (row, span) in spans.iter_mut().enumerate() {
        if !is_shared(span) {
            continue;
        }
        let id = loop {
            counter += 1;
            let id = SpanId(counter.to_be_bytes());
            if used.insert(id) {
                break id;
            }
        };
        new_ids.insert(span.id, id);
        separated.insert(row);
        rewrite(span, id, span.id);
    }
    for (row, span) in spans.iter_mut().enumerate() {
        if let Some(&parent) = new_ids.get(&span.parent)
            && !separated.contains(&row)
        {
            rewrite(span, span.id, parent);
        }
    }
}

/// Replaces id and parent of a span, and keeps its other fields.
fn rewrite(span: &mut SpanEntry, id: SpanId, parent: SpanId) {
    let mut message = Vec::with_capacity(span.message.len() + 20);
    put_message_field(&mut message, 2, &id.0);
    put_message_field(&mut message, 4, &parent.0);
    let mut reader = Reader::new(&span.message);
    // The message was read to its end when it was added, so it is well formed.
    while let Ok(Some((field, value))) = reader.next_field() {
        if field != 2 && field != 4 {
            put_field(&mut message, field, value);
        }
    }
    span.message = Bytes::from(message);
    (span.id, span.parent) = (id, parent);
}

fn put_field(out: &mut Vec<u8>, field: u32, value: FieldValue<'_>) {
    let tag = u64::from(field) << 3;
    match value {
        FieldValue::Varint(number) => {
            put_varint(out, tag);
            put_varint(out, number);
        }
        FieldValue::Fixed64(number) => {
            put_varint(out, tag | 1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        FieldValue::Bytes(bytes) => put_message_field(out, field, bytes),
        FieldValue::Fixed32(number) => {
            put_varint(out, tag | 5);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}
