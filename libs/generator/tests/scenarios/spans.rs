//! The spans of a scenario as a batch.

use std::{sync::Arc, time::Duration};

use base64::Engine;
use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use tactus_model::walk::walk_export;
use tactus_model::{BatchBuilder, BuilderLimits, SelectedBatch, SelectedKeys};
use tactus_proto::otlp::{
    AnyValue, ArrayValue, ExportTraceServiceRequest, KeyValue, KeyValueList, Resource,
    ResourceSpans, ScopeSpans, Span, Status, any_value, span,
};

/// Bytes in base64.
fn decoded(of: &Value) -> Bytes {
    base64::engine::general_purpose::STANDARD.decode(of.as_str().unwrap()).unwrap().into()
}

fn any(value: &Value) -> AnyValue {
    let value = match value {
        Value::Bool(flag) => any_value::Value::BoolValue(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => any_value::Value::IntValue(number),
            None => any_value::Value::DoubleValue(number.as_f64().unwrap()),
        },
        Value::Array(list) => {
            any_value::Value::ArrayValue(ArrayValue { values: list.iter().map(any).collect() })
        }
        Value::Object(map) => match (map.get("$bytes"), map.get("$text")) {
            (Some(bytes), _) => any_value::Value::BytesValue(decoded(bytes)),
            (None, Some(text)) => any_value::Value::StringValue(decoded(text)),
            (None, None) => any_value::Value::KvlistValue(KeyValueList { values: pairs(value) }),
        },
        other => any_value::Value::StringValue(other.as_str().unwrap_or("").to_owned().into()),
    };
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: &Value) -> KeyValue {
    KeyValue { key: key.to_owned().into(), value: Some(any(value)) }
}

/// A map, or a list of pairs.
fn pairs(value: &Value) -> Vec<KeyValue> {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| pair(key, value)).collect(),
        Value::Array(list) => list.iter().map(|of| pair(of[0].as_str().unwrap(), &of[1])).collect(),
        _ => Vec::new(),
    }
}

fn hex(value: &Value) -> Bytes {
    let digits = value.as_str().unwrap_or("").as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect::<Vec<u8>>().into()
}

/// A text; `$text`: one that may be no UTF-8.
fn text(value: &Value) -> Bytes {
    match value.get("$text") {
        Some(text) => decoded(text),
        None => value.as_str().unwrap_or("").to_owned().into(),
    }
}

fn nanoseconds(begin_ms: i64, value: &Value) -> u64 {
    (begin_ms * 1_000_000 + (value.as_f64().unwrap() * 1e6).round() as i64) as u64
}

fn span(of: &Value, begin_ms: i64) -> Span {
    let event = |event: &Value| span::Event {
        name: text(&event[0]),
        time_unix_nano: nanoseconds(begin_ms, &event[1]),
        attributes: pairs(&event[2]),
        ..span::Event::default()
    };
    let link = |link: &Value| span::Link {
        trace_id: hex(&link[0]),
        span_id: hex(&link[1]),
        attributes: pairs(&link[2]),
        ..span::Link::default()
    };
    Span {
        trace_id: hex(&of["trace"]),
        span_id: hex(&of["id"]),
        parent_span_id: hex(&of["parent"]),
        trace_state: text(&of["state"]),
        name: text(&of["name"]),
        kind: of["kind"].as_i64().unwrap() as i32,
        start_time_unix_nano: nanoseconds(begin_ms, &of["start"]),
        end_time_unix_nano: nanoseconds(begin_ms, &of["end"]),
        attributes: pairs(&of["attributes"]),
        events: of["events"].as_array().into_iter().flatten().map(event).collect(),
        links: of["links"].as_array().into_iter().flatten().map(link).collect(),
        status: of["status"]
            .as_i64()
            .map(|code| Status { code: code as i32, message: text(&of["message"]) }),
        ..Span::default()
    }
}

/// The spans of an event that end within the slack of now.
pub(crate) fn batch(
    scenario: &Value,
    event: &Value,
    begin_ms: i64,
    now_ms: i64,
    slack: Duration,
    keys: &Arc<SelectedKeys>,
) -> SelectedBatch {
    let mut groups: Vec<(&str, &str, Vec<Span>)> = Vec::new();
    let (now, slack) = (now_ms * 1_000_000, slack.as_nanos() as i64);
    for of in event["spans"].as_array().into_iter().flatten() {
        let key = (of["resource"].as_str().unwrap(), of["scope"].as_str().unwrap_or(""));
        let span = span(of, begin_ms);
        if (span.end_time_unix_nano as i64 - now).abs() > slack {
            continue;
        }
        let times = of["times"].as_u64().unwrap_or(1) as usize;
        let spans = std::iter::repeat_n(span, times);
        match groups.iter_mut().find(|group| (group.0, group.1) == key) {
            Some(group) => group.2.extend(spans),
            None => groups.push((key.0, key.1, spans.collect())),
        }
    }
    let resource_spans = groups.into_iter().map(|(resource, _, spans)| ResourceSpans {
        resource: Some(Resource {
            attributes: pairs(&scenario["resources"][resource]),
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    });
    let request = ExportTraceServiceRequest { resource_spans: resource_spans.collect() };
    build(&request, keys)
}

fn build(request: &ExportTraceServiceRequest, keys: &Arc<SelectedKeys>) -> SelectedBatch {
    let export = request.encode_to_vec();
    let walk = walk_export(&export, |_| {}).unwrap();
    let mut builder =
        BatchBuilder::selecting(BuilderLimits { max_attribute_bytes: 2048 }, Arc::clone(keys));
    for run in &walk.runs {
        let part = |parts: &[std::ops::Range<usize>], at: u32| {
            parts.get(at as usize).map_or(&[][..], |range| &export[range.clone()])
        };
        let resource = builder.resource(part(&walk.resources, run.resource)).unwrap();
        let scope = builder.scope(part(&walk.scopes, run.scope)).unwrap();
        let spans = &export[run.scope_spans.clone()];
        builder.append_scope_spans(resource, scope, spans, |_, _| true).unwrap();
    }
    builder.finish_selected()
}
