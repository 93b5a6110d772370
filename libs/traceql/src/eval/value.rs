//! Run-time values, and the operators on them.
//!
//! Values borrow from the batch. The rules are those of constant folding, extended by what occurs only in stored data:
//! arrays, bytes that are not text, and spans without an event or link.

use std::cmp::Ordering;

use tactus_model::{
    Attribute, Dictionary, StringCode, ValueType,
    any_value::{self, DecodedValue},
};

use crate::{ArithmeticOperator, ComparisonOperator, Kind, Static, Status};

/// What an expression yields for one span.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// An event or link operand on a span without events or links. It is neither a value nor missing, so comparisons,
    /// nil tests and their negations are all false.
    NoRow,
    /// Absence.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    String(&'a [u8]),
    Status(Status),
    Kind(Kind),
    Array(ArrayValue<'a>),
}

/// An array attribute whose elements have one type; or an empty one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrayValue<'a> {
    /// The encoded AnyValue message.
    pub(crate) encoded: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value of a constant. Constants are never arrays.
    pub(crate) fn of_static(constant: &'a Static) -> Self {
        match constant {
            Static::Int(value) => Value::Int(*value),
            Static::Float(value) => Value::Float(*value),
            Static::String(text) => Value::String(text),
            Static::Bool(value) => Value::Bool(*value),
            Static::Duration(value) => Value::Duration(*value),
            Static::Status(status) => Value::Status(*status),
            Static::Kind(kind) => Value::Kind(*kind),
            _ => Value::Nil,
        }
    }

    /// The value of a stored attribute. Bytes, key-value lists and mixed arrays are nil.
    #[inline]
    pub(crate) fn of_attribute(attribute: Attribute, strings: &'a Dictionary) -> Self {
        match attribute.value_type {
            ValueType::String => Value::String(strings.get(attribute.payload as StringCode)),
            ValueType::Int => Value::Int(attribute.payload as i64),
            ValueType::Double => Value::Float(f64::from_bits(attribute.payload)),
            ValueType::Bool => Value::Bool(attribute.payload != 0),
            ValueType::Unset | ValueType::Other => Value::Nil,
            _ => Value::Array(ArrayValue { encoded: strings.get(attribute.payload as StringCode) }),
        }
    }

    /// The value that represents a group of `by`. Values that answers do not distinguish have the same one: a
    /// single-element array and its element, −0 and 0.
    pub(crate) fn of_group(self) -> Self {
        let value = match self {
            Value::Array(array) => {
                let mut elements = array.elements();
                match (elements.next(), elements.next()) {
                    (Some(only), None) => only,
                    _ => self,
                }
            }
            _ => self,
        };
        match value {
            Value::Float(number) => Value::Float(number + 0.0),
            _ => value,
        }
    }

    /// True for the boolean `flag` only.
    #[inline]
    pub(crate) fn is_bool(self, flag: bool) -> bool {
        matches!(self, Value::Bool(value) if value == flag)
    }

    /// True unless nil or without a row.
    #[inline]
    pub(crate) fn exists(self) -> bool {
        !matches!(self, Value::Nil | Value::NoRow)
    }

    fn as_f64(self) -> Option<f64> {
        match self {
            Value::Int(value) | Value::Duration(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    /// A nil test. `present`: true if the test is for a value, false if it is for its absence.
    pub(crate) fn nil_test(self, present: bool) -> Self {
        match self {
            Value::NoRow => Value::Nil,
            value => Value::Bool(value.exists() == present),
        }
    }

    /// `!x`: nil unless x is boolean.
    pub(crate) fn not(self) -> Self {
        match self {
            Value::Bool(value) => Value::Bool(!value),
            _ => Value::Nil,
        }
    }

    /// `-x`: nil unless x is a number.
    pub(crate) fn negate(self) -> Self {
        match self {
            Value::Int(value) => Value::Int(value.wrapping_neg()),
            Value::Float(value) => Value::Float(-value),
            Value::Duration(value) => Value::Duration(value.wrapping_neg()),
            Value::NoRow => Value::NoRow,
            _ => Value::Nil,
        }
    }
}

impl<'a> ArrayValue<'a> {
    /// The elements, in order. An element that cannot be decoded ends the array.
    pub(crate) fn elements(self) -> impl Iterator<Item = Value<'a>> {
        let inner = match any_value::decode(self.encoded) {
            Ok(DecodedValue::Array(elements)) => elements,
            _ => b"",
        };
        any_value::array_elements(inner).map_while(Result::ok).map(|element| match element {
            DecodedValue::String(text) => Value::String(text),
            DecodedValue::Int(value) => Value::Int(value),
            DecodedValue::Double(value) => Value::Float(value),
            DecodedValue::Bool(value) => Value::Bool(value),
            _ => Value::Nil,
        })
    }

    fn any(self, test: impl FnMut(Value<'a>) -> bool) -> bool {
        self.elements().any(test)
    }

    fn all(self, test: impl FnMut(Value<'a>) -> bool) -> bool {
        self.elements().all(test)
    }
}

/// `left operator right`: a boolean, or nil if an operand has no row.
#[inline]
pub(crate) fn compare<'a>(
    operator: ComparisonOperator,
    left: Value<'a>,
    right: Value<'a>,
) -> Value<'a> {
    let negative = operator == ComparisonOperator::NotEqual;
    let holds = match (left, right) {
        (Value::NoRow, _) | (_, Value::NoRow) => return Value::Nil,
        (Value::Array(_), Value::Array(_)) => false,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Array(array), scalar) if negative => {
            array.all(|element| compare_scalars(operator, element, scalar))
        }
        (Value::Array(array), scalar) => {
            array.any(|element| compare_scalars(operator, element, scalar))
        }
        (scalar, Value::Array(array)) if negative => {
            array.all(|element| compare_scalars(operator, scalar, element))
        }
        (scalar, Value::Array(array)) => {
            array.any(|element| compare_scalars(operator, scalar, element))
        }
        (left, right) => compare_scalars(operator, left, right),
    };
    Value::Bool(holds)
}

