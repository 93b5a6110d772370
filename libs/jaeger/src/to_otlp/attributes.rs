//! Tags as attributes.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tactus_proto::jaeger::api_v2::{KeyValue as Tag, ValueType};
use tactus_proto::otlp::{AnyValue, KeyValue, any_value::Value};

/// Up to so many attributes an earlier one of the same key is looked for one by one.
const FEW: usize = 32;

/// `attributes` and after them the tags, of which a repeated key has its last value at its first
/// place.
pub(super) fn attributes(mut attributes: Vec<KeyValue>, tags: Vec<Tag>) -> Vec<KeyValue> {
    attributes.reserve(tags.len());
    if attributes.len() + tags.len() <= FEW {
        for tag in tags {
            let (key, value) = convert(tag);
            match attributes.iter_mut().find(|earlier| earlier.key == key) {
                Some(earlier) => earlier.value = Some(value),
                None => attributes.push(KeyValue { key, value: Some(value) }),
            }
        }
        return attributes;
    }
    let mut places: HashMap<Bytes, usize> = HashMap::with_capacity(attributes.len() + tags.len());
    places
        .extend(attributes.iter().enumerate().map(|(place, earlier)| (earlier.key.clone(), place)));
    for tag in tags {
        let (key, value) = convert(tag);
        let place = *places.entry(key.clone()).or_insert(attributes.len());
        match attributes.get_mut(place) {
            Some(earlier) => earlier.value = Some(value),
            None => attributes.push(KeyValue { key, value: Some(value) }),
        }
    }
    attributes
}

fn convert(tag: Tag) -> (Bytes, AnyValue) {
    let value = match ValueType::try_from(tag.v_type) {
        Ok(ValueType::String) => Value::StringValue(tag.v_str),
        Ok(ValueType::Bool) => Value::BoolValue(tag.v_bool),
        Ok(ValueType::Int64) => Value::IntValue(tag.v_int64),
        Ok(ValueType::Float64) => Value::DoubleValue(tag.v_float64),
        Ok(ValueType::Binary) => Value::BytesValue(tag.v_binary),
        Err(_) => Value::StringValue(format!("<Unknown Jaeger TagType \"{}\">", tag.v_type).into()),
    };
    (tag.key, AnyValue { value: Some(value) })
}

/// A text attribute.
pub(crate) fn string(key: Bytes, value: Bytes) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(Value::StringValue(value)) }) }
}

/// The value of an attribute.
pub(super) fn find<'a>(attributes: &'a [KeyValue], key: &[u8]) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

/// Removes an attribute and returns its value.
pub(super) fn take(attributes: &mut Vec<KeyValue>, key: &[u8]) -> Option<Value> {
    let place = attributes.iter().position(|attribute| attribute.key == key)?;
    attributes.remove(place).value?.value
}

/// The value of a text attribute.
pub(super) fn text_value(attribute: &KeyValue) -> Option<&Bytes> {
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A text; empty for values of other types.
pub(super) fn text(value: Value) -> Bytes {
    match value {
        Value::StringValue(text) => text,
        _ => Bytes::new(),
    }
}

/// A value as text, whatever its type; bytes as base64.
pub(super) fn shown(value: Value) -> Bytes {
    match value {
        Value::StringValue(text) => text,
        Value::BytesValue(bytes) => STANDARD.encode(bytes).into(),
        Value::BoolValue(value) => value.to_string().into(),
        Value::IntValue(value) => value.to_string().into(),
        Value::DoubleValue(value) => value.to_string().into(),
        // Tags have none of these.
        Value::ArrayValue(_) | Value::KvlistValue(_) => Bytes::new(),
    }
}
