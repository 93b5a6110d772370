//! Types that are known before reading data, and the operators that they allow.

use crate::ast::{BinaryOperator, ComparisonOperator, UnaryOperator};

/// The type of an expression, as far as the query alone determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StaticType {
    /// Absence.
    Nil,
    /// Integer.
    Int,
    /// Double.
    Float,
    /// String.
    String,
    /// Boolean.
    Bool,
    /// Nanoseconds.
    Duration,
    /// Span status.
    Status,
    /// Span kind.
    Kind,
    /// Known only per span.
    Dynamic,
}

impl StaticType {
    /// Int, float or duration.
    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, StaticType::Int | StaticType::Float | StaticType::Duration)
    }

    /// True if two operands may be combined: they are equal, both are numeric, or one is dynamic or nil.
    pub fn matches(self, other: Self) -> bool {
        let wild = |kind| matches!(kind, StaticType::Dynamic | StaticType::Nil);
        self == other || (self.is_numeric() && other.is_numeric()) || wild(self) || wild(other)
    }

    /// True if `operator` allows an operand of this type.
    pub fn admits(self, operator: BinaryOperator) -> bool {
        use BinaryOperator::{Arithmetic, Comparison, NotRegex, Regex};
        let equality = matches!(
            operator,
            Comparison(ComparisonOperator::Equal | ComparisonOperator::NotEqual)
        );
        match self {
            StaticType::Dynamic => true,
            StaticType::Bool | StaticType::Nil | StaticType::Status | StaticType::Kind => equality,
            StaticType::Int | StaticType::Float | StaticType::Duration => {
                matches!(operator, Arithmetic(_) | Comparison(_))
            }
            StaticType::String => matches!(operator, Comparison(_) | Regex | NotRegex),
        }
    }

    /// True if `&&` and `||` allow an operand of this type.
    pub(crate) fn admits_logic(self) -> bool {
        matches!(self, StaticType::Dynamic | StaticType::Bool)
    }

    /// True if the prefix operator or nil test may be applied.
    pub(crate) fn admits_unary(self, operator: UnaryOperator) -> bool {
        match operator {
            UnaryOperator::Negate => self.is_numeric() || self == StaticType::Dynamic,
            UnaryOperator::Not => matches!(self, StaticType::Bool | StaticType::Dynamic),
            UnaryOperator::Exists | UnaryOperator::NotExists => true,
        }
    }
}
