//! Takes apart the two halves of a call that share one span id, as Zipkin's senders write them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use foldhash::fast::RandomState;
use tactus_model::SpanId;
use tactus_model::wire::{FieldValue, Reader, put_message_field, put_varint};

use super::span_entry::SpanEntry;

const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// What tells the halves of a call apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallHalf {
    /// Its id, maybe that of the other half as well.
    pub id: SpanId,
    /// The id of its parent.
    pub parent: SpanId,
    /// OTLP's number of the kind.
    pub kind: u64,
}

/// A span by its place in a trace, with other ids than it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewIds {
    /// Which span.
    pub span: usize,
    /// Its id.
    pub id: SpanId,
    /// That of its parent.
    pub parent: SpanId,
}

/// Gives every server span that has the id of a client span an id of its own, below the client span; what hung below
/// the shared id hangs below the server span then.
pub(super) fn separate_shared_ids(spans: &mut [SpanEntry]) {
    let half = |span: usize| {
        let SpanEntry { id, parent, kind, .. } = spans[span];
        CallHalf { id, parent, kind }
    };
    for NewIds { span, id, parent } in separated_ids(0..spans.len(), half) {
        rewrite(&mut spans[span], id, parent);
    }
}

/// The spans of a trace that get other ids, so that no server span shares one with a client span: as of a
/// [`super::CombinedTrace`] with [`super::SharedIds::Separated`], if `spans` are in its order.
pub fn separated_ids(
    spans: impl Iterator<Item = usize> + Clone,
    half_of: impl Fn(usize) -> CallHalf,
) -> Vec<NewIds> {
    let halves = || spans.clone().map(|span| (span, half_of(span)));
    let clients: HashSet<SpanId, RandomState> =
        halves().filter(|(_, half)| half.kind == CLIENT).map(|(_, half)| half.id).collect();
    let is_shared = |half: &CallHalf| half.kind == SERVER && clients.contains(&half.id);
    if !halves().any(|(_, half)| is_shared(&half)) {
        return Vec::new();
    }
    let mut used: HashSet<SpanId> = halves().map(|(_, half)| half.id).collect();
    let (mut counter, mut new_ids, mut found) = (0u64, HashMap::new(), Vec::new());
    for (span, half) in halves().filter(|(_, half)| is_shared(half)) {
        let id = loop {
            counter += 1;
            let id = SpanId(counter.to_be_bytes());
            if used.insert(id) {
                break id;
            }
        };
        new_ids.insert(half.id, id);
        found.push(NewIds { span, id, parent: half.id });
    }
    for (span, half) in halves().filter(|(_, half)| !is_shared(half)) {
        if let Some(&parent) = new_ids.get(&half.parent) {
            found.push(NewIds { span, id: half.id, parent });
        }
    }
    found
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
