//! Converts values of attributes to values of tags.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value as Json;
use tactus_proto::jaeger::api_v2::{self, ValueType};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, KeyValue};

/// The tag of an attribute.
pub(super) fn tag(attribute: &KeyValue) -> api_v2::KeyValue {
    let mut tag = api_v2::KeyValue { key: attribute.key.clone(), ..api_v2::KeyValue::default() };
    let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
    let v_type = match value {
        None => ValueType::String,
        Some(Value::StringValue(text)) => {
            tag.v_str = text.clone();
            ValueType::String
        }
        Some(Value::BoolValue(flag)) => {
            tag.v_bool = *flag;
            ValueType::Bool
        }
        Some(Value::IntValue(number)) => {
            tag.v_int64 = *number;
            ValueType::Int64
        }
        Some(Value::DoubleValue(number)) => {
            tag.v_float64 = *number;
            ValueType::Float64
        }
        Some(Value::BytesValue(bytes)) => {
            tag.v_binary = bytes.clone();
            ValueType::Binary
        }
        Some(value @ (Value::ArrayValue(_) | Value::KvlistValue(_))) => {
            tag.v_str = json_of(value).to_string().into();
            ValueType::String
        }
    };
    tag.v_type = v_type.into();
    tag
}

pub(super) fn string_tag(key: &'static str, value: Bytes) -> api_v2::KeyValue {
    let key = Bytes::from_static(key.as_bytes());
    let v_type = ValueType::String.into();
    api_v2::KeyValue { key, v_type, v_str: value, ..api_v2::KeyValue::default() }
}

pub(super) fn bool_tag(key: &'static str, value: bool) -> api_v2::KeyValue {
    let key = Bytes::from_static(key.as_bytes());
    let v_type = ValueType::Bool.into();
    api_v2::KeyValue { key, v_type, v_bool: value, ..api_v2::KeyValue::default() }
}

/// The text of a value: a string as it is, anything else as JSON writes it.
pub(crate) fn text_of(value: &AnyValue) -> Bytes {
    match &value.value {
        None => Bytes::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BytesValue(bytes)) => STANDARD.encode(bytes).into(),
        Some(value) => json_of(value).to_string().into(),
    }
}

/// Bytes are base64; floats that JSON has no number for are strings.
fn json_of(value: &Value) -> Json {
    let element = |value: &AnyValue| value.value.as_ref().map_or(Json::Null, json_of);
    match value {
        Value::StringValue(text) => Json::from(String::from_utf8_lossy(text)),
        Value::BoolValue(flag) => Json::from(*flag),
        Value::IntValue(number) => Json::from(*number),
        Value::DoubleValue(number) if number.is_finite() => Json::from(*number),
        Value::DoubleValue(number) => Json::from(number.to_string()),
        Value::ArrayValue(array) => array.values.iter().map(element).collect(),
        Value::KvlistValue(list) => {
            let pairs = list.values.iter().map(|pair| {
                let value = pair.value.as_ref().map_or(Json::Null, element);
                (String::from_utf8_lossy(&pair.key).into_owned(), value)
            });
            Json::Object(pairs.collect())
        }
        Value::BytesValue(bytes) => Json::from(STANDARD.encode(bytes)),
    }
}