/// False for types that do not match, even for `!=`.
#[inline]
fn compare_scalars(operator: ComparisonOperator, left: Value<'_>, right: Value<'_>) -> bool {
    let equality = matches!(operator, ComparisonOperator::Equal | ComparisonOperator::NotEqual);
    let equal = |same: bool| {
        equality && operator.holds(Some(if same { Ordering::Equal } else { Ordering::Less }))
    };
    match (left, right) {
        (Value::Int(l), Value::Int(r)) | (Value::Duration(l), Value::Duration(r)) => {
            operator.holds(Some(l.cmp(&r)))
        }
        (Value::String(l), Value::String(r)) => operator.holds(Some(l.cmp(r))),
        (Value::Bool(l), Value::Bool(r)) => equal(l == r),
        (Value::Status(l), Value::Status(r)) => equal(l == r),
        (Value::Kind(l), Value::Kind(r)) => equal(l == r),
        (left, right) => match (left.as_f64(), right.as_f64()) {
            (Some(l), Some(r)) => operator.holds(l.partial_cmp(&r)),
            _ => false,
        },
    }
}

/// `value =~ pattern`, or `!~` if `negated`, with a function that tests the pattern. For strings and arrays of strings
/// only.
pub(crate) fn match_regex(
    value: Value<'_>,
    negated: bool,
    mut is_match: impl FnMut(&[u8]) -> bool,
) -> Value<'_> {
    let mut holds = |value: Value<'_>| match value {
        Value::String(text) => is_match(text) != negated,
        _ => false,
    };
    Value::Bool(match value {
        Value::NoRow => return Value::Nil,
        Value::Array(array) if negated => array.all(holds),
        Value::Array(array) => array.any(holds),
        value => holds(value),
    })
}

/// `left operator right`: a number, or nil if an operand is not a number or an integer is divided by zero.
pub(crate) fn calculate<'a>(
    operator: ArithmeticOperator,
    left: Value<'a>,
    right: Value<'a>,
) -> Value<'a> {
    match (left, right) {
        (Value::NoRow, _) | (_, Value::NoRow) => Value::NoRow,
        (Value::Int(l), Value::Int(r)) => calculate_int(operator, l, r),
        (left, right) => match (left.as_f64(), right.as_f64()) {
            (Some(l), Some(r)) => Value::Float(calculate_float(operator, l, r)),
            _ => Value::Nil,
        },
    }
}

fn calculate_int<'a>(operator: ArithmeticOperator, left: i64, right: i64) -> Value<'a> {
    let result = match operator {
        ArithmeticOperator::Add => left.wrapping_add(right),
        ArithmeticOperator::Subtract => left.wrapping_sub(right),
        ArithmeticOperator::Multiply => left.wrapping_mul(right),
        ArithmeticOperator::Divide | ArithmeticOperator::Modulo if right == 0 => return Value::Nil,
        ArithmeticOperator::Divide => left.wrapping_div(right),
        ArithmeticOperator::Modulo => left.wrapping_rem(right),
        ArithmeticOperator::Power => {
            let exact = crate::operate::int_power(left, right);
            return exact
                .map_or_else(|| Value::Float((left as f64).powf(right as f64)), Value::Int);
        }
    };
    Value::Int(result)
}

/// `left operator right` on doubles.
pub(crate) fn calculate_float(operator: ArithmeticOperator, left: f64, right: f64) -> f64 {
    match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide => left / right,
        ArithmeticOperator::Modulo => left % right,
        ArithmeticOperator::Power => left.powf(right),
    }
}
