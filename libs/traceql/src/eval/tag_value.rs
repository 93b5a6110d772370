//! A value of an attribute, in the form in which completion offers it.

use super::value::Value;
use tactus_model::format_duration;

use crate::{Static, format_float};

tactus_model::words! {
    /// The type of a tag value.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum TagValueType {
        /// `bool`
        Bool = "bool",
        /// `duration`
        Duration = "duration",
        /// `float`
        Float = "float",
        /// `int`
        Int = "int",
        /// `keyword`: a status or a kind.
        Keyword = "keyword",
        /// `string`
        String = "string",
    }
}

/// A typed value. Ordered by type name, then by text, like in answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagValue {
    /// Its type.
    pub value_type: TagValueType,
    /// Its text: strings as they are, numbers in canonical form, durations as Go prints them.
    pub text: String,
}

impl TagValue {
    pub(super) fn new(value_type: TagValueType, text: impl Into<String>) -> Self {
        Self { value_type, text: text.into() }
    }

    /// The form of a scalar that is offered; `None` for nil and arrays.
    pub(super) fn of(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::NoRow | Value::Nil | Value::Array(_) => return None,
            Value::Bool(value) => Self::new(TagValueType::Bool, value.to_string()),
            Value::Int(value) => Self::new(TagValueType::Int, value.to_string()),
            Value::Float(value) => Self::new(TagValueType::Float, format_float(value)),
            Value::Duration(value) => Self::new(TagValueType::Duration, format_duration(value)),
            Value::String(text) => Self::new(TagValueType::String, String::from_utf8_lossy(text)),
            Value::Status(status) => Self::new(TagValueType::Keyword, status.text()),
            Value::Kind(kind) => Self::new(TagValueType::Keyword, kind.text()),
        })
    }

    /// The offered form of a constant.
    pub(super) fn of_static(constant: &Static) -> Option<Self> {
        Self::of(Value::of_static(constant))
    }
}
