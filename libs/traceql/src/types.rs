//! The types of values and attributes, as far as they are known before reading data.

use crate::ast::Attribute;
use crate::static_type::StaticType;
use crate::static_value::Static;

impl Static {
    /// The value's type.
    pub(crate) fn static_type(&self) -> StaticType {
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
    /// The type that is known before reading spans. Attributes with a key are dynamic.
    pub(crate) fn static_type(&self) -> StaticType {
        match self {
            Attribute::Intrinsic(intrinsic) => intrinsic.static_type(),
            Attribute::Named { .. } => StaticType::Dynamic,
        }
    }
}
