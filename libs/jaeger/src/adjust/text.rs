//! Makes text of what should be text.

use bytes::Bytes;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, KeyValue, ResourceSpans, Span};

/// Replaces bytes that are not UTF-8 by U+FFFD wherever protobuf has a string. Strict clients of gRPC refuse a whole
/// message for one such byte.
pub fn replace_invalid_text(trace: &mut [ResourceSpans]) {
    for resource_spans in trace {
        text(&mut resource_spans.schema_url);
        if let Some(resource) = &mut resource_spans.resource {
            attributes(&mut resource.attributes);
        }
        for scope_spans in &mut resource_spans.scope_spans {
            text(&mut scope_spans.schema_url);
            if let Some(scope) = &mut scope_spans.scope {
                text(&mut scope.name);
                text(&mut scope.version);
                attributes(&mut scope.attributes);
            }
            scope_spans.spans.iter_mut().for_each(span);
        }
    }
}

fn span(span: &mut Span) {
    text(&mut span.name);
    text(&mut span.trace_state);
    attributes(&mut span.attributes);
    for event in &mut span.events {
        text(&mut event.name);
        attributes(&mut event.attributes);
    }
    for link in &mut span.links {
        text(&mut link.trace_state);
        attributes(&mut link.attributes);
    }
    if let Some(status) = &mut span.status {
        text(&mut status.message);
    }
}

fn attributes(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        text(&mut attribute.key);
        attribute.value.iter_mut().for_each(value);
    }
}

/// The depth of values is bounded where they are received and read.
fn value(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::StringValue(string)) => text(string),
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(self::value),
        Some(Value::KvlistValue(list)) => attributes(&mut list.values),
        _ => {}
    }
}

pub(super) fn text(bytes: &mut Bytes) {
    if std::str::from_utf8(bytes).is_err() {
        *bytes = String::from_utf8_lossy(bytes).into_owned().into();
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
    use tactus_proto::otlp::{ArrayValue, InstrumentationScope, KeyValueList, Resource};
    use tactus_proto::otlp::{ScopeSpans, Status, span};

    use super::*;

    const BAD: Bytes = Bytes::from_static(b"a\xff");

    fn bad(value: Value) -> KeyValue {
        KeyValue { key: BAD, value: Some(AnyValue { value: Some(value) }) }
    }

    #[test]
    fn every_string_is_text_and_bytes_stay() {
        let inner = vec![AnyValue { value: Some(Value::StringValue(BAD)) }];
        let list =
            KeyValueList { values: vec![bad(Value::ArrayValue(ArrayValue { values: inner }))] };
        let all = || vec![bad(Value::StringValue(BAD)), bad(Value::KvlistValue(list.clone()))];
        let event = span::Event { name: BAD, attributes: all(), ..Default::default() };
        let link = span::Link { trace_state: BAD, attributes: all(), ..Default::default() };
        let span = Span {
            name: BAD,
            trace_state: BAD,
            span_id: BAD,
            attributes: all(),
            events: vec![event],
            links: vec![link],
            status: Some(Status { message: BAD, ..Default::default() }),
            ..Default::default()
        };
        let scope = InstrumentationScope {
            name: BAD,
            version: BAD,
            attributes: all(),
            ..Default::default()
        };
        let scope_spans = ScopeSpans { scope: Some(scope), spans: vec![span], schema_url: BAD };
        let mut trace = vec![ResourceSpans {
            resource: Some(Resource { attributes: all(), ..Default::default() }),
            scope_spans: vec![scope_spans],
            schema_url: BAD,
            ..Default::default()
        }];
        replace_invalid_text(&mut trace);
        let span = &trace[0].scope_spans[0].spans[0];
        assert_eq!(span.span_id, BAD);
        assert_eq!(span.name, "a\u{fffd}");
        let bytes = TracesData { resource_spans: trace }.encode_to_vec();
        let left = bytes.windows(2).filter(|pair| *pair == BAD).count();
        assert_eq!(left, 1, "the id alone");
    }
}
