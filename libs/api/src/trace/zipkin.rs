//! Separates the client and the server span of a call that share one span id, as Zipkin's senders write them.

use bytes::Bytes;
use tactus_model::SpanId;
use tactus_model::wire::{FieldValue, Reader, put_message_field, put_varint};

use super::span_entry::SpanEntry;

/// As [`tactus_model::separate_shared_ids`].
pub(super) fn separate_shared_ids(spans: &mut [SpanEntry]) {
    let known = spans.iter().map(|span| (span.id, span.parent, span.kind));
    let changes = tactus_model::separate_shared_ids(known, |number| SpanId(number.to_be_bytes()));
    for (place, (id, parent)) in changes {
        let span = &mut spans[place];
        span.message = with_ids(&span.message, id, parent);
        (span.id, span.parent) = (id, parent);
    }
}

/// An OTLP Span message with another id and parent, and its other fields.
pub fn with_ids(span: &Bytes, id: SpanId, parent: SpanId) -> Bytes {
    let mut message = Vec::with_capacity(span.len() + 20);
    put_message_field(&mut message, 2, &id.0);
    put_message_field(&mut message, 4, &parent.0);
    let mut reader = Reader::new(span);
    // The message was read to its end when it was added to a trace, so it is well formed.
    while let Ok(Some((field, value))) = reader.next_field() {
        if field != 2 && field != 4 {
            put_field(&mut message, field, value);
        }
    }
    Bytes::from(message)
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
