//! Text of what should be text: strict clients refuse a whole protobuf message for one string that is not UTF-8.

use std::borrow::Cow;

use bytes::Bytes;
use tactus_model::wire::{FieldValue, Reader, WireError, put_message_field};

use super::{CombinedTrace, ResourceGroup, ScopeGroup};

/// The messages of a trace that have strings, or messages with strings.
#[derive(Clone, Copy)]
enum Message {
    Resource,
    Scope,
    Span,
    Event,
    Link,
    Status,
    Attribute,
    Value,
    Values,
    Attributes,
}

/// What a field with a length is.
enum Part {
    Text,
    Nested(Message),
    Other,
}

/// By the numbers of OTLP's fields.
fn part(message: Message, field: u32) -> Part {
    match (message, field) {
        (Message::Scope | Message::Attribute | Message::Value, 1)
        | (Message::Scope | Message::Event | Message::Status, 2)
        | (Message::Span | Message::Link, 3)
        | (Message::Span, 5) => Part::Text,
        (Message::Resource | Message::Attributes, 1)
        | (Message::Scope | Message::Event, 3)
        | (Message::Link, 4)
        | (Message::Span, 9) => Part::Nested(Message::Attribute),
        (Message::Span, 11) => Part::Nested(Message::Event),
        (Message::Span, 13) => Part::Nested(Message::Link),
        (Message::Span, 15) => Part::Nested(Message::Status),
        (Message::Attribute, 2) | (Message::Values, 1) => Part::Nested(Message::Value),
        (Message::Value, 5) => Part::Nested(Message::Values),
        (Message::Value, 6) => Part::Nested(Message::Attributes),
        _ => Part::Other,
    }
}

impl CombinedTrace {
    /// The trace with U+FFFD for what is not UTF-8 in its strings.
    pub fn with_valid_text(&self) -> Cow<'_, Self> {
        let is_valid = |group: &ResourceGroup| {
            is_text(&group.resource, Message::Resource)
                && group.scopes.iter().all(|group| {
                    is_text(&group.scope, Message::Scope)
                        && group.spans.iter().all(|span| is_text(span, Message::Span))
                })
        };
        if self.resources.iter().all(is_valid) {
            return Cow::Borrowed(self);
        }
        let scope = |group: &ScopeGroup| ScopeGroup {
            scope: valid(&group.scope, Message::Scope),
            spans: group.spans.iter().map(|span| valid(span, Message::Span)).collect(),
        };
        let resource = |group: &ResourceGroup| ResourceGroup {
            resource: valid(&group.resource, Message::Resource),
            scopes: group.scopes.iter().map(scope).collect(),
        };
        let resources = self.resources.iter().map(resource).collect();
        Cow::Owned(Self { resources, truncated: self.truncated })
    }
}

fn valid(bytes: &Bytes, message: Message) -> Bytes {
    if is_text(bytes, message) {
        return bytes.clone();
    }
    // What was received and read has been checked: it is not malformed.
    replaced(bytes, message).map_or_else(|_| bytes.clone(), Bytes::from)
}

/// True if all strings are UTF-8. The depth of values is bounded where they are received and read.
fn is_text(bytes: &[u8], message: Message) -> bool {
    let mut reader = Reader::new(bytes);
    while let Ok(Some((field, value))) = reader.next_field() {
        let FieldValue::Bytes(content) = value else { continue };
        let is_valid = match part(message, field) {
            Part::Text => std::str::from_utf8(content).is_ok(),
            Part::Nested(inner) => is_text(content, inner),
            Part::Other => true,
        };
        if !is_valid {
            return false;
        }
    }
    true
}

fn replaced(bytes: &[u8], message: Message) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let mut reader = Reader::new(bytes);
    let mut begin = 0;
    while let Some((field, value)) = reader.next_field()? {
        let end = bytes.len() - reader.remaining();
        match (part(message, field), value) {
            (Part::Text, FieldValue::Bytes(text)) => {
                put_message_field(&mut out, field, String::from_utf8_lossy(text).as_bytes());
            }
            (Part::Nested(inner), FieldValue::Bytes(content)) => {
                put_message_field(&mut out, field, &replaced(content, inner)?);
            }
            _ => out.extend_from_slice(&bytes[begin..end]),
        }
        begin = end;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tactus_proto::otlp::any_value::Value;
    use tactus_proto::otlp::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, Resource, Span, Status,
        span,
    };

    use super::*;

    fn attributes(text: &'static [u8]) -> Vec<KeyValue> {
        let text = Bytes::from_static(text);
        let value = |value| Some(AnyValue { value: Some(value) });
        let attribute = |of| KeyValue { key: text.clone(), value: value(of) };
        let string = || Value::StringValue(text.clone());
        let array = ArrayValue { values: vec![AnyValue { value: Some(string()) }] };
        let list = KeyValueList { values: vec![attribute(Value::ArrayValue(array))] };
        vec![
            attribute(string()),
            attribute(Value::KvlistValue(list)),
            // Bytes may be anything.
            attribute(Value::BytesValue(Bytes::from_static(b"\xff"))),
            attribute(Value::IntValue(-1)),
        ]
    }

    fn trace(text: &'static [u8]) -> CombinedTrace {
        let string = Bytes::from_static(text);
        let (name, trace_state) = (string.clone(), string.clone());
        let event =
            span::Event { name: name.clone(), attributes: attributes(text), ..Default::default() };
        let link = span::Link {
            trace_id: Bytes::from_static(b"\xff"),
            trace_state: trace_state.clone(),
            attributes: attributes(text),
            ..Default::default()
        };
        let span = Span {
            name,
            trace_state,
            span_id: Bytes::from_static(b"\xfe"),
            start_time_unix_nano: u64::MAX,
            attributes: attributes(text),
            events: vec![event],
            links: vec![link],
            status: Some(Status { message: string.clone(), code: 2 }),
            ..Default::default()
        };
        let scope = InstrumentationScope {
            name: string.clone(),
            version: string,
            attributes: attributes(text),
            ..Default::default()
        };
        let resource = Resource { attributes: attributes(text), ..Default::default() };
        let group = ScopeGroup {
            scope: scope.encode_to_vec().into(),
            spans: vec![span.encode_to_vec().into()],
        };
        let resources =
            vec![ResourceGroup { resource: resource.encode_to_vec().into(), scopes: vec![group] }];
        CombinedTrace { resources, truncated: true }
    }

    #[test]
    fn every_string_becomes_text_and_all_else_stays() {
        assert_eq!(*trace(b"a\xff").with_valid_text(), trace("a\u{fffd}".as_bytes()));
    }

    #[test]
    fn text_that_is_valid_is_not_copied() {
        let trace = trace("a\u{e4}".as_bytes());
        assert!(matches!(trace.with_valid_text(), Cow::Borrowed(_)));
    }
}
