//! Values of fields in uploaded JSON. What is absent or null has the value zero.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value as Json;
use tactus_model::{SpanId, TraceId};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, ArrayValue, KeyValue, KeyValueList};

use super::{Result, UploadError};

/// A field, by its name in camel case or in snake case.
pub(super) fn field<'j>(json: &'j Json, name: &str) -> Option<&'j Json> {
    let found = json.get(name).or_else(|| json.get(snake_case(name)));
    found.filter(|value| !value.is_null())
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

pub(super) fn list<'j>(json: &'j Json, name: &'static str) -> Result<&'j [Json]> {
    match field(json, name) {
        None => Ok(&[]),
        Some(Json::Array(list)) => Ok(list),
        Some(_) => Err(UploadError::Field { field: name, expected: "a list" }),
    }
}

pub(super) fn text(json: &Json, name: &'static str) -> Result<Bytes> {
    match field(json, name) {
        None => Ok(Bytes::new()),
        Some(Json::String(text)) => Ok(text.clone().into()),
        Some(_) => Err(UploadError::Field { field: name, expected: "a string" }),
    }
}

/// An id of so many bytes, or none.
pub(super) fn id(json: &Json, name: &'static str, length: usize) -> Result<Bytes> {
    let wrong = UploadError::Field { field: name, expected: "an id in hexadecimal digits" };
    let digits = text(json, name)?;
    if digits.is_empty() {
        return Ok(digits);
    }
    let digits = std::str::from_utf8(&digits).unwrap_or_default();
    if digits.len() != 2 * length {
        return Err(wrong);
    }
    let bytes = match length {
        16 => TraceId::from_hex(digits).map(|id| Bytes::copy_from_slice(&id.0)),
        _ => SpanId::from_hex(digits).map(|id| Bytes::copy_from_slice(&id.0)),
    };
    bytes.ok_or(wrong)
}

pub(super) fn time(json: &Json, name: &'static str) -> Result<u64> {
    let wrong = UploadError::Field { field: name, expected: "nanoseconds since 1970" };
    match field(json, name) {
        None => Ok(0),
        Some(Json::Number(number)) => number.as_u64().ok_or(wrong),
        Some(Json::String(text)) => text.parse().map_err(|_| wrong),
        Some(_) => Err(wrong),
    }
}

pub(super) fn count(json: &Json, name: &'static str) -> Result<u32> {
    u32::try_from(time(json, name).unwrap_or(u64::MAX))
        .map_err(|_| UploadError::Field { field: name, expected: "a number of 32 bits" })
}

/// The number of an enum, or of its name.
pub(super) fn enumeration(
    json: &Json,
    name: &'static str,
    number_of: impl Fn(&str) -> Option<i32>,
) -> Result<i32> {
    let found = match field(json, name) {
        None => Some(0),
        Some(Json::String(name)) => number_of(name),
        Some(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
    };
    found.ok_or(UploadError::Field { field: name, expected: "a number or a name that it knows" })
}

pub(super) fn attributes(json: &Json) -> Result<Vec<KeyValue>> {
    list(json, "attributes")?.iter().map(attribute).collect()
}

fn attribute(json: &Json) -> Result<KeyValue> {
    let value = field(json, "value").map(any_value).transpose()?;
    Ok(KeyValue { key: text(json, "key")?, value })
}

fn any_value(json: &Json) -> Result<AnyValue> {
    let wrong = |field, expected| Err(UploadError::Field { field, expected });
    let value = if let Some(value) = field(json, "stringValue") {
        match value {
            Json::String(text) => Some(Value::StringValue(text.clone().into())),
            _ => return wrong("stringValue", "a string"),
        }
    } else if let Some(value) = field(json, "boolValue") {
        match value {
            Json::Bool(flag) => Some(Value::BoolValue(*flag)),
            _ => return wrong("boolValue", "a boolean"),
        }
    } else if let Some(value) = field(json, "intValue") {
        let number = match value {
            Json::String(text) => text.parse().ok(),
            value => value.as_i64(),
        };
        match number {
            Some(number) => Some(Value::IntValue(number)),
            None => return wrong("intValue", "an integer"),
        }
    } else if let Some(value) = field(json, "doubleValue") {
        let number = match value {
            Json::String(text) => text.parse().ok(),
            value => value.as_f64(),
        };
        match number {
            Some(number) => Some(Value::DoubleValue(number)),
            None => return wrong("doubleValue", "a number"),
        }
    } else if let Some(value) = field(json, "bytesValue") {
        match value.as_str().and_then(|text| STANDARD.decode(text).ok()) {
            Some(bytes) => Some(Value::BytesValue(bytes.into())),
            None => return wrong("bytesValue", "base64"),
        }
    } else if let Some(value) = field(json, "arrayValue") {
        let values = list(value, "values")?.iter().map(any_value).collect::<Result<_>>()?;
        Some(Value::ArrayValue(ArrayValue { values }))
    } else if let Some(value) = field(json, "kvlistValue") {
        let values = list(value, "values")?.iter().map(attribute).collect::<Result<_>>()?;
        Some(Value::KvlistValue(KeyValueList { values }))
    } else {
        None
    };
    Ok(AnyValue { value })
}
