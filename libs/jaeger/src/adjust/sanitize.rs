//! Gives names to what has none, and replaces bytes that are not text.

use bytes::{BufMut as _, Bytes, BytesMut};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, KeyValue, Resource, ResourceSpans, Span};

use super::warn;

const SERVICE_NAME: &str = "service.name";
/// The service of a resource without a name.
pub const MISSING_SERVICE: &str = "missing-service-name";
/// The service of a resource whose name is empty.
pub const EMPTY_SERVICE: &str = "empty-service-name";
/// The service of a resource whose name is no text.
pub const NO_TEXT_SERVICE: &str = "service-name-wrong-type";

const INVALID_NAME: &str = "invalid-span-name";

/// Sanitizes a resource and its spans.
pub(super) fn resource(spans: &mut ResourceSpans) {
    let resource = spans.resource.get_or_insert_default();
    service_name(resource);
    attributes(&mut resource.attributes);
    for scope in &mut spans.scope_spans {
        if let Some(scope) = &mut scope.scope {
            attributes(&mut scope.attributes);
        }
        for span in &mut scope.spans {
            self::span(span);
        }
    }
}

fn service_name(resource: &mut Resource) {
    let mut attributes = resource.attributes.iter_mut();
    let Some(attribute) = attributes.find(|attribute| attribute.key == SERVICE_NAME) else {
        resource.attributes.push(KeyValue {
            key: Bytes::from_static(SERVICE_NAME.as_bytes()),
            value: Some(string(MISSING_SERVICE)),
        });
        return;
    };
    match attribute.value.as_mut().and_then(|value| value.value.as_mut()) {
        Some(Value::StringValue(name)) if name.is_empty() => {
            attribute.value = Some(string(EMPTY_SERVICE));
        }
        // As the list of services shows it.
        Some(Value::StringValue(name)) => super::text::text(name),
        _ => attribute.value = Some(string(NO_TEXT_SERVICE)),
    }
}

fn span(span: &mut Span) {
    attributes(&mut span.attributes);
    for event in &mut span.events {
        attributes(&mut event.attributes);
    }
    for link in &mut span.links {
        attributes(&mut link.attributes);
    }
    if span.name.is_empty() {
        span.name = Bytes::from_static(b"empty-span-name");
    } else if std::str::from_utf8(&span.name).is_err() {
        let invalid = Bytes::from_static(INVALID_NAME.as_bytes());
        let name = std::mem::replace(&mut span.name, invalid.clone());
        let value = Some(AnyValue { value: Some(Value::BytesValue(name)) });
        span.attributes.push(KeyValue { key: invalid, value });
    }
    if span.end_time_unix_nano < span.start_time_unix_nano {
        span.end_time_unix_nano = span.start_time_unix_nano;
        warn(span, "the span ends before it starts; its duration is shown as 0".to_owned());
    }
}

fn attributes(attributes: &mut [KeyValue]) {
    let mut invalid_keys = 0;
    for attribute in attributes {
        if std::str::from_utf8(&attribute.key).is_err() {
            invalid_keys += 1;
            let text = attribute.value.as_ref().map(crate::from_otlp::text_of).unwrap_or_default();
            let mut bytes = BytesMut::with_capacity(attribute.key.len() + text.len() + 1);
            bytes.put_slice(&attribute.key);
            bytes.put_u8(b':');
            bytes.put_slice(&text);
            attribute.key = format!("invalid-tag-key-{invalid_keys}").into();
            attribute.value = Some(AnyValue { value: Some(Value::BytesValue(bytes.freeze())) });
        }
        let value = attribute.value.as_mut().and_then(|value| value.value.as_mut());
        if let Some(value) = value
            && let Value::StringValue(text) = value
            && std::str::from_utf8(text).is_err()
        {
            *value = Value::BytesValue(std::mem::take(text));
        }
    }
}

fn string(text: &'static str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(Bytes::from_static(text.as_bytes()))) }
}
