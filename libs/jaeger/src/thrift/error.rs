//! The errors of Thrift bytes.

use super::Kind;

/// Why bytes are not the Thrift that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ThriftError {
    /// The bytes end within a value.
    #[error("unexpected end of the Thrift data")]
    Truncated,
    /// Text or bytes are declared longer than what is left.
    #[error("length {length} is more than the {remaining} bytes that are left")]
    Length {
        /// Bytes declared.
        length: usize,
        /// Bytes left.
        remaining: usize,
    },
    /// A collection declares more elements than the bytes left can hold.
    #[error("{count} elements do not fit into the {remaining} bytes that are left")]
    Count {
        /// Elements declared.
        count: usize,
        /// Bytes left.
        remaining: usize,
    },
    /// A length below zero.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// An integer that its type cannot hold.
    #[error("an integer is too large for its type")]
    Overflow,
    /// A type code without meaning.
    #[error("unknown type code {0}")]
    UnknownType(u8),
    /// A list holds something else than it should.
    #[error("a list holds {found:?} instead of {expected:?}")]
    WrongElement {
        /// What the IDL says.
        expected: Kind,
        /// What the bytes say.
        found: Kind,
    },
    /// A list of structs holds one without any field.
    #[error("a struct in a list has no field")]
    EmptyElement,
    /// More elements than are kept in memory at a time.
    #[error("more than {} elements in the lists of one span", super::MAX_ELEMENTS)]
    TooManyElements,
    /// Structs nest too deep.
    #[error("values nest too deep")]
    TooDeep,
    /// A field that must be there is not.
    #[error("Required field {field} of {of} is not set")]
    Missing {
        /// The struct of the IDL.
        of: &'static str,
        /// The field of the IDL.
        field: &'static str,
    },
    /// The first bytes are of no protocol.
    #[error("the data starts with {0:#04x}, which is no Thrift message")]
    NoMessage(u8),
    /// A message of another version of a protocol.
    #[error("Thrift version {0:#x} is unknown")]
    Version(u32),
    /// A method that is not served.
    #[error("unknown method {0:?}")]
    UnknownMethod(String),
}
