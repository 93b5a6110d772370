//! What an expression yields for one span.

use tactus_model::format_duration;
use tactus_traceql::Static;
use tactus_traceql::eval::AttributeValue;

use super::batches::Stored;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// An event or link operand on a span that has none, and what depends on it: neither true nor false.
    NoRow,
    /// Nothing was found.
    Nil,
    /// A scalar.
    One(Static),
    /// An array; its elements have one type.
    Many(Vec<Static>),
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Value::One(Static::string(text))
    }

    pub(crate) fn int(value: i64) -> Self {
        Value::One(Static::Int(value))
    }

    pub(crate) fn truth(value: bool) -> Self {
        Value::One(Static::Bool(value))
    }

    /// Anything but boolean true does not hold.
    pub(crate) fn holds(&self) -> bool {
        *self == Value::One(Static::Bool(true))
    }

    /// The value of a stored attribute; arrays of several types or of arrays cannot be asked for.
    pub(crate) fn of_stored(stored: &Stored) -> Self {
        match stored {
            Stored::Array(elements) => {
                let elements: Option<Vec<Static>> = elements.iter().map(scalar).collect();
                let Some(elements) = elements else { return Value::Nil };
                let kind = |element: &Static| std::mem::discriminant(element);
                match elements.iter().all(|element| kind(element) == kind(&elements[0])) {
                    true => Value::Many(elements),
                    false => Value::Nil,
                }
            }
            other => scalar(other).map_or(Value::Nil, Value::One),
        }
    }

    /// How answers show the value.
    pub(crate) fn shown(&self) -> Option<AttributeValue> {
        match self {
            Value::NoRow | Value::Nil => None,
            Value::One(value) => Some(shown(value)),
            // One element cannot be told from a scalar.
            Value::Many(elements) => Some(match &elements[..] {
                [only] => shown(only),
                all => AttributeValue::Array(all.iter().map(shown).collect()),
            }),
        }
    }
}

fn scalar(stored: &Stored) -> Option<Static> {
    Some(match stored {
        Stored::String(text) => Static::string(text),
        Stored::Int(value) => Static::Int(*value),
        Stored::Float(value) => Static::Float(*value),
        Stored::Bool(value) => Static::Bool(*value),
        Stored::Array(_) => return None,
    })
}

fn shown(value: &Static) -> AttributeValue {
    match value {
        Static::Int(value) => AttributeValue::Int(*value),
        Static::Float(value) => AttributeValue::Float(*value),
        Static::Bool(value) => AttributeValue::Bool(*value),
        Static::String(text) => AttributeValue::String(String::from_utf8_lossy(text).into()),
        Static::Duration(nanos) => AttributeValue::String(format_duration(*nanos).into()),
        Static::Status(status) => AttributeValue::String(status.text().into()),
        Static::Kind(kind) => AttributeValue::String(kind.text().into()),
        // Arrays are no elements of anything.
        other => AttributeValue::String(other.to_string().into()),
    }
}
