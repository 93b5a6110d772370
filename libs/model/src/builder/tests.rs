use super::*;
use crate::{
    SpanId, ValueType,
    any_value::{self, AnyValueRef},
    wire::{MAX_DEPTH, put_message_field},
};
use crate::{
    any_value::encode_array,
    merge::merge,
    otlp::encode_traces_data,
    walk::walk_export,
    wire::{put_bytes_field, put_fixed64_field, put_varint_field},
};
use proptest::prelude::*;

mod limits;
mod selected;
mod undo;

fn key_value(key: &str, value: AnyValueRef<'_>) -> Vec<u8> {
    let (mut pair, mut encoded) = (Vec::new(), Vec::new());
    put_bytes_field(&mut pair, 1, key.as_bytes());
    any_value::encode(&mut encoded, value);
    put_message_field(&mut pair, 2, &encoded);
    pair
}

/// A span message with two attributes, an event and a link.
fn span(trace: u8, id: u8, parent: u8, name: &str, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_message_field(&mut out, 1, &[trace; 16]);
    put_message_field(&mut out, 2, &[id; 8]);
    if parent > 0 {
        put_message_field(&mut out, 4, &[parent; 8]);
    }
    put_bytes_field(&mut out, 5, name.as_bytes());
    put_varint_field(&mut out, 6, 2);
    put_fixed64_field(&mut out, 7, 1_000 + u64::from(id));
    put_fixed64_field(&mut out, 8, 2_000);
    put_message_field(&mut out, 9, &key_value("text", AnyValueRef::String(text)));
    let array = encode_array([AnyValueRef::Int(1), AnyValueRef::Int(2)].into_iter());
    put_message_field(&mut out, 9, &key_value("list", AnyValueRef::Encoded(&array)));
    let (mut event, mut link) = (Vec::new(), Vec::new());
    put_fixed64_field(&mut event, 1, 1_500);
    put_bytes_field(&mut event, 2, b"log");
    put_message_field(&mut event, 3, &key_value("n", AnyValueRef::Double(0.5)));
    put_message_field(&mut out, 11, &event);
    put_message_field(&mut link, 1, &[9; 16]);
    put_message_field(&mut link, 2, &[9; 8]);
    put_message_field(&mut out, 13, &link);
    let mut status = Vec::new();
    put_varint_field(&mut status, 3, 2);
    put_message_field(&mut out, 15, &status);
    out
}

fn scope_spans(spans: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for span in spans {
        put_message_field(&mut out, 2, span);
    }
    out
}

fn resource(service: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let pair = key_value("service.name", AnyValueRef::String(service.as_bytes()));
    put_message_field(&mut out, 1, &pair);
    out
}

fn batch_of(spans: &[Vec<u8>]) -> SpanBatch {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let resource = builder.resource(&resource("shop")).unwrap();
    let scope = builder.scope(b"\x0a\x03lib").unwrap();
    builder.append_scope_spans(resource, scope, &scope_spans(spans), |_, _| true).unwrap();
    builder.finish()
}

/// Reads an encoded TracesData back into a batch.
fn read_back(request: &[u8]) -> SpanBatch {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let walk = walk_export(request, |_| {}).unwrap();
    for run in &walk.runs {
        let resource = &request[walk.resources[run.resource as usize].clone()];
        let resource = builder.resource(resource).unwrap();
        let scope = builder.scope(&request[walk.scopes[run.scope as usize].clone()]).unwrap();
        let spans = &request[run.scope_spans.clone()];
        builder.append_scope_spans(resource, scope, spans, |_, _| true).unwrap();
    }
    builder.finish()
}

#[test]
fn builder_that_goes_on_makes_the_same_of_the_same_spans() {
    let mut builder = BatchBuilder::new(BuilderLimits { max_attribute_bytes: 6 });
    let mut run = Vec::new();
    put_message_field(&mut run, 2, &span(1, 1, 0, "name", b"a long text"));
    put_message_field(&mut run, 2, &span(2, 2, 1, "other", b"text"));
    let mut batch = || {
        builder.append_run(b"", b"", &run, |_, _| true).unwrap();
        builder.finish_and_go_on()
    };
    let (first, second) = (batch(), batch());
    assert_eq!((first.len(), first.strings.find(b"a long")), (2, second.strings.find(b"a long")));
    assert_eq!(first, second);
    assert!(builder.is_empty());
}

#[test]
fn numbers_of_kinds_and_states_are_kept_as_far_as_a_column_holds_them() {
    let span_of = |kind: u64, code: u64| {
        let mut out = span(1, 1, 0, "odd", b"");
        put_varint_field(&mut out, 6, kind);
        let mut status = Vec::new();
        put_varint_field(&mut status, 3, code);
        put_message_field(&mut out, 15, &status);
        out
    };
    let batch = batch_of(&[span_of(9, 7), span_of(255, 255), span_of(256, u64::MAX)]);
    assert_eq!(
        (&batch.spans.kind[..], &batch.spans.status[..]),
        (&[9, 255, 0][..], &[7, 255, 0][..])
    );
}

