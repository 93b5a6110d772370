//! Run-time values, and the operators on them.
//!
//! Values borrow from the batch, or from the query. Some occur in stored data only: arrays, and spans without an event
//! or link.

use std::cmp::Ordering;

use tactus_model::{
    Attribute, Dictionary, StringCode, ValueType,
    any_value::{self, DecodedValue},
};

use crate::{
    ArithmeticOperator, ComparisonOperator, Kind, LogicalOperator, Static, Status, UnaryOperator,
};

/// What an expression yields for one span.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// An event or link operand on a span without events or links, and what depends on it: neither a value nor missing,
    /// neither true nor false.
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
    /// The value of a constant.
    pub(crate) fn of_static(constant: &'a Static) -> Self {
        match constant {
            Static::Int(value) => Value::Int(*value),
            Static::Float(value) => Value::Float(*value),
            Static::String(text) => Value::String(text),
            Static::Bool(value) => Value::Bool(*value),
            Static::Duration(value) => Value::Duration(*value),
            Static::Status(status) => Value::Status(*status),
            Static::Kind(kind) => Value::Kind(*kind),
            Static::Nil => Value::Nil,
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

    /// The number; durations in nanoseconds.
    pub(crate) fn as_f64(self) -> Option<f64> {
        match self {
            Value::Int(value) | Value::Duration(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    /// Applies a prefix operator or nil test: nil if the value has the wrong type.
    pub(crate) fn unary(self, operator: UnaryOperator) -> Self {
        match (operator, self) {
            (_, Value::NoRow) => Value::NoRow,
            (UnaryOperator::Exists, value) => Value::Bool(value.exists()),
            (UnaryOperator::NotExists, value) => Value::Bool(!value.exists()),
            (UnaryOperator::Not, Value::Bool(value)) => Value::Bool(!value),
            (UnaryOperator::Negate, Value::Int(value)) => Value::Int(value.wrapping_neg()),
            (UnaryOperator::Negate, Value::Float(value)) => Value::Float(-value),
            (UnaryOperator::Negate, Value::Duration(value)) => {
                Value::Duration(value.wrapping_neg())
            }
            _ => Value::Nil,
        }
    }

    /// The value as a constant; nil for arrays, which have no literal.
    pub(crate) fn to_static(self) -> Static {
        match self {
            Value::NoRow | Value::Nil | Value::Array(_) => Static::Nil,
            Value::Bool(value) => Static::Bool(value),
            Value::Int(value) => Static::Int(value),
            Value::Float(value) => Static::Float(value),
            Value::Duration(value) => Static::Duration(value),
            Value::String(text) => Static::string(text),
            Value::Status(status) => Static::Status(status),
            Value::Kind(kind) => Static::Kind(kind),
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
}

/// `left operator right`: a boolean, unless an operand has no row.
#[inline]
pub(crate) fn compare<'a>(
    operator: ComparisonOperator,
    left: Value<'a>,
    right: Value<'a>,
) -> Value<'a> {
    let holds = match (left, right) {
        (Value::NoRow, _) | (_, Value::NoRow) => return Value::NoRow,
        (Value::Array(_), Value::Array(_)) => false,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Array(array), scalar) => compare_elements(operator, array, scalar),
        (scalar, Value::Array(array)) => compare_elements(operator.flipped(), array, scalar),
        (left, right) => compare_scalars(operator, left, right),
    };
    Value::Bool(holds)
}

/// `&&` or `||` of all operands: whatever is not true counts as false, except that what has no row stays undecided where
/// the others do not decide.
pub(crate) fn logical<'a>(
    operator: LogicalOperator,
    operands: impl Iterator<Item = Value<'a>>,
) -> Value<'a> {
    let decides = operator == LogicalOperator::Or;
    let mut result = Value::Bool(!decides);
    for operand in operands {
        match operand {
            Value::NoRow => result = Value::NoRow,
            operand if operand.is_bool(true) == decides => return Value::Bool(decides),
            _ => {}
        }
    }
    result
}

/// `!=` holds if all elements satisfy it, the others if any does.
fn compare_elements(
    operator: ComparisonOperator,
    array: ArrayValue<'_>,
    scalar: Value<'_>,
) -> bool {
    let holds = |element| compare_scalars(operator, element, scalar);
    match operator {
        ComparisonOperator::NotEqual => array.elements().all(holds),
        _ => array.elements().any(holds),
    }
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
        Value::NoRow => return Value::NoRow,
        Value::Array(array) if negated => array.elements().all(holds),
        Value::Array(array) => array.elements().any(holds),
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
            return int_power(left, right)
                .map_or_else(|| Value::Float((left as f64).powf(right as f64)), Value::Int);
        }
    };
    Value::Int(result)
}

/// `base ^ exponent` if that is a whole number of 64 bits.
pub(crate) fn int_power(base: i64, exponent: i64) -> Option<i64> {
    match (base, u32::try_from(exponent)) {
        (_, Ok(exponent)) => base.checked_pow(exponent),
        (0 | 1, Err(_)) if exponent > 0 => Some(base),
        (-1, Err(_)) if exponent > 0 => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        _ => None,
    }
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
