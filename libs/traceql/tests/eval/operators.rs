//! The operators on single values, written once more from the rules of the language, so that the evaluator is not compared with itself.

use std::cmp::Ordering;

use tactus_traceql::{
    ArithmeticOperator, BinaryOperator, ComparisonOperator, CompiledRegex, Static, UnaryOperator,
};

pub(crate) fn unary(operator: UnaryOperator, operand: &Static) -> Static {
    match (operator, operand) {
        (UnaryOperator::Negate, Static::Int(value)) => Static::Int(value.wrapping_neg()),
        (UnaryOperator::Negate, Static::Duration(value)) => Static::Duration(value.wrapping_neg()),
        (UnaryOperator::Negate, Static::Float(value)) => Static::Float(-value),
        (UnaryOperator::Not, Static::Bool(value)) => Static::Bool(!value),
        (UnaryOperator::Negate | UnaryOperator::Not, _) => Static::Nil,
        (UnaryOperator::Exists, operand) => Static::Bool(*operand != Static::Nil),
        (UnaryOperator::NotExists, operand) => Static::Bool(*operand == Static::Nil),
    }
}

/// An operator between two values of which neither is an array.
pub(crate) fn binary(operator: BinaryOperator, left: &Static, right: &Static) -> Static {
    match operator {
        BinaryOperator::Arithmetic(operator) => arithmetic(operator, left, right),
        BinaryOperator::Comparison(operator) => Static::Bool(compare(operator, left, right)),
        BinaryOperator::Regex | BinaryOperator::NotRegex => {
            let (Static::String(text), Static::String(pattern)) = (left, right) else {
                return Static::Bool(false);
            };
            let negated = operator == BinaryOperator::NotRegex;
            let pattern = CompiledRegex::new(pattern).ok();
            Static::Bool(pattern.is_some_and(|pattern| pattern.is_match(text) != negated))
        }
    }
}

fn number(value: &Static) -> Option<f64> {
    match value {
        Static::Int(value) | Static::Duration(value) => Some(*value as f64),
        Static::Float(value) => Some(*value),
        _ => None,
    }
}

fn arithmetic(operator: ArithmeticOperator, left: &Static, right: &Static) -> Static {
    if let (Static::Int(left), Static::Int(right)) = (left, right) {
        return integers(operator, *left, *right);
    }
    let (Some(left), Some(right)) = (number(left), number(right)) else { return Static::Nil };
    Static::Float(match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide => left / right,
        ArithmeticOperator::Modulo => left % right,
        ArithmeticOperator::Power => left.powf(right),
    })
}

fn integers(operator: ArithmeticOperator, left: i64, right: i64) -> Static {
    match operator {
        ArithmeticOperator::Add => Static::Int(left.wrapping_add(right)),
        ArithmeticOperator::Subtract => Static::Int(left.wrapping_sub(right)),
        ArithmeticOperator::Multiply => Static::Int(left.wrapping_mul(right)),
        ArithmeticOperator::Divide | ArithmeticOperator::Modulo if right == 0 => Static::Nil,
        ArithmeticOperator::Divide => Static::Int(left.wrapping_div(right)),
        ArithmeticOperator::Modulo => Static::Int(left.wrapping_rem(right)),
        ArithmeticOperator::Power => match exact_power(left, right) {
            Some(value) => Static::Int(value),
            None => Static::Float((left as f64).powf(right as f64)),
        },
    }
}

/// By repeated multiplication; `None` if it is no whole number of 64 bits.
fn exact_power(base: i64, exponent: i64) -> Option<i64> {
    match base {
        _ if exponent < 0 => None,
        0 | 1 if exponent > 0 => Some(base),
        -1 => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        // Any other base leaves 64 bits before.
        _ => (0..exponent.min(65)).try_fold(1_i64, |product, _| product.checked_mul(base)),
    }
}

fn compare(operator: ComparisonOperator, left: &Static, right: &Static) -> bool {
    let equality = matches!(operator, ComparisonOperator::Equal | ComparisonOperator::NotEqual);
    let order = match (left, right) {
        (Static::Int(left), Static::Int(right))
        | (Static::Duration(left), Static::Duration(right)) => Some(left.cmp(right)),
        (Static::String(left), Static::String(right)) => Some(left.cmp(right)),
        (Static::Bool(left), Static::Bool(right)) if equality => Some(left.cmp(right)),
        (Static::Status(left), Static::Status(right)) if equality => Some(left.cmp(right)),
        (Static::Kind(left), Static::Kind(right)) if equality => Some(left.cmp(right)),
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => return false,
        },
    };
    match operator {
        ComparisonOperator::Equal => order == Some(Ordering::Equal),
        ComparisonOperator::NotEqual => order != Some(Ordering::Equal),
        ComparisonOperator::Less => order == Some(Ordering::Less),
        ComparisonOperator::Greater => order == Some(Ordering::Greater),
        ComparisonOperator::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        ComparisonOperator::GreaterEqual => {
            matches!(order, Some(Ordering::Greater | Ordering::Equal))
        }
    }
}