#[test]
fn span_becomes_a_row_with_its_attributes_events_and_links() {
    let batch = batch_of(&[span(1, 2, 3, "get", b"hello")]);
    let spans = &batch.spans;
    assert_eq!(batch.traces.ids[0], TraceId([1; 16]));
    assert_eq!((spans.span_id[0], spans.parent_span_id[0]), (SpanId([2; 8]), SpanId([3; 8])));
    assert_eq!((spans.start[0], spans.duration[0]), (1_002, 998));
    assert_eq!((spans.kind[0], spans.status[0]), (2, 2));
    assert_eq!(batch.strings.get(spans.name[0]), b"get");
    let attributes: Vec<_> = batch.span_attributes.of(0).collect();
    assert_eq!(attributes[0].value(&batch.strings), AnyValueRef::String(b"hello"));
    assert_eq!(attributes[1].value_type, ValueType::IntArray);
    assert_eq!((batch.events.range(0), batch.events.time[0]), (0..1, 1_500));
    assert_eq!(batch.links.trace_id[0], TraceId([9; 16]));
    assert_eq!(batch.service_name(0, batch.strings.find(b"service.name")), {
        batch.strings.find(b"shop").unwrap()
    });
}

#[test]
fn long_values_are_cut_at_a_character_boundary() {
    let mut builder = BatchBuilder::new(BuilderLimits { max_attribute_bytes: 4 });
    let resource = builder.resource(&resource("s")).unwrap();
    let scope = builder.scope(b"").unwrap();
    let spans = scope_spans(&[span(1, 2, 0, "a long name is no attribute", "abcé".as_bytes())]);
    builder.append_scope_spans(resource, scope, &spans, |_, _| true).unwrap();
    // `service.name` and `text`'s value; the key `text` and `list` have exactly four bytes.
    assert_eq!(builder.truncated_attributes(), 2);
    let batch = builder.finish();
    let text = batch.span_attributes.at(0).value(&batch.strings);
    assert_eq!(text, AnyValueRef::String(b"abc"));
}

#[test]
fn too_deep_values_lose_their_span_only() {
    let mut deep = Vec::new();
    any_value::encode(&mut deep, AnyValueRef::Int(1));
    for _ in 0..200 {
        deep = encode_array(std::iter::once(AnyValueRef::Encoded(&deep)));
    }
    let mut bad = span(1, 4, 0, "bad", b"");
    put_message_field(&mut bad, 9, &key_value("deep", AnyValueRef::Encoded(&deep)));
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let spans = scope_spans(&[span(1, 2, 0, "a", b"x"), bad, span(1, 3, 0, "b", b"y")]);
    let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
    assert_eq!(builder.append_scope_spans(resource, scope, &spans, |_, _| true), Ok(1));
    let batch = builder.finish();
    assert_eq!(batch.spans.span_id.as_slice(), [SpanId([2; 8]), SpanId([3; 8])]);
    assert_eq!((batch.span_attributes.len(), batch.events.time.len()), (4, 2));
}

/// A value of so many lists within one another.
fn nested(levels: usize) -> Vec<u8> {
    let mut value = Vec::new();
    any_value::encode(&mut value, AnyValueRef::Int(1));
    for level in 0..levels {
        value = match level % 2 {
            0 => encode_array(std::iter::once(AnyValueRef::Encoded(&value))),
            _ => {
                let (mut pair, mut list) = (Vec::new(), Vec::new());
                put_message_field(&mut pair, 2, &value);
                put_message_field(&mut list, 1, &pair);
                let mut outer = Vec::new();
                put_message_field(&mut outer, 6, &list);
                outer
            }
        };
    }
    value
}

#[test]
fn deepest_accepted_value_can_be_decoded_by_everybody_and_the_next_one_is_named() {
    use prost::Message as _;
    use tactus_proto::otlp::ExportTraceServiceRequest;
    for (levels, refused) in [(MAX_DEPTH, 0), (MAX_DEPTH + 1, 1)] {
        let mut deep = Vec::new();
        put_message_field(&mut deep, 3, &key_value("deep", AnyValueRef::Encoded(&nested(levels))));
        let mut in_event = span(1, 4, 0, "bad", b"");
        put_message_field(&mut in_event, 11, &deep);
        let spans = scope_spans(&[span(1, 2, 0, "a", b"x"), in_event]);
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        assert_eq!(builder.append_run(b"", b"", &spans, |_, _| true), Ok(refused));
        assert_eq!(builder.take_too_deep_key(), (refused > 0).then(|| b"deep".to_vec()));
        assert_eq!(builder.take_too_deep_key(), None);
        let data = encode_traces_data(&merge(&[&builder.finish()]).0);
        assert!(ExportTraceServiceRequest::decode(data.as_slice()).is_ok());
    }
}

