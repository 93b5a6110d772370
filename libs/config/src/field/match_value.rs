//! A scalar that keeps the type it was written with.

use std::borrow::Cow;

use super::{Field, Reader, resolved};
use crate::yaml::{Content, Node, Resolved, Value};

/// What an attribute is compared with: values of different types are different, but for integers and floats of the same
/// number.
#[derive(Clone, Debug, PartialEq)]
pub enum MatchValue {
    /// Text, quoted or not.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
}

impl Default for MatchValue {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl MatchValue {
    /// The type as error texts name it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Bool(_) => "bool",
        }
    }

    /// The value as it was written, about.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) => number.to_string().into(),
            Self::Bool(flag) => flag.to_string().into(),
        }
    }
}

impl Field for MatchValue {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        let Content::Scalar(scalar) = &node.content else {
            return reader.mismatch(node, "string, number or boolean");
        };
        *self = match resolved(node) {
            Some(Resolved::Bool(flag)) => Self::Bool(flag),
            Some(Resolved::Int(number)) => match i64::try_from(number) {
                Ok(number) => Self::Int(number),
                // The nearest float is what a decimal of the same digits would give.
                Err(_) => Self::Float(number as f64),
            },
            Some(Resolved::Float(number)) => Self::Float(number),
            Some(Resolved::Null | Resolved::Text) | None => Self::Text(scalar.text.clone()),
        };
    }

    fn show(&self) -> Value {
        match self {
            Self::Text(text) => text.show(),
            Self::Int(number) => Value::Int(i128::from(*number)),
            Self::Float(number) => Value::Float(*number),
            Self::Bool(flag) => Value::Bool(*flag),
        }
    }

    fn kind() -> String {
        "string, number or boolean".to_owned()
    }
}
