//! What the builder refuses: ids, sizes, full batches; and what it says it holds.

use super::*;
use crate::Dictionary;

fn append(builder: &mut BatchBuilder, spans: &[Vec<u8>]) -> Result<u64, AppendError> {
    let (resource, scope) = (builder.resource(b"")?, builder.scope(b"")?);
    builder.append_scope_spans(resource, scope, &scope_spans(spans), |_, _| true)
}

#[test]
fn spans_with_bad_ids_are_refused_whichever_occurrence_is_bad() {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let repeated = |field, id: &[u8]| {
        let mut message = span(1, 2, 0, "repeated", b"text");
        put_message_field(&mut message, field, id);
        message
    };
    let bad = [
        repeated(1, b""),
        repeated(1, &[1; 8]),
        repeated(1, &[1; 17]),
        repeated(1, &[0; 16]),
        repeated(2, b""),
        repeated(2, &[1; 7]),
        repeated(2, &[1; 16]),
        repeated(2, &[0; 8]),
        Vec::new(),
    ];
    assert_eq!(append(&mut builder, &bad), Ok(0));
    assert_eq!((builder.take_refused_ids(), builder.take_refused_ids()), (9, 0));
    assert!(builder.is_empty());
    let good = [repeated(1, &[3; 16]), repeated(2, &[3; 8])];
    assert_eq!(append(&mut builder, &good), Ok(0));
    assert_eq!((builder.take_refused_ids(), builder.len()), (0, 2));
}

#[test]
fn spans_with_parents_or_links_of_another_length_are_refused() {
    let link = |trace_id: &[u8], span_id: &[u8]| {
        let (mut link, mut message) = (Vec::new(), span(1, 2, 0, "linked", b"text"));
        put_message_field(&mut link, 1, trace_id);
        put_message_field(&mut link, 2, span_id);
        put_message_field(&mut message, 13, &link);
        message
    };
    let child = |parent: &[u8]| {
        let mut message = span(1, 2, 0, "child", b"text");
        put_message_field(&mut message, 4, parent);
        message
    };
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let bad = [child(&[1]), child(&[1; 9]), link(&[1; 2], &[1; 8]), link(&[1; 16], &[1; 7])];
    assert_eq!(append(&mut builder, &bad), Ok(0));
    assert_eq!((builder.take_refused_ids(), builder.len()), (4, 0));
    let good = [child(b""), child(&[0; 8]), link(b"", b""), link(&[1; 16], &[1; 8])];
    assert_eq!(append(&mut builder, &good), Ok(0));
    assert_eq!((builder.take_refused_ids(), builder.len()), (0, 4));
}

#[test]
fn repeated_status_is_merged_as_protobuf_merges_messages() {
    let mut message = span(1, 2, 0, "a", b"text");
    put_message_field(&mut message, 15, b"\x12\x03msg");
    put_message_field(&mut message, 15, b"\x18\x02");
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    append(&mut builder, &[message]).unwrap();
    let batch = builder.finish();
    assert_eq!(batch.strings.get(batch.spans.status_message[0]), b"msg");
    assert_eq!(batch.spans.status[0], 2);
}

#[test]
fn refused_ids_of_a_push_outlive_its_rollback_but_not_the_next_mark() {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let mark = builder.mark();
    append(&mut builder, &[Vec::new()]).unwrap();
    builder.rollback(mark);
    assert_eq!(builder.take_refused_ids(), 1);
    append(&mut builder, &[Vec::new()]).unwrap();
    builder.mark();
    assert_eq!(builder.take_refused_ids(), 0);
}

#[test]
fn push_of_empty_links_events_or_attributes_is_too_large() {
    let mut event = Vec::new();
    put_message_field(&mut event, 11, &b"\x1a\x00".repeat(1_000_000));
    for empty in [b"\x6a\x00", b"\x5a\x00", b"\x4a\x00"]
        .map(|empty| empty.repeat(1_000_000))
        .iter()
        .chain([&event])
    {
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        let mark = builder.mark();
        let mut message = span(1, 2, 0, "a", b"b");
        message.extend_from_slice(empty);
        assert_eq!(append(&mut builder, &[message.clone()]), Err(AppendError::TooLarge));
        assert!(builder.heap_bytes() < 10 * message.len() + 2_000_000);
        builder.rollback(mark);
        assert!(builder.heap_bytes() < 1_000_000);
        builder.mark();
        assert_eq!(append(&mut builder, &[span(1, 2, 0, "a", b"b")]), Ok(0));
    }
}

#[test]
fn resource_of_empty_attributes_is_refused_and_one_of_the_smallest_is_not() {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    builder.mark();
    let refused = builder.resource(&b"\x0a\x00".repeat(1_000_000));
    assert_eq!(refused, Err(AppendError::Malformed(WireError::Hollow)));
    assert!(builder.heap_bytes() < 12_000_000);
    assert_eq!(builder.resource(&b"\x0a\x05\x0a\x01k\x12\x00".repeat(100_000)), Ok(0));
}

#[test]
fn legitimate_events_and_links_are_never_too_many() {
    let (mut message, mut event, mut link) = (span(1, 2, 0, "a", b"b"), vec![], vec![]);
    put_fixed64_field(&mut event, 1, 1);
    put_message_field(&mut link, 2, &[1; 8]);
    for _ in 0..200_000 {
        put_message_field(&mut message, 11, &event);
        put_message_field(&mut message, 13, &link);
    }
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    builder.mark();
    assert_eq!(append(&mut builder, &[message]), Ok(0));
}

#[test]
fn full_dictionary_takes_nothing_more() {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
    // Zeroed memory that nobody touches is not there.
    let bytes = (1 << 30) + 1;
    let parts = (vec![0u8; bytes].into(), vec![0, 0, bytes as u32].into());
    builder.reader.strings.swap_dictionary(&mut Dictionary::from_parts(parts.0, parts.1).unwrap());
    assert_eq!(builder.resource(b"\x10\x01"), Err(AppendError::Full));
    assert_eq!(builder.scope(b"\x20\x01"), Err(AppendError::Full));
    let spans = scope_spans(&[span(1, 2, 0, "a", b"b")]);
    let result = builder.append_scope_spans(resource, scope, &spans, |_, _| true);
    assert_eq!((result, builder.len()), (Err(AppendError::Full), 0));
}

#[test]
fn heap_bytes_counts_resources_and_scopes() {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let before = builder.heap_bytes();
    let mark = builder.mark();
    for number in 0..100u32 {
        let mut message = vec![0x7a, 0x7f];
        message.resize(2 + 127, b'x');
        put_varint_field(&mut message, 16, u64::from(number) + 1);
        builder.resource(&message).unwrap();
        builder.scope(&message).unwrap();
    }
    let after = builder.heap_bytes();
    assert!(after - before >= 2 * 100 * 131, "{before} {after}");
    builder.rollback(mark);
    assert!(builder.heap_bytes() <= after - 2 * 100 * 131);
}