#[test]
fn owner_that_is_nested_too_deeply_costs_its_own_spans_only() {
    let mut deep = Vec::new();
    let value = nested(MAX_DEPTH + 1);
    put_message_field(&mut deep, 1, &key_value("deep", AnyValueRef::Encoded(&value)));
    let spans = scope_spans(&[span(1, 2, 0, "a", b"x"), span(1, 3, 0, "b", b"y")]);
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    assert_eq!(builder.append_run(&deep, b"", &spans, |_, _| true), Ok(2));
    assert_eq!(builder.take_too_deep_key(), Some(b"deep".to_vec()));
    assert_eq!(builder.append_run(b"", b"", &spans, |_, _| true), Ok(0));
    let mut deep = Vec::new();
    put_message_field(&mut deep, 3, &key_value("scope", AnyValueRef::Encoded(&value)));
    assert_eq!(builder.append_run(b"", &deep, &spans, |_, _| true), Ok(2));
    assert_eq!(builder.take_too_deep_key(), Some(b"scope".to_vec()));
    assert_eq!(builder.finish().len(), 2);
}

#[test]
fn rollback_leaves_no_trace_of_what_was_appended() {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let (resource_row, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
    let first = scope_spans(&[span(1, 2, 0, "a", b"x")]);
    builder.append_scope_spans(resource_row, scope, &first, |_, _| true).unwrap();
    let mark = builder.mark();
    let other = builder.resource(&resource("new")).unwrap();
    let mut broken = scope_spans(&[span(5, 6, 0, "b", b"y")]);
    broken.extend_from_slice(&[0x12, 0x7f]);
    assert!(builder.append_scope_spans(other, scope, &broken, |_, _| true).is_err());
    builder.rollback(mark);
    builder
        .append_scope_spans(
            resource_row,
            scope,
            &scope_spans(&[span(5, 7, 0, "c", b"z")]),
            |_, _| true,
        )
        .unwrap();
    let batch = builder.finish();
    assert_eq!(batch.traces.ids.as_slice(), [TraceId([1; 16]), TraceId([5; 16])]);
    assert_eq!(batch.spans.trace.as_slice(), [0, 1]);
    assert_eq!((batch.resources.len(), batch.len(), batch.links.trace_id.len()), (1, 2, 2));
}

#[test]
fn refused_traces_are_not_appended() {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
    let spans = scope_spans(&[span(1, 2, 0, "a", b"x"), span(3, 4, 0, "b", b"y")]);
    builder
        .append_scope_spans(resource, scope, &spans, |trace, _| trace != TraceId([1; 16]))
        .unwrap();
    assert_eq!(builder.finish().traces.ids.as_slice(), [TraceId([3; 16])]);
}

#[test]
fn otlp_round_trip_keeps_every_column() {
    let batch = batch_of(&[span(1, 2, 3, "get", b"hello"), span(4, 5, 0, "put", b"\xff\x00")]);
    assert_eq!(read_back(&encode_traces_data(&batch)), batch);
}

proptest! {
    #[test]
    fn append_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut builder = BatchBuilder::new(BuilderLimits { max_attribute_bytes: 8 });
        let mark = builder.mark();
        let _ = builder.resource(&bytes);
        let _ = builder.scope(&bytes);
        let _ = builder.append_scope_spans(0, 0, &bytes, |_, _| true);
        builder.rollback(mark);
        prop_assert_eq!(builder.len(), 0);
    }

    #[test]
    fn merge_sorts_and_keeps_each_span_once(
        spans in proptest::collection::vec((1u8..6, 1u8..20), 1..40),
        cuts in proptest::collection::vec(0usize..40, 0..4),
    ) {
        let messages: Vec<_> =
            spans.iter().map(|&(trace, id)| span(trace, id, 0, "n", &[id; 3])).collect();
        let mut parts = Vec::new();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(messages.len())).collect();
        cuts.extend([0, messages.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            parts.push(batch_of(&messages[pair[0]..pair[1]]));
        }
        let (merged, stats) = merge(&parts.iter().collect::<Vec<_>>());
        prop_assert!(merged.is_sorted());
        let mut expected = spans.clone();
        expected.sort_unstable();
        expected.dedup();
        let mut got: Vec<_> = (0..merged.len())
            .map(|row| {
                (merged.traces.ids[merged.spans.trace[row] as usize].0[0], merged.spans.span_id[row].0[0])
            })
            .collect();
        got.sort_unstable();
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(stats.duplicate_spans as usize, spans.len() - expected.len());
        prop_assert_eq!(merged.resources.len(), 1);
        for row in 0..merged.len() {
            let id = merged.spans.span_id[row].0[0];
            let text = merged.span_attributes.of(row).next().unwrap();
            prop_assert_eq!(text.value(&merged.strings), AnyValueRef::String(&[id; 3]));
        }
        // Codes may differ: strings are met in another order.
        let otlp = encode_traces_data(&merged);
        prop_assert_eq!(&encode_traces_data(&merge(&[&merged]).0), &otlp);
        let middle = merged.traces.ids[merged.traces.ids.len() / 2];
        let slices = [true, false].map(|low| crate::merge::gather_traces(&[&merged], |id| (id < middle) == low));
        let (joined, _) = merge(&slices.iter().collect::<Vec<_>>());
        prop_assert_eq!(encode_traces_data(&joined), otlp);
    }
}
