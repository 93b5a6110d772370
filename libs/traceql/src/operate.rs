//! Operators on constants, by the rules that [`Value`] has for stored data.

use crate::ast::{BinaryOperator, ComparisonOperator, UnaryOperator};
use crate::compiled_regex::CompiledRegex;
use crate::eval::value::{Value, calculate, compare, match_regex};
use crate::static_value::Static;

/// Applies an infix operator.
///
/// Comparisons and matches return a boolean, false for nil and for operands that cannot be compared. Arithmetic returns
/// a number, or nil if there is none (wrong types, integer division by zero). A pattern is compiled on every call; loops
/// should use [`CompiledRegex`] themselves.
pub(crate) fn evaluate_binary(operator: BinaryOperator, left: &Static, right: &Static) -> Static {
    let value = Value::of_static(left);
    let result = match operator {
        BinaryOperator::Arithmetic(operator) => calculate(operator, value, Value::of_static(right)),
        BinaryOperator::Comparison(operator) => compare(operator, value, Value::of_static(right)),
        BinaryOperator::Regex | BinaryOperator::NotRegex => {
            let negated = operator == BinaryOperator::NotRegex;
            match right.as_text().and_then(|text| CompiledRegex::new(text).ok()) {
                Some(pattern) => match_regex(value, negated, |text| pattern.is_match(text)),
                None => Value::Bool(false),
            }
        }
    };
    result.to_static()
}

/// Whether a comparison of constants is true.
pub fn holds(operator: ComparisonOperator, left: &Static, right: &Static) -> bool {
    compare(operator, Value::of_static(left), Value::of_static(right)).is_bool(true)
}

/// Applies a prefix operator or nil test. Nil if the operand has the wrong type.
pub(crate) fn evaluate_unary(operator: UnaryOperator, operand: &Static) -> Static {
    Value::of_static(operand).unary(operator).to_static()
}

#[cfg(test)]
mod tests;
