//! Conditions: one operand compared with a constant, evaluated column by column.

mod attributes;
mod columns;
mod strings;

use super::program::{IdKind, id_comparison};
use super::value::{Value, compare, match_regex};
use crate::compiled_regex::Patterns;
use crate::{
    Attribute, BinaryOperator, ComparisonOperator, CompiledRegex, FieldExpression, Static,
};

/// What is asked of an operand's value.
#[derive(Debug)]
pub(crate) enum Test {
    /// `operand operator constant`.
    Compare(ComparisonOperator, Static),
    /// As `Compare`, for equality of ids. The id is normalised.
    CompareId(IdKind, ComparisonOperator, Vec<u8>),
    /// `operand =~ pattern`. A pattern that does not compile matches nothing, even if negated.
    Regex { regex: Option<CompiledRegex>, negated: bool },
    /// The operand is a string that contains this one.
    Contains(Box<[u8]>),
    /// `operand != nil`.
    Exists,
    /// The operand is this boolean.
    IsBool(bool),
}

/// An operand and what is asked of it.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) attribute: Attribute,
    pub(crate) test: Test,
}

impl Condition {
    /// The condition of a binary expression between one attribute and one constant, in either order.
    pub(crate) fn of_binary(
        operator: BinaryOperator,
        left: &FieldExpression,
        right: &FieldExpression,
        patterns: &Patterns,
    ) -> Option<Self> {
        let negated = operator == BinaryOperator::NotRegex;
        let (attribute, constant, flipped) = match (left, right) {
            (FieldExpression::Attribute(attribute), FieldExpression::Static(constant)) => {
                (attribute, constant, false)
            }
            (FieldExpression::Static(constant), FieldExpression::Attribute(attribute)) => {
                (attribute, constant, true)
            }
            _ => return None,
        };
        let test = match operator {
            BinaryOperator::Regex | BinaryOperator::NotRegex if !flipped => {
                let regex = constant.as_text().and_then(|text| patterns.compile(text).ok());
                Test::Regex { regex, negated }
            }
            BinaryOperator::Comparison(operator) => {
                let id = id_comparison(operator, left, right);
                match (id, constant.as_text()) {
                    (Some(kind), Some(text)) => {
                        Test::CompareId(kind, operator, kind.normalise(text))
                    }
                    _ if flipped => Test::Compare(operator.flipped(), constant.clone()),
                    _ => Test::Compare(operator, constant.clone()),
                }
            }
            _ => return None,
        };
        Some(Self { attribute: attribute.clone(), test })
    }
}

impl Test {
    /// True if a value satisfies the test; false for nil and for a missing row.
    #[inline]
    pub(crate) fn holds(&self, value: Value<'_>) -> bool {
        match self {
            Test::Compare(operator, constant) => {
                compare(*operator, value, Value::of_static(constant)).is_bool(true)
            }
            Test::CompareId(kind, operator, wanted) => match value {
                Value::String(text) => {
                    operator.holds(Some(kind.normalise(text).as_slice().cmp(wanted)))
                }
                _ => false,
            },
            Test::Regex { regex: Some(regex), negated } => {
                match_regex(value, *negated, |text| regex.is_match(text)).is_bool(true)
            }
            Test::Regex { regex: None, .. } => false,
            Test::Contains(part) => match value {
                Value::String(text) => contains(text, part),
                _ => false,
            },
            Test::Exists => value.exists(),
            Test::IsBool(wanted) => value.is_bool(*wanted),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}
