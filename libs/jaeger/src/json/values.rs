//! Values of tags in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tactus_proto::jaeger::api_v2::{KeyValue, ValueType};
use tactus_proto::lossy;

use super::Tag;
use crate::from_otlp::value_type;

/// Integers beyond are no JavaScript numbers.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// The value of a tag.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TagValue {
    /// A string; base64 of bytes; a number that JavaScript has no number for.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A finite float.
    Float(f64),
}

pub(super) fn tag(tag: &KeyValue) -> Tag {
    let (value_type, value) = match value_type(tag) {
        ValueType::String => ("string", TagValue::Text(lossy(&tag.v_str).into_owned())),
        ValueType::Bool => ("bool", TagValue::Bool(tag.v_bool)),
        ValueType::Int64 => ("int64", int(tag.v_int64)),
        ValueType::Float64 => ("float64", float(tag.v_float64)),
        ValueType::Binary => ("binary", TagValue::Text(STANDARD.encode(&tag.v_binary))),
    };
    Tag { key: lossy(&tag.key).into_owned(), value_type, value }
}

fn int(number: i64) -> TagValue {
    if number.unsigned_abs() > MAX_SAFE {
        return TagValue::Text(number.to_string());
    }
    TagValue::Int(number)
}

fn float(number: f64) -> TagValue {
    match number {
        _ if number.is_nan() => TagValue::Text("NaN".to_owned()),
        f64::INFINITY => TagValue::Text("+Inf".to_owned()),
        f64::NEG_INFINITY => TagValue::Text("-Inf".to_owned()),
        _ => TagValue::Float(number),
    }
}
