//! Operators on values.

use std::cmp::Ordering;

use tactus_traceql::{
    ArithmeticOperator, ComparisonOperator, CompiledRegex, Static, UnaryOperator,
};

use super::value::Value;

/// `= != < <= > >=`. Beside an array, `!=` asks all elements and the others ask any.
pub(crate) fn compare(operator: ComparisonOperator, left: &Value, right: &Value) -> Value {
    let holds = |left: &Static, right: &Static| compare_scalars(operator, left, right);
    let all = operator == ComparisonOperator::NotEqual;
    Value::truth(match (left, right) {
        (Value::NoRow, _) | (_, Value::NoRow) => return Value::NoRow,
        (Value::Nil, _) | (_, Value::Nil) | (Value::Many(_), Value::Many(_)) => false,
        (Value::One(left), Value::One(right)) => holds(left, right),
        (Value::Many(left), Value::One(right)) if all => left.iter().all(|it| holds(it, right)),
        (Value::Many(left), Value::One(right)) => left.iter().any(|it| holds(it, right)),
        (Value::One(left), Value::Many(right)) if all => right.iter().all(|it| holds(left, it)),
        (Value::One(left), Value::Many(right)) => right.iter().any(|it| holds(left, it)),
    })
}

/// False for types that do not match, even for `!=`.
fn compare_scalars(operator: ComparisonOperator, left: &Static, right: &Static) -> bool {
    let has_order = !matches!(left, Static::Bool(_) | Static::Status(_) | Static::Kind(_));
    let ordering = match (left, right) {
        (Static::Int(left), Static::Int(right)) => left.partial_cmp(right),
        (Static::Duration(left), Static::Duration(right)) => left.partial_cmp(right),
        (Static::String(left), Static::String(right)) => left.partial_cmp(right),
        (Static::Bool(left), Static::Bool(right)) => left.partial_cmp(right),
        (Static::Status(left), Static::Status(right)) => left.partial_cmp(right),
        (Static::Kind(left), Static::Kind(right)) => left.partial_cmp(right),
        (left, right) => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => return false,
        },
    };
    match operator {
        ComparisonOperator::Equal => ordering == Some(Ordering::Equal),
        ComparisonOperator::NotEqual => ordering != Some(Ordering::Equal),
        ComparisonOperator::Less => has_order && ordering == Some(Ordering::Less),
        ComparisonOperator::Greater => has_order && ordering == Some(Ordering::Greater),
        ComparisonOperator::LessEqual => {
            has_order && matches!(ordering, Some(Ordering::Less | Ordering::Equal))
        }
        ComparisonOperator::GreaterEqual => {
            has_order && matches!(ordering, Some(Ordering::Greater | Ordering::Equal))
        }
    }
}

/// `=~` and `!~`. A pattern that is no string or does not compile matches nothing.
pub(crate) fn regex(negated: bool, value: &Value, pattern: &Value) -> Value {
    if *value == Value::NoRow || *pattern == Value::NoRow {
        return Value::NoRow;
    }
    let Value::One(Static::String(pattern)) = pattern else { return Value::truth(false) };
    let Ok(pattern) = CompiledRegex::new(pattern) else { return Value::truth(false) };
    let matches = |value: &Static| match value {
        Static::String(text) => pattern.is_match(text) != negated,
        _ => false,
    };
    Value::truth(match value {
        Value::One(value) => matches(value),
        Value::Many(elements) if negated => elements.iter().all(matches),
        Value::Many(elements) => elements.iter().any(matches),
        _ => false,
    })
}

/// `+ - * / % ^` between values of a span. Durations enter as nanoseconds and leave as plain floats.
pub(crate) fn arithmetic(operator: ArithmeticOperator, left: &Value, right: &Value) -> Value {
    let (left, right) = match (left, right) {
        (Value::NoRow, _) | (_, Value::NoRow) => return Value::NoRow,
        (Value::One(left), Value::One(right)) => (left, right),
        _ => return Value::Nil,
    };
    if let (Static::Int(left), Static::Int(right)) = (left, right) {
        return integers(operator, *left, *right);
    }
    match (number(left), number(right)) {
        (Some(left), Some(right)) => Value::One(Static::Float(floats(operator, left, right))),
        _ => Value::Nil,
    }
}

