//! Batches for tests, from plain descriptions of spans.

use proptest::prelude::*;
use tactus_model::{
    Attribute, AttributeList, DictionaryBuilder, SpanBatch, SpanId, TraceId, ValueType,
    any_value::{self, AnyValueRef},
    wire::put_message_field,
};

/// A value in a readable form.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unset,
    Text(Vec<u8>),
    Int(i64),
    Double(f64),
    Bool(bool),
    Array(Vec<Value>),
    Bytes(Vec<u8>),
}

pub(super) type Attributes = Vec<(&'static str, Value)>;

/// A span in a readable form, its resource and scope with it.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleSpan {
    pub(super) resource: (Attributes, u32),
    pub(super) scope: (&'static str, &'static str, Attributes, u32),
    pub(super) id: u8,
    pub(super) parent: u8,
    pub(super) start: u64,
    pub(super) duration: u64,
    pub(super) name: Vec<u8>,
    pub(super) kind: u8,
    pub(super) status: (u8, &'static str),
    pub(super) trace_state: &'static str,
    pub(super) dropped: (u32, u32, u32),
    pub(super) attributes: Attributes,
    pub(super) events: Vec<(u64, &'static str, Attributes)>,
    /// Trace (0: this one), span, attributes.
    pub(super) links: Vec<(u8, u8, Attributes)>,
}

pub(super) fn trace_id(number: u8) -> TraceId {
    TraceId::from_slice(&[number, 0, 0xab])
}

pub(super) fn span_id(number: u8) -> SpanId {
    SpanId::from_slice(&[number])
}

/// The batch of these traces, whose ids ascend; each resource and scope has as many rows as spans, or one.
pub(super) fn batch(traces: &[(u8, Vec<SampleSpan>)]) -> SpanBatch {
    let (mut batch, mut strings) = (SpanBatch::default(), DictionaryBuilder::default());
    for (row, (id, spans)) in traces.iter().enumerate() {
        batch.traces.ids.push(trace_id(*id));
        for span in spans {
            batch.spans.trace.push(row as u32);
            push_resource_and_scope(&mut batch, &mut strings, span);
            push_span(&mut batch, &mut strings, span, *id);
        }
    }
    batch.strings = strings.finish();
    batch
}

fn push_resource_and_scope(
    batch: &mut SpanBatch,
    strings: &mut DictionaryBuilder,
    span: &SampleSpan,
) {
    batch.spans.resource.push(batch.resources.len() as u32);
    push_attributes(&mut batch.resources.attributes, strings, &span.resource.0);
    batch.resources.dropped_attributes.push(span.resource.1);
    let (name, version, attributes, dropped) = &span.scope;
    batch.spans.scope.push(batch.scopes.len() as u32);
    batch.scopes.name.push(strings.intern(name.as_bytes()));
    batch.scopes.version.push(strings.intern(version.as_bytes()));
    push_attributes(&mut batch.scopes.attributes, strings, attributes);
    batch.scopes.dropped_attributes.push(*dropped);
}

fn push_span(batch: &mut SpanBatch, strings: &mut DictionaryBuilder, span: &SampleSpan, trace: u8) {
    let columns = &mut batch.spans;
    columns.span_id.push(span_id(span.id));
    columns.parent_span_id.push(span_id(span.parent));
    columns.start.push(span.start);
    columns.duration.push(span.duration);
    columns.name.push(strings.intern(&span.name));
    columns.kind.push(span.kind);
    columns.status.push(span.status.0);
    columns.status_message.push(strings.intern(span.status.1.as_bytes()));
    columns.trace_state.push(strings.intern(span.trace_state.as_bytes()));
    columns.dropped_attributes.push(span.dropped.0);
    columns.dropped_events.push(span.dropped.1);
    columns.dropped_links.push(span.dropped.2);
    push_attributes(&mut batch.span_attributes, strings, &span.attributes);
    for (time, name, attributes) in &span.events {
        batch.events.time.push(*time);
        batch.events.name.push(strings.intern(name.as_bytes()));
        batch.events.dropped_attributes.push(9);
        push_attributes(&mut batch.events.attributes, strings, attributes);
    }
    let end = batch.events.time.len() as u32;
    batch.events.starts.push(end);
    for (linked, id, attributes) in &span.links {
        batch.links.trace_id.push(trace_id(if *linked == 0 { trace } else { *linked }));
        batch.links.span_id.push(span_id(*id));
        batch.links.trace_state.push(strings.intern(b"l=1"));
        batch.links.dropped_attributes.push(7);
        push_attributes(&mut batch.links.attributes, strings, attributes);
    }
    let end = batch.links.trace_id.len() as u32;
    batch.links.starts.push(end);
}

fn push_attributes(
    list: &mut AttributeList,
    strings: &mut DictionaryBuilder,
    attributes: &Attributes,
) {
    for (key, value) in attributes {
        let key = strings.intern(key.as_bytes());
        let (value_type, payload) = match value {
            Value::Unset => (ValueType::Unset, 0),
            Value::Text(text) => (ValueType::String, u64::from(strings.intern(text))),
            Value::Int(number) => (ValueType::Int, *number as u64),
            Value::Double(number) => (ValueType::Double, number.to_bits()),
            Value::Bool(flag) => (ValueType::Bool, u64::from(*flag)),
            Value::Array(_) | Value::Bytes(_) => {
                let message = encoded(value);
                let decoded = any_value::decode(&message).unwrap();
                (any_value::classify(decoded).unwrap(), u64::from(strings.intern(&message)))
            }
        };
        list.push(Attribute { key, value_type, payload });
    }
    list.end_owner();
}

/// The AnyValue message of a value.
pub(super) fn encoded(value: &Value) -> Vec<u8> {
    let mut message = Vec::new();
    match value {
        Value::Unset => {}
        Value::Text(text) => any_value::encode(&mut message, AnyValueRef::String(text)),
        Value::Int(number) => any_value::encode(&mut message, AnyValueRef::Int(*number)),
        Value::Double(number) => any_value::encode(&mut message, AnyValueRef::Double(*number)),
        Value::Bool(flag) => any_value::encode(&mut message, AnyValueRef::Bool(*flag)),
        Value::Bytes(bytes) => put_message_field(&mut message, 7, bytes),
        Value::Array(elements) => {
            let elements: Vec<Vec<u8>> = elements.iter().map(encoded).collect();
            let elements = elements.iter().map(|element| AnyValueRef::Encoded(element));
            message = any_value::encode_array(elements);
        }
    }
    message
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        prop::sample::select(vec!["", "a", "b", "a longer text than sixteen bytes", "ä"])
            .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    let double = prop_oneof![Just(f64::NAN), Just(-0.0), -2.0f64..2.0];
    let scalar = prop_oneof![
        4 => text.prop_map(Value::Text),
        2 => any::<i64>().prop_map(Value::Int),
        1 => double.prop_map(Value::Double),
        1 => any::<bool>().prop_map(Value::Bool),
    ];
    let array = |element: BoxedStrategy<Value>| {
        prop::collection::vec(element, 0..4).prop_map(Value::Array).boxed()
    };
    prop_oneof![
        12 => scalar.clone(),
        1 => Just(Value::Unset),
        1 => prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::Bytes),
        1 => array(prop::sample::select(vec!["a", "b", "new"]).prop_map(|text| Value::Text(text.into())).boxed()),
        1 => array(any::<i64>().prop_map(Value::Int).boxed()),
        1 => array((-1.0f64..1.0).prop_map(Value::Double).boxed()),
        1 => array(any::<bool>().prop_map(Value::Bool).boxed()),
        1 => array(scalar.boxed()),
    ]
}

fn attributes(keys: &'static [&'static str], most: usize) -> impl Strategy<Value = Attributes> {
    prop::collection::vec((prop::sample::select(keys), value()), 0..=most)
}

