//! Alternatives of a filter: its disjunctive normal form over usable conditions.

use crate::ast::{
    Attribute, BinaryOperator, ComparisonOperator, FieldExpression, LogicalOperator, UnaryOperator,
};
use crate::fold;
use crate::static_value::Static;
use tactus_work::tick;

/// Most conditions that are copied: more than any query of the allowed length needs, unless its groups multiply them.
const MAX_COPIED: usize = 100_000;
/// Units of work for a copy.
const UNITS_OF_COPY: usize = 20;

/// Conditions that hold together, as often as there are alternatives.
type Groups = Vec<Vec<FieldExpression>>;

/// Groups of conditions, any of which suffices. Conditions that cannot be used are dropped, so a group may be empty.
/// `None` if there would be more than `limit` groups.
pub(super) fn expand(
    expression: &FieldExpression,
    requested: Option<&Attribute>,
    limit: usize,
) -> Option<Groups> {
    Expansion { requested, limit, copied: 0 }.signed(expression, false)
}

struct Expansion<'a> {
    requested: Option<&'a Attribute>,
    limit: usize,
    /// Conditions that were copied so far.
    copied: usize,
}

impl Expansion<'_> {
    fn signed(&mut self, expression: &FieldExpression, negated: bool) -> Option<Groups> {
        match expression {
            FieldExpression::Unary { operator: UnaryOperator::Not, operand } => {
                self.signed(operand, !negated)
            }
            FieldExpression::Logical { operator, operands } => {
                // The negation of a conjunction is the disjunction of the negations.
                let is_or = (*operator == LogicalOperator::Or) != negated;
                let mut groups = if is_or { Vec::new() } else { vec![Vec::new()] };
                for operand in operands {
                    let alternatives = self.signed(operand, negated)?;
                    if is_or {
                        groups.extend(alternatives);
                        // One that restricts nothing makes the others superfluous.
                        if groups.iter().any(Vec::is_empty) {
                            groups = vec![Vec::new()];
                        }
                    } else {
                        groups = self.product(groups, alternatives)?;
                    }
                    if groups.len() > self.limit {
                        return None;
                    }
                }
                Some(groups)
            }
            expression if is_condition(expression) && !awaits_text(expression, self.requested) => {
                let condition = match negated {
                    true => fold::unary(UnaryOperator::Not, expression.clone()),
                    false => expression.clone(),
                };
                (self.limit > 0).then(|| vec![vec![condition]])
            }
            _ => (self.limit > 0).then(|| vec![Vec::new()]),
        }
    }

    /// Both must hold: every alternative of one is combined with every alternative of the other.
    fn product(&mut self, mut left: Groups, mut right: Groups) -> Option<Groups> {
        if left.len().checked_mul(right.len())? > self.limit {
            return None;
        }
        // A single group is added to those of the other side, so that long or deeply nested chains do not copy the
        // conditions of these again and again.
        if let ([only], [other]) = (&mut left[..], &mut right[..]) {
            only.append(other);
            return Some(left);
        }
        if let [only] = &left[..] {
            self.count(only.len().checked_mul(right.len())?, &right)?;
            for group in &mut right {
                drop(group.splice(0..0, only.iter().cloned()));
            }
            return Some(right);
        }
        if let [only] = &right[..] {
            self.count(only.len().checked_mul(left.len())?, &[])?;
            left.iter_mut().for_each(|group| group.extend_from_slice(only));
            return Some(left);
        }
        let copied = conditions(&left).checked_mul(right.len())?;
        self.count(copied.checked_add(conditions(&right).checked_mul(left.len())?)?, &[])?;
        let joined = |left: &Vec<FieldExpression>, right: &Vec<FieldExpression>| {
            left.iter().chain(right).cloned().collect::<Vec<_>>()
        };
        let pairs = left.iter().flat_map(|left| right.iter().map(move |right| joined(left, right)));
        Some(pairs.collect())
    }

    /// Counts conditions that are copied, and groups that are moved. `None` if there are too many copies, or nobody waits.
    fn count(&mut self, copied: usize, moved: &[Vec<FieldExpression>]) -> Option<()> {
        self.copied = self.copied.checked_add(copied)?;
        if self.copied > MAX_COPIED {
            return None;
        }
        let units = UNITS_OF_COPY * copied + conditions(moved);
        (!tick(u32::try_from(units).unwrap_or(u32::MAX))).then_some(())
    }
}

fn conditions(groups: &[Vec<FieldExpression>]) -> usize {
    groups.iter().map(Vec::len).sum()
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