fn integers(operator: ArithmeticOperator, left: i64, right: i64) -> Value {
    Value::int(match operator {
        ArithmeticOperator::Add => left.wrapping_add(right),
        ArithmeticOperator::Subtract => left.wrapping_sub(right),
        ArithmeticOperator::Multiply => left.wrapping_mul(right),
        ArithmeticOperator::Divide | ArithmeticOperator::Modulo if right == 0 => return Value::Nil,
        ArithmeticOperator::Divide => left.wrapping_div(right),
        ArithmeticOperator::Modulo => left.wrapping_rem(right),
        ArithmeticOperator::Power => {
            // Step by step, so that an overflow is seen where it happens.
            let exact = (0..right).try_fold(1i64, |power, _| power.checked_mul(left));
            match exact {
                Some(power) if right >= 0 => power,
                _ => return Value::One(Static::Float((left as f64).powf(right as f64))),
            }
        }
    })
}

fn floats(operator: ArithmeticOperator, left: f64, right: f64) -> f64 {
    match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide => left / right,
        ArithmeticOperator::Modulo => left % right,
        ArithmeticOperator::Power => left.powf(right),
    }
}

/// Arithmetic between values of a spanset: as above, but durations stay durations where that makes sense.
pub(crate) fn scalar_arithmetic(
    operator: ArithmeticOperator,
    left: &Value,
    right: &Value,
) -> Value {
    use ArithmeticOperator::{Add, Divide, Modulo, Multiply, Subtract};
    let (Value::One(l), Value::One(r)) = (left, right) else { return Value::Nil };
    let duration = |nanos: f64| Value::One(Static::Duration(nanos as i64));
    match (l, operator, r) {
        (Static::Duration(l), Add, Static::Duration(r)) => Value::One(Static::Duration(l + r)),
        (Static::Duration(l), Subtract, Static::Duration(r)) => Value::One(Static::Duration(l - r)),
        (Static::Duration(_), Modulo, Static::Duration(0)) => Value::Nil,
        (Static::Duration(l), Modulo, Static::Duration(r)) => Value::One(Static::Duration(l % r)),
        (Static::Duration(_), Divide, Static::Int(0)) => Value::Nil,
        (Static::Duration(l), Multiply, Static::Int(r)) => duration(*l as f64 * *r as f64),
        (Static::Duration(l), Multiply, Static::Float(r)) => duration(*l as f64 * r),
        (Static::Int(l), Multiply, Static::Duration(r)) => duration(*l as f64 * *r as f64),
        (Static::Float(l), Multiply, Static::Duration(r)) => duration(l * *r as f64),
        (Static::Duration(l), Divide, Static::Int(r)) => duration(*l as f64 / *r as f64),
        (Static::Duration(l), Divide, Static::Float(r)) => duration(*l as f64 / r),
        _ => arithmetic(operator, left, right),
    }
}

/// `- !` and nil tests.
pub(crate) fn unary(operator: UnaryOperator, operand: &Value) -> Value {
    match (operator, operand) {
        (_, Value::NoRow) => Value::NoRow,
        (UnaryOperator::Exists, operand) => Value::truth(*operand != Value::Nil),
        (UnaryOperator::NotExists, operand) => Value::truth(*operand == Value::Nil),
        (UnaryOperator::Not, Value::One(Static::Bool(value))) => Value::truth(!value),
        (UnaryOperator::Negate, Value::One(value)) => match value {
            Static::Int(value) => Value::int(value.wrapping_neg()),
            Static::Float(value) => Value::One(Static::Float(-value)),
            Static::Duration(value) => Value::One(Static::Duration(value.wrapping_neg())),
            _ => Value::Nil,
        },
        _ => Value::Nil,
    }
}

/// The value as f64 if it is a number; durations in nanoseconds.
pub(crate) fn number(value: &Static) -> Option<f64> {
    match value {
        Static::Int(value) | Static::Duration(value) => Some(*value as f64),
        Static::Float(value) => Some(*value),
        _ => None,
    }
}
