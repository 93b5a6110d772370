//! Warnings of spans.

use bytes::Bytes;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, ArrayValue, KeyValue, Span};

use crate::from_otlp::WARNINGS;

/// Adds a warning to a span.
pub(super) fn warn(span: &mut Span, warning: String) {
    let warning = AnyValue { value: Some(Value::StringValue(warning.into())) };
    let mut attributes = span.attributes.iter_mut();
    let existing = attributes.find(|attribute| attribute.key == WARNINGS);
    if let Some(KeyValue {
        value: Some(AnyValue { value: Some(Value::ArrayValue(array)) }), ..
    }) = existing
    {
        array.values.push(warning);
        return;
    }
    let array = Value::ArrayValue(ArrayValue { values: vec![warning] });
    span.attributes.push(KeyValue {
        key: Bytes::from_static(WARNINGS.as_bytes()),
        value: Some(AnyValue { value: Some(array) }),
    });
}
