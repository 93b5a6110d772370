//! Constants of a query.

use std::sync::Arc;

use crate::static_type::StaticType;

/// The bytes of a string. Usually UTF-8, but stored strings and `"\xff"` need not be.
pub type Text = Arc<[u8]>;

/// A constant.
///
/// `PartialEq` compares type and value (NaN differs from itself), as grouping needs it. That is not the language's `=`.
#[derive(Debug, Clone, PartialEq)]
pub enum Static {
    /// Absence.
    Nil,
    /// Signed 64-bit integer.
    Int(i64),
    /// Double.
    Float(f64),
    /// String.
    String(Text),
    /// Boolean.
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// Span status.
    Status(Status),
    /// Span kind.
    Kind(Kind),
}

impl Static {
    /// A string value.
    pub fn string(text: impl AsRef<[u8]>) -> Self {
        Static::String(text.as_ref().into())
    }

    /// The value as f64 if it is an int, a float or a duration (nanoseconds).
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Static::Int(value) | Static::Duration(value) => Some(*value as f64),
            Static::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The bytes of a string value.
    pub fn as_text(&self) -> Option<&[u8]> {
        match self {
            Static::String(text) => Some(text),
            _ => None,
        }
    }

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
        }
    }
}

tactus_model::words! {
    /// Span status. The numbers are those of stored query plans, not those of OTLP.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    #[repr(u8)]
    pub enum Status {
        /// `error`.
        Error = "error",
        /// `ok`.
        Ok = "ok",
        /// `unset`.
        Unset = "unset",
    }

    /// Span kind. The numbers are those of stored query plans, not those of OTLP (client and server differ).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    #[repr(u8)]
    pub enum Kind {
        /// `unspecified`.
        Unspecified = "unspecified",
        /// `internal`.
        Internal = "internal",
        /// `client`.
        Client = "client",
        /// `server`.
        Server = "server",
        /// `producer`.
        Producer = "producer",
        /// `consumer`.
        Consumer = "consumer",
    }
}
