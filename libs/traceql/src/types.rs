//! The types of values, attributes and expressions, as far as they are known before any data is seen.

use crate::ast::{Attribute, BinaryOperator, FieldExpression, UnaryOperator};
use crate::static_type::StaticType;
use crate::static_value::Static;

impl Static {
    /// The value's type.
    pub fn static_type(&self) -> StaticType {
        match self {
            Static::Nil => StaticType::Nil,
            Static::Int(_) => StaticType::Int,
            Static::Float(_) => StaticType::Float,
            Static::String(_) => StaticType::String,
            Static::Bool(_) => StaticType::Bool,
            Static::Duration(_) => StaticType::Duration,
            Static::Status(_) => StaticType::Status,
            Static::Kind(_) => StaticType::Kind,
            Static::IntArray(_) => StaticType::IntArray,
            Static::FloatArray(_) => StaticType::FloatArray,
            Static::StringArray(_) => StaticType::StringArray,
            Static::BoolArray(_) => StaticType::BoolArray,
        }
    }
}

impl Attribute {
    /// The type known before any span is seen; named attributes are dynamic.
    pub fn static_type(&self) -> StaticType {
        match self {
            Attribute::Intrinsic(intrinsic) => intrinsic.static_type(),
            Attribute::Named { .. } => StaticType::Dynamic,
        }
    }
}

impl FieldExpression {
    /// The type known before any span is seen. Arithmetic has its left operand's type, or the
    /// right one's if the left is dynamic.
    pub fn static_type(&self) -> StaticType {
        match self {
            FieldExpression::Static(value) => value.static_type(),
            FieldExpression::Attribute(attribute) => attribute.static_type(),
            FieldExpression::Unary { operator, operand } => match operator {
                UnaryOperator::Negate | UnaryOperator::Not => operand.static_type(),
                UnaryOperator::Exists | UnaryOperator::NotExists => StaticType::Bool,
            },
            FieldExpression::Binary { operator: BinaryOperator::Arithmetic(_), left, right } => {
                match left.static_type() {
                    StaticType::Dynamic => right.static_type(),
                    known => known,
                }
            }
            FieldExpression::Binary { .. } | FieldExpression::Logical { .. } => StaticType::Bool,
        }
    }
}
