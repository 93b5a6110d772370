//! Spans with everything that spans can have.

use tactus_model::{BatchBuilder, BuilderLimits, SpanBatch, merge::merge, walk::walk_export};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, Link};
use tactus_proto::otlp::{
    AnyValue, ArrayValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, KeyValueList,
    Resource, ResourceSpans, ScopeSpans, Span, Status,
};

fn pair(key: &'static str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}

fn text(key: &'static str, value: &'static str) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

fn array(key: &'static str, values: Vec<Value>) -> KeyValue {
    let values = values.into_iter().map(|value| AnyValue { value: Some(value) }).collect();
    pair(key, Value::ArrayValue(ArrayValue { values }))
}

/// One attribute of each kind.
fn attributes() -> Vec<KeyValue> {
    let list = KeyValueList { values: vec![text("inner", "value")] };
    vec![
        text("http.method", "GET"),
        pair("http.status_code", Value::IntValue(500)),
        pair("ratio", Value::DoubleValue(0.5)),
        pair("flag", Value::BoolValue(true)),
        pair("raw", Value::BytesValue(vec![0, 255].into())),
        pair("list", Value::KvlistValue(list)),
        array("texts", vec![Value::StringValue("a".into()), Value::StringValue("b".into())]),
        array("numbers", vec![Value::IntValue(1), Value::IntValue(2)]),
        array("mixed", vec![Value::IntValue(1), Value::BoolValue(false)]),
        KeyValue { key: "unset".into(), value: None },
    ]
}

fn span(trace: u8, number: u8) -> Span {
    let start = 1_700_000_000_000_000_000 + u64::from(number) * 1_000_000;
    let event = Event {
        time_unix_nano: start + 5,
        name: "exception".into(),
        attributes: vec![text("exception.type", "Error")],
        dropped_attributes_count: 1,
    };
    let link = Link {
        trace_id: vec![9; 16].into(),
        span_id: vec![8; 8].into(),
        trace_state: "a=b".into(),
        attributes: vec![text("link", "yes")],
        ..Link::default()
    };
    let is_first = number == 1;
    Span {
        trace_id: [&[trace; 15][..], &[1]].concat().into(),
        span_id: [&[trace; 7][..], &[number]].concat().into(),
        parent_span_id: if is_first {
            Default::default()
        } else {
            [&[trace; 7][..], &[1]].concat().into()
        },
        trace_state: "w3c=1".into(),
        name: if is_first { "GET /" } else { "query" }.into(),
        kind: i32::from(number % 6),
        start_time_unix_nano: start,
        end_time_unix_nano: start + 100,
        attributes: if is_first { attributes() } else { vec![text("db.system", "sql")] },
        dropped_attributes_count: 2,
        events: vec![event; usize::from(number % 3)],
        dropped_events_count: 3,
        links: vec![link; usize::from(number % 2)],
        dropped_links_count: 4,
        status: Some(Status { code: i32::from(number % 3), message: "why".into() }),
        flags: 1,
    }
}

/// `traces` traces of some spans each.
pub(crate) fn request(traces: u8) -> ExportTraceServiceRequest {
    let resource_spans = (1..=traces)
        .map(|trace| ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name", "shop"), text("k8s.pod.name", "shop-1")],
                dropped_attributes_count: u32::from(trace),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "scope".into(),
                    version: "1.0".into(),
                    attributes: vec![text("scope.kind", "auto")],
                    dropped_attributes_count: 0,
                }),
                spans: (1..=3).map(|number| span(trace, number)).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

/// The spans of an encoded request in order of arrival, as an ingester stores them: runs that are malformed are left out.
/// `None`: the request itself is.
pub(crate) fn spans_of(request: &[u8], max_attribute_bytes: usize) -> Option<SpanBatch> {
    let walk = walk_export(request, |_| {}).ok()?;
    let mut builder = BatchBuilder::new(BuilderLimits { max_attribute_bytes });
    for run in &walk.runs {
        let resource = &request[walk.resources[run.resource as usize].clone()];
        let scope = &request[walk.scopes[run.scope as usize].clone()];
        let mark = builder.mark();
        let spans = &request[run.scope_spans.clone()];
        if builder.append_run(resource, scope, spans, |_, _| true).is_err() {
            builder.rollback(mark);
        }
    }
    Some(builder.finish())
}

/// The spans of [`request`], sorted.
pub(crate) fn sorted(traces: u8) -> SpanBatch {
    use prost::Message;
    let bytes = request(traces).encode_to_vec();
    merge(&[&spans_of(&bytes, 0).expect("the sample is sound")]).0
}