fn span() -> impl Strategy<Value = SampleSpan> {
    let resource = prop_oneof![
        attributes(&["service.name", "cluster", "k8s.pod.name", "ip", "x", "y"], 4),
        prop::sample::select(vec![
            vec![("service.name", Value::Text(b"web".to_vec())), ("x", Value::Int(1))],
            vec![("x", Value::Int(1)), ("service.name", Value::Text(b"web".to_vec()))],
            vec![],
        ]),
    ];
    let scope = (
        prop::sample::select(vec!["", "otel"]),
        prop::sample::select(vec!["", "1.2"]),
        attributes(&["s"], 1),
        0u32..2,
    );
    let time = prop_oneof![Just(0u64), 1_000u64..2_000, any::<u64>()];
    let numbers = (0u8..8, 0u8..8, time, any::<u64>(), 0u8..6);
    let texts = (
        prop::sample::select(vec!["", "GET /", "op"]),
        prop_oneof![4 => Just((0u8, "")), 1 => Just((2u8, "boom"))],
        prop::sample::select(vec!["", "a=b"]),
        (0u32..2, 0u32..2, prop::sample::select(vec![0, u32::MAX])),
    );
    let lists = (
        attributes(&["http.method", "http.status_code", "http.url", "region", "k", "l", ""], 6),
        prop::collection::vec(
            (any::<u64>(), prop::sample::select(vec!["e", ""]), attributes(&["ev"], 2)),
            0..3,
        ),
        prop::collection::vec(
            (
                0u8..2,
                0u8..3,
                prop_oneof![
                    attributes(&["li"], 2),
                    Just(vec![("opentracing.ref_type", Value::Text(b"child_of".to_vec()))])
                ],
            ),
            0..2,
        ),
    );
    ((resource, 0u32..2), scope, numbers, texts, lists).prop_map(
        |(
            resource,
            scope,
            (id, parent, start, duration, kind),
            (name, status, trace_state, dropped),
            lists,
        )| {
            let (attributes, events, links) = lists;
            let name = name.as_bytes().to_vec();
            SampleSpan {
                resource,
                scope,
                id,
                parent,
                start,
                duration,
                name,
                kind,
                status,
                trace_state,
                dropped,
                attributes,
                events,
                links,
            }
        },
    )
}

/// Traces with ascending ids; some without a span.
pub(super) fn traces() -> impl Strategy<Value = Vec<(u8, Vec<SampleSpan>)>> {
    let trace = prop::collection::vec(span(), 0..6);
    prop::collection::btree_map(1u8..200, trace, 1..8)
        .prop_map(|traces| traces.into_iter().collect())
}
