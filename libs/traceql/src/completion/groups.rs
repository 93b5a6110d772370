//! Alternatives of a filter: its disjunctive normal form over usable conditions.

use crate::ast::{
    Attribute, BinaryOperator, ComparisonOperator, FieldExpression, LogicalOperator, UnaryOperator,
};
use crate::fold;
use crate::static_value::Static;

/// Most conditions of all groups: more than any query of the allowed length has, unless its groups multiply them.
const MAX_CONDITIONS: usize = 100_000;

/// Groups of conditions, any of which suffices. Conditions that cannot be used are dropped, so a group may be empty.
/// `None` if there would be more than `limit` groups.
pub(super) fn expand(
    expression: &FieldExpression,
    requested: Option<&Attribute>,
    limit: usize,
) -> Option<Vec<Vec<FieldExpression>>> {
    signed(expression, false, requested, limit)
}

fn signed(
    expression: &FieldExpression,
    negated: bool,
    requested: Option<&Attribute>,
    limit: usize,
) -> Option<Vec<Vec<FieldExpression>>> {
    match expression {
        FieldExpression::Unary { operator: UnaryOperator::Not, operand } => {
            signed(operand, !negated, requested, limit)
        }
        FieldExpression::Logical { operator, operands } => {
            // The negation of a conjunction is the disjunction of the negations.
            let is_or = (*operator == LogicalOperator::Or) != negated;
            let mut groups = if is_or { Vec::new() } else { vec![Vec::new()] };
            for operand in operands {
                let alternatives = signed(operand, negated, requested, limit)?;
                if is_or {
                    groups.extend(alternatives);
                    // One that restricts nothing makes the others superfluous.
                    if groups.iter().any(Vec::is_empty) {
                        groups = vec![Vec::new()];
                    }
                } else {
                    groups = product(groups, alternatives, limit)?;
                }
                if groups.len() > limit {
                    return None;
                }
            }
            Some(groups)
        }
        expression if is_condition(expression) && !awaits_text(expression, requested) => {
            let condition = match negated {
                true => fold::unary(UnaryOperator::Not, expression.clone()),
                false => expression.clone(),
            };
            (limit > 0).then(|| vec![vec![condition]])
        }
        _ => (limit > 0).then(|| vec![Vec::new()]),
    }
}

/// Both must hold: every alternative of one is combined with every alternative of the other.
fn product(
    mut left: Vec<Vec<FieldExpression>>,
    right: Vec<Vec<FieldExpression>>,
    limit: usize,
) -> Option<Vec<Vec<FieldExpression>>> {
    if left.len().checked_mul(right.len())? > limit {
        return None;
    }
    // A shortcut, so that long or deeply nested chains do not copy the conditions again and again.
    if matches!(&left[..], [group] if group.is_empty()) {
        return Some(right);
    }
    let conditions = |groups: &[Vec<_>]| groups.iter().map(Vec::len).sum::<usize>();
    let together = conditions(&left).checked_mul(right.len())?;
    let together = together.checked_add(conditions(&right).checked_mul(left.len())?)?;
    if together > MAX_CONDITIONS {
        return None;
    }
    if let [only] = &right[..] {
        left.iter_mut().for_each(|group| group.extend_from_slice(only));
        return Some(left);
    }
    let joined = |left: &Vec<FieldExpression>, right: &Vec<FieldExpression>| {
        left.iter().chain(right).cloned().collect::<Vec<_>>()
    };
    Some(left.iter().flat_map(|left| right.iter().map(move |right| joined(left, right))).collect())
}

/// A comparison of an attribute with a constant, or a nil test of an attribute.
fn is_condition(expression: &FieldExpression) -> bool {
    match expression {
        FieldExpression::Binary { operator: BinaryOperator::Arithmetic(_), .. } => false,
        FieldExpression::Binary { left, right, .. } => matches!(
            (&**left, &**right),
            (FieldExpression::Attribute(_), FieldExpression::Static(_))
                | (FieldExpression::Static(_), FieldExpression::Attribute(_))
        ),
        FieldExpression::Unary {
            operator: UnaryOperator::Exists | UnaryOperator::NotExists,
            operand,
        } => matches!(&**operand, FieldExpression::Attribute(_)),
        _ => false,
    }
}

/// A comparison of the requested attribute with the empty text. It is unfinished: editors write both quotes when their
/// user writes one, and ask with the cursor between them.
fn awaits_text(condition: &FieldExpression, requested: Option<&Attribute>) -> bool {
    let compared = requested.and_then(|attribute| compared_with(condition, attribute));
    matches!(compared, Some((_, Static::String(text))) if text.is_empty())
}

/// The constant that `attribute` must equal.
pub(super) fn pinned(conditions: &[FieldExpression], attribute: &Attribute) -> Option<Static> {
    conditions.iter().find_map(|condition| match compared_with(condition, attribute)? {
        (BinaryOperator::Comparison(ComparisonOperator::Equal), value) => Some(value.clone()),
        _ => None,
    })
}

/// The constant that a condition compares `attribute` with.
fn compared_with<'a>(
    condition: &'a FieldExpression,
    attribute: &Attribute,
) -> Option<(BinaryOperator, &'a Static)> {
    let FieldExpression::Binary { operator, left, right } = condition else { return None };
    match (&**left, &**right) {
        (FieldExpression::Attribute(found), FieldExpression::Static(value))
        | (FieldExpression::Static(value), FieldExpression::Attribute(found))
            if found == attribute =>
        {
            Some((*operator, value))
        }
        _ => None,
    }
}
