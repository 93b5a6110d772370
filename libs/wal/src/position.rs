//! The position of a frame.

use std::fmt;

/// Number of a part file. Later parts have higher numbers. A number is used again only after a restart with an empty
/// directory, and then not below what [`skip_to`](crate::Wal::skip_to) was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(pub(crate) u64);

impl PartId {
    /// The part with this number, which may not exist. For owners that remember positions in the log.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}", self.0)
    }
}

/// The position at which a frame begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Part of the frame.
    pub part: PartId,
    /// Byte offset of the frame's header in the part.
    pub offset: u64,
}
