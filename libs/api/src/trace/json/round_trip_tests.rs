//! Messages are the same after writing and reading.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tactus_otlp_json::decode_export_request;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, Link};
use tactus_proto::otlp::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, Resource, ResourceSpans,
    ScopeSpans, Span, Status,
};

use super::tests::otlp_elements;

fn text() -> impl Strategy<Value = Bytes> {
    "[a-z\"\\\\\u{0}\u{e9}\u{1f600}]{0,5}".prop_map(Bytes::from)
}

fn id(length: usize) -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(Bytes::new()), vec(any::<u8>(), length).prop_map(Bytes::from)]
}

/// Doubles without NaN, which is not equal to itself.
fn double() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        text().prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|flag| Some(Value::BoolValue(flag))),
        any::<i64>().prop_map(|number| Some(Value::IntValue(number))),
        double().prop_map(|number| Some(Value::DoubleValue(number))),
        any::<[u8; 4]>().prop_map(|bytes| Some(Value::BytesValue(bytes.to_vec().into()))),
    ];
    leaf.prop_map(|value| AnyValue { value }).prop_recursive(3, 8, 3, |inner| {
        let array =
            vec(inner.clone(), 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values }));
        let pair = (text(), inner).prop_map(|(key, value)| KeyValue { key, value: Some(value) });
        let list = vec(pair, 0..3).prop_map(|values| Value::KvlistValue(KeyValueList { values }));
        prop_oneof![array, list].prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (text(), value()).prop_map(|(key, value)| KeyValue { key, value: Some(value) });
    vec(pair, 0..3)
}

fn event() -> impl Strategy<Value = Event> {
    (any::<u64>(), text(), attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    (id(16), id(8), text(), attributes(), any::<[u32; 2]>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, [dropped_attributes_count, flags])| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    let status = (text(), any::<i32>()).prop_map(|(message, code)| Status { message, code });
    let ids = (id(16), id(8), id(8));
    let numbers = (any::<i32>(), any::<[u64; 2]>(), any::<[u32; 4]>());
    let lists = (attributes(), vec(event(), 0..3), vec(link(), 0..3));
    (ids, text(), text(), numbers, lists, option::of(status)).prop_map(
        |(ids, trace_state, name, (kind, times, counts), lists, status)| Span {
            trace_id: ids.0,
            span_id: ids.1,
            trace_state,
            parent_span_id: ids.2,
            flags: counts[0],
            name,
            kind,
            start_time_unix_nano: times[0],
            end_time_unix_nano: times[1],
            attributes: lists.0,
            dropped_attributes_count: counts[1],
            events: lists.1,
            dropped_events_count: counts[2],
            links: lists.2,
            dropped_links_count: counts[3],
            status,
        },
    )
}

fn resource_spans() -> impl Strategy<Value = ResourceSpans> {
    let resource =
        (attributes(), any::<u32>()).prop_map(|(attributes, dropped_attributes_count)| Resource {
            attributes,
            dropped_attributes_count,
            ..Resource::default()
        });
    let scope = (text(), text(), attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    let scope_spans = (scope, vec(span(), 1..3)).prop_map(|(scope, spans)| ScopeSpans {
        scope: Some(scope),
        spans,
        ..ScopeSpans::default()
    });
    (resource, vec(scope_spans, 1..3)).prop_map(|(resource, scope_spans)| ResourceSpans {
        resource: Some(resource),
        scope_spans,
        ..ResourceSpans::default()
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(messages in vec(resource_spans(), 0..3)) {
        let json = format!(r#"{{"resourceSpans":[{}]}}"#, otlp_elements(&messages));
        let read = decode_export_request(json.as_bytes()).unwrap();
        prop_assert_eq!(read.resource_spans, messages);
    }
}
