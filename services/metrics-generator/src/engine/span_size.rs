//! The size of a span as protobuf, whatever encoding it came in.

use tactus_model::any_value::AnyValueRef;
use tactus_model::{AttributeList, SpanBatch, StringCode};

/// Bytes of the message of a span: the status and the values of attributes are always there, other fields if they are
/// not zero.
pub(crate) fn span_size(batch: &SpanBatch, row: usize) -> usize {
    let spans = &batch.spans;
    let text = |column: &[StringCode]| text_size(batch, at(column, row));
    let end = spans.start[row].wrapping_add(spans.duration[row]);
    let status = text(&spans.status_message) + number_size(spans.status[row].into());
    let mut size = 18 + 10 + message_size(status);
    size += if spans.parent_span_id[row].is_zero() { 0 } else { 10 };
    size += text(&spans.trace_state) + text(&spans.name);
    size += number_size(spans.kind[row].into());
    size += fixed_size(spans.start[row]) + fixed_size(end);
    size += attributes_size(batch, &batch.span_attributes, row);
    for count in [&spans.dropped_attributes, &spans.dropped_events, &spans.dropped_links] {
        size += number_size(at(count, row).into());
    }
    let (events, links) = (&batch.events, &batch.links);
    for event in events.range(row) {
        let inner = fixed_size(events.time.get(event).copied().unwrap_or(0))
            + text_size(batch, at(&events.name, event))
            + attributes_size(batch, &events.attributes, event)
            + number_size(at(&events.dropped_attributes, event).into());
        size += message_size(inner);
    }
    for link in links.range(row) {
        let inner = 18
            + 10
            + text_size(batch, at(&links.trace_state, link))
            + attributes_size(batch, &links.attributes, link)
            + number_size(at(&links.dropped_attributes, link).into());
        size += message_size(inner);
    }
    size
}

#[inline]
fn at(column: &[u32], row: usize) -> u32 {
    column.get(row).copied().unwrap_or(0)
}

fn attributes_size(batch: &SpanBatch, list: &AttributeList, owner: usize) -> usize {
    let pair = |attribute: tactus_model::Attribute| {
        let value = match attribute.value(&batch.strings) {
            AnyValueRef::Unset => 0,
            AnyValueRef::String(text) => message_size(text.len()),
            AnyValueRef::Int(number) => 1 + varint_size(number as u64),
            AnyValueRef::Double(_) => 9,
            AnyValueRef::Bool(_) => 2,
            AnyValueRef::Encoded(message) => message.len(),
        };
        message_size(text_size(batch, attribute.key) + message_size(value))
    };
    list.of(owner).map(pair).sum()
}

/// A field of text, which is left out if empty.
#[inline]
fn text_size(batch: &SpanBatch, code: StringCode) -> usize {
    if code == 0 { 0 } else { message_size(batch.strings.get(code).len()) }
}

/// A field with a length. All fields of these messages have a number below 16, so that the tag is one byte.
#[inline]
fn message_size(length: usize) -> usize {
    1 + varint_size(length as u64) + length
}

#[inline]
fn number_size(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + varint_size(number) }
}

#[inline]
fn fixed_size(number: u64) -> usize {
    if number == 0 { 0 } else { 9 }
}

#[inline]
fn varint_size(number: u64) -> usize {
    (70 - (number | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_take_seven_bits_a_byte() {
        for (number, size) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)]
        {
            assert_eq!(varint_size(number), size, "{number}");
        }
    }
}
