//! Operators on values: the results of expressions at run time and in constant folding.

use crate::ast::{ArithmeticOperator, BinaryOperator, ComparisonOperator, UnaryOperator};
use crate::compiled_regex::CompiledRegex;
use crate::static_value::Static;

/// Applies an infix operator.
///
/// Comparisons and matches return a boolean, false for nil and for operands that cannot be compared. Arithmetic returns
/// a number, or nil if there is none (wrong types, integer division by zero). If one operand is an array and the other
/// a scalar, `!=` and `!~` hold if all elements satisfy them, the others if any element does. A pattern is compiled on
/// every call; loops should use [`CompiledRegex`] themselves.
pub fn evaluate_binary(operator: BinaryOperator, left: &Static, right: &Static) -> Static {
    match operator {
        BinaryOperator::Arithmetic(operator) => arithmetic(operator, left, right),
        BinaryOperator::Comparison(operator) => Static::Bool(compare(operator, left, right)),
        BinaryOperator::Regex | BinaryOperator::NotRegex => {
            let pattern = right.as_text().and_then(|text| CompiledRegex::new(text).ok());
            let negated = operator == BinaryOperator::NotRegex;
            Static::Bool(pattern.is_some_and(|pattern| matches_regex(&pattern, negated, left)))
        }
    }
}

/// True if `value` (a string or a string array) matches; if `negated`, true if it does not match. False for any other
/// value.
pub(crate) fn matches_regex(pattern: &CompiledRegex, negated: bool, value: &Static) -> bool {
    match value {
        Static::String(text) => pattern.is_match(text) != negated,
        Static::StringArray(texts) => texts.iter().any(|text| pattern.is_match(text)) != negated,
        _ => false,
    }
}

/// Applies a prefix operator or nil test. Nil if the operand has the wrong type.
pub fn evaluate_unary(operator: UnaryOperator, operand: &Static) -> Static {
    match (operator, operand) {
        (UnaryOperator::Negate, Static::Int(value)) => Static::Int(value.wrapping_neg()),
        (UnaryOperator::Negate, Static::Duration(value)) => Static::Duration(value.wrapping_neg()),
        (UnaryOperator::Negate, Static::Float(value)) => Static::Float(-value),
        (UnaryOperator::Not, Static::Bool(value)) => Static::Bool(!value),
        (UnaryOperator::Negate | UnaryOperator::Not, _) => Static::Nil,
        (UnaryOperator::Exists, operand) => Static::Bool(!operand.is_nil()),
        (UnaryOperator::NotExists, operand) => Static::Bool(operand.is_nil()),
    }
}

fn arithmetic(operator: ArithmeticOperator, left: &Static, right: &Static) -> Static {
    if let (Static::Int(left), Static::Int(right)) = (left, right) {
        return int_arithmetic(operator, *left, *right);
    }
    let (Some(left), Some(right)) = (left.as_number(), right.as_number()) else {
        return Static::Nil;
    };
    Static::Float(match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide => left / right,
        ArithmeticOperator::Modulo => left % right,
        ArithmeticOperator::Power => left.powf(right),
    })
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

fn int_arithmetic(operator: ArithmeticOperator, left: i64, right: i64) -> Static {
    let value = match operator {
        ArithmeticOperator::Add => left.wrapping_add(right),
        ArithmeticOperator::Subtract => left.wrapping_sub(right),
        ArithmeticOperator::Multiply => left.wrapping_mul(right),
        ArithmeticOperator::Divide | ArithmeticOperator::Modulo if right == 0 => {
            return Static::Nil;
        }
        ArithmeticOperator::Divide => left.wrapping_div(right),
        ArithmeticOperator::Modulo => left.wrapping_rem(right),
        ArithmeticOperator::Power => {
            let exact = int_power(left, right);
            return match exact {
                Some(value) => Static::Int(value),
                None => Static::Float((left as f64).powf(right as f64)),
            };
        }
    };
    Static::Int(value)
}

fn compare(operator: ComparisonOperator, left: &Static, right: &Static) -> bool {
    match (is_array(left), is_array(right)) {
        (false, false) => compare_scalars(operator, left, right),
        (true, false) => compare_elements(operator, left, right),
        (false, true) => compare_elements(operator.flipped(), right, left),
        (true, true) => false,
    }
}

fn is_array(value: &Static) -> bool {
    matches!(
        value,
        Static::IntArray(_) | Static::FloatArray(_) | Static::StringArray(_) | Static::BoolArray(_)
    )
}

fn compare_elements(operator: ComparisonOperator, array: &Static, scalar: &Static) -> bool {
    let comparable = match array {
        Static::StringArray(_) => matches!(scalar, Static::String(_)),
        Static::BoolArray(_) => matches!(scalar, Static::Bool(_)),
        _ => scalar.as_number().is_some(),
    };
    // An empty array satisfies `!=` trivially, but only if its elements could be compared with the scalar.
    if !comparable {
        return false;
    }
    let holds = |element: Static| compare_scalars(operator, &element, scalar);
    let all = operator == ComparisonOperator::NotEqual;
    fn check<T>(values: &[T], all: bool, holds: impl Fn(&T) -> bool) -> bool {
        if all { values.iter().all(holds) } else { values.iter().any(holds) }
    }
    match array {
        Static::IntArray(values) => check(values, all, |value| holds(Static::Int(*value))),
        Static::FloatArray(values) => check(values, all, |value| holds(Static::Float(*value))),
        Static::StringArray(values) => {
            check(values, all, |value| holds(Static::String(value.clone())))
        }
        Static::BoolArray(values) => check(values, all, |value| holds(Static::Bool(*value))),
        _ => false,
    }
}

fn compare_scalars(operator: ComparisonOperator, left: &Static, right: &Static) -> bool {
    let equality = matches!(operator, ComparisonOperator::Equal | ComparisonOperator::NotEqual);
    let ordering = match (left, right) {
        (Static::Int(left), Static::Int(right))
        | (Static::Duration(left), Static::Duration(right)) => Some(left.cmp(right)),
        (Static::String(left), Static::String(right)) => Some(left.cmp(right)),
        (Static::Bool(left), Static::Bool(right)) if equality => Some(left.cmp(right)),
        (Static::Status(left), Static::Status(right)) if equality => Some(left.cmp(right)),
        (Static::Kind(left), Static::Kind(right)) if equality => Some(left.cmp(right)),
        (left, right) => {
            let (Some(left), Some(right)) = (left.as_number(), right.as_number()) else {
                return false;
            };
            left.partial_cmp(&right)
        }
    };
    operator.holds(ordering)
}

#[cfg(test)]
mod tests;
