//! Builds field expressions, and folds constants.
//!
//! An operation on constants is replaced by its value if the operation is legal (otherwise validation reports it) and
//! the value has a literal. A division by zero is kept as written, and matches nothing when it is evaluated.

use crate::ast::{
    Attribute, BinaryOperator, ComparisonOperator, FieldExpression, Intrinsic, LogicalOperator,
    UnaryOperator,
};
use crate::compiled_regex::may_be_folded;
use crate::operate::{evaluate_binary, evaluate_unary};
use crate::static_value::Static;

pub(crate) fn unary(operator: UnaryOperator, operand: FieldExpression) -> FieldExpression {
    if let FieldExpression::Static(value) = &operand
        && value.static_type().admits_unary(operator)
    {
        return FieldExpression::Static(evaluate_unary(operator, value));
    }
    FieldExpression::Unary { operator, operand: Box::new(operand) }
}

pub(crate) fn binary(
    operator: BinaryOperator,
    mut left: FieldExpression,
    mut right: FieldExpression,
) -> FieldExpression {
    if let BinaryOperator::Comparison(ComparisonOperator::Equal | ComparisonOperator::NotEqual) =
        operator
    {
        trim_trace_id(&left, &mut right);
        trim_trace_id(&right, &mut left);
    }
    if let (FieldExpression::Static(left), FieldExpression::Static(right)) = (&left, &right)
        && let Some(value) = fold_binary(operator, left, right)
    {
        return FieldExpression::Static(value);
    }
    FieldExpression::Binary { operator, left: Box::new(left), right: Box::new(right) }
}

fn fold_binary(operator: BinaryOperator, left: &Static, right: &Static) -> Option<Static> {
    let (left_type, right_type) = (left.static_type(), right.static_type());
    if !left_type.matches(right_type) || !left_type.admits(operator) || !right_type.admits(operator)
    {
        return None;
    }
    if matches!(operator, BinaryOperator::Regex | BinaryOperator::NotRegex) {
        // A larger pattern is evaluated at run time, because folding must not cost more than parsing.
        may_be_folded(right.as_text()?).then_some(())?;
    }
    match evaluate_binary(operator, left, right) {
        Static::Nil => None,
        Static::Float(value) if !value.is_finite() => None,
        value => Some(value),
    }
}

/// Stored trace ids are compared without leading zeros.
fn trim_trace_id(id: &FieldExpression, constant: &mut FieldExpression) {
    if let FieldExpression::Attribute(Attribute::Intrinsic(Intrinsic::TraceId)) = id
        && let FieldExpression::Static(Static::String(text)) = constant
    {
        let zeros = text.iter().take_while(|byte| **byte == b'0').count();
        *text = text[zeros..].into();
    }
}

pub(crate) fn logical(
    operator: LogicalOperator,
    left: FieldExpression,
    right: FieldExpression,
) -> FieldExpression {
    match (left, right) {
        (
            FieldExpression::Static(Static::Bool(left)),
            FieldExpression::Static(Static::Bool(right)),
        ) => FieldExpression::Static(Static::Bool(match operator {
            LogicalOperator::And => left && right,
            LogicalOperator::Or => left || right,
        })),
        (FieldExpression::Logical { operator: of_left, mut operands }, right)
            if of_left == operator =>
        {
            operands.push(right);
            FieldExpression::Logical { operator, operands }
        }
        (left, right) => FieldExpression::Logical { operator, operands: vec![left, right] },
    }
}
